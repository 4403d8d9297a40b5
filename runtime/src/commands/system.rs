//! `twill system`: the whole of what is here.

use std::collections::BTreeSet;

use clap::Subcommand;
use serde_json::json;

use super::prune::confirmed;
use super::{events, image_prune, info, prune, volume};
use crate::commands::Code;
use crate::container::{Container, Store, reap, size};
use crate::error::FileContext as _;
use crate::image;
use crate::listing::{FORMAT_HELP, Filters, Format, Listing};
use crate::template::Data;
use crate::volume::Volumes;
use crate::{Error, Paths, human, output};

/// `twill system …`.
#[derive(Clone, Debug, Subcommand)]
pub enum Group {
    /// Show how much disk images, containers and volumes take
    Df(DfArgs),
    /// Remove what nobody uses
    Prune(PruneArgs),
    /// Show this host and what is on it
    Info(info::Args),
    /// Show what happened, and what happens
    Events(events::Args),
}

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill system df
  twill system df --format '{{.Type}} {{.Size}}'

Fields: .Type .TotalCount .Active .Size .Reclaimable")]
pub struct DfArgs {
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table", long_help = FORMAT_HELP)]
    pub format: Format,
}

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill system prune                        containers that rest, images without a name; asks first
  twill system prune -a -f --volumes        all that no container uses
  twill system prune -f --filter until=24h")]
pub struct PruneArgs {
    /// Not only images without a name: all that no container uses
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Volumes without a name that no container uses, too
    #[arg(long)]
    pub volumes: bool,
    /// Only those that fit: until=TIME, label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
}

const LISTING: Listing = Listing {
    headings: &[
        ("Active", "ACTIVE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Size", "SIZE"),
        ("TotalCount", "TOTAL"),
        ("Type", "TYPE"),
    ],
    columns: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
};

/// Does it.
pub fn group(command: &Group, paths: &Paths) -> anyhow::Result<Code> {
    match command {
        Group::Df(args) => df(args, paths),
        Group::Prune(args) => prune_all(args, paths),
        Group::Info(args) => info::run(args, paths),
        Group::Events(args) => events::run(args, paths),
    }
}

/// How much of one kind there is.
#[derive(Default)]
struct Sum {
    total: usize,
    active: usize,
    size: u64,
    reclaimable: u64,
}

impl Sum {
    fn add(&mut self, active: bool, bytes: u64) {
        self.total += 1;
        self.active += usize::from(active);
        self.size += bytes;
        self.reclaimable += if active { 0 } else { bytes };
    }

    fn row(&self, kind: &str) -> Data {
        let percent = (self.reclaimable * 100).checked_div(self.size);
        let percent = percent.map_or_else(String::new, |percent| format!(" ({percent}%)"));
        json!({
            "Type": kind,
            "TotalCount": self.total.to_string(),
            "Active": self.active.to_string(),
            "Size": human::size(self.size),
            "Reclaimable": format!("{}{percent}", human::size(self.reclaimable)),
        })
        .into()
    }
}

fn df(args: &DfArgs, paths: &Paths) -> anyhow::Result<Code> {
    let containers = reap::settle_all(&Store::new(paths))?;
    let rows = [
        images(paths, &containers)?.row("Images"),
        self::containers(paths, &containers)?.row("Containers"),
        volumes(paths)?.row("Local Volumes"),
        Sum::default().row("Build Cache"),
    ];
    LISTING.print(&args.format, &rows)?;
    Ok(Code::OK)
}

/// A layer that several images have is there once.
fn images(paths: &Paths, containers: &[Container]) -> anyhow::Result<Sum> {
    let used: BTreeSet<&str> = containers.iter().map(|it| it.record.image.id.as_str()).collect();
    let images = image::Store::open(paths)?.list()?;
    let is_used = |image: &image::Image| used.contains(image.id.to_string().as_str());
    let mut sum = Sum { total: images.len(), ..Sum::default() };
    let (mut seen, mut kept) = (BTreeSet::new(), BTreeSet::new());
    for image in images.iter().filter(|image| is_used(image)) {
        sum.active += 1;
        kept.extend(&image.layers);
    }
    for (layer, bytes) in
        images.iter().flat_map(|image| image.layers.iter().zip(&image.layer_sizes))
    {
        if seen.insert(layer) {
            sum.size += bytes;
            sum.reclaimable += if kept.contains(layer) { 0 } else { *bytes };
        }
    }
    Ok(sum)
}

fn containers(paths: &Paths, containers: &[Container]) -> anyhow::Result<Sum> {
    let mut sum = Sum::default();
    for Container { record, state } in containers {
        let upper = paths.container(&record.id).join("upper");
        let bytes = size::below(&upper).file("look through", &upper)?;
        sum.add(state.status.is_alive(), bytes);
    }
    Ok(sum)
}

fn volumes(paths: &Paths) -> anyhow::Result<Sum> {
    let volumes = Volumes::new(paths);
    let users = volumes.users()?;
    let mut sum = Sum::default();
    for volume in volumes.list()? {
        let data = volumes.data(&volume.name);
        let bytes = size::below(&data).file("look through", &data)?;
        sum.add(users.contains_key(&volume.name), bytes);
    }
    Ok(sum)
}

fn prune_all(args: &PruneArgs, paths: &Paths) -> anyhow::Result<Code> {
    let images = if args.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    let volumes = if args.volumes {
        "\n  - all anonymous volumes not used by at least one container"
    } else {
        ""
    };
    let filters = Filters::parse(&args.filter, &prune::FILTERS)?;
    prune::until(&filters)?;
    if args.volumes && filters.has("until") {
        let text = r#"ERROR: The "until" filter is not supported with "--volumes""#;
        return Err(Error::Usage(text.to_owned()).into());
    }
    let what = format!("This will remove:\n  - all stopped containers{volumes}\n  - {images}\n");
    if !args.force && !confirmed(&what) {
        return Ok(prune::reclaimed(0));
    }
    let of_containers = prune::Args { force: true, filter: args.filter.clone() };
    let (mut space, mut code) = prune::prune(&of_containers, paths)?;
    if args.volumes {
        let (removed, bytes) = volume::prune_all(paths, |volume| {
            let label = |name: &str| volume.labels.get(name).map(String::as_str);
            volume.anonymous
                && filters.labels("label", label)
                && !(filters.has("label!") && filters.labels("label!", label))
        })?;
        volume::report(&removed);
        space += bytes;
    }
    let (all, filter) = (args.all, args.filter.clone());
    space += image_prune::prune(&image_prune::Args { all, force: true, filter }, paths)?;
    output::line(format_args!("Total reclaimed space: {}", human::size(space)));
    if code != Code::OK {
        code = Code(1);
    }
    Ok(code)
}
