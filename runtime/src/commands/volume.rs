//! `twill volume`: directories that outlive containers.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::commands::prune::{Chosen, confirmed, reclaimed};
use crate::commands::{Code, each, volume_create};
use crate::container::size;
use crate::error::{Error, FileContext as _, Result};
use crate::listing::{FORMAT_HELP, Filters, Format, Listing};
use crate::template::{Data, Labels, Template};
use crate::volume::{Volume, Volumes};
use crate::{Paths, output};

/// `twill volume …`.
#[derive(Clone, Debug, Subcommand)]
pub enum Group {
    /// Create a volume, unless there is one of that name
    Create(volume_create::Args),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Show all that is known about volumes, as JSON
    Inspect(InspectArgs),
    /// Remove volumes that no container uses
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Remove all volumes without a name that no container uses
    Prune(PruneArgs),
}

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill volume ls
  twill volume ls -q -f dangling=true       those that no container uses
  twill volume ls --format '{{.Name}} {{.Mountpoint}}'

Fields: .Name .Driver .Scope .Mountpoint .Labels .Size
Filters: dangling, driver, label, name")]
pub struct LsArgs {
    /// Print the names only
    #[arg(short, long)]
    pub quiet: bool,
    /// Only those that fit
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table", long_help = FORMAT_HELP)]
    pub format: Format,
}

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill volume inspect data
  twill volume inspect -f '{{.Mountpoint}}' data")]
pub struct InspectArgs {
    /// What is printed of each: a Go template, or `json` for one line
    #[arg(short, long, value_name = "TEMPLATE", value_parser = Template::of_format)]
    pub format: Option<Template>,
    /// Names
    #[arg(required = true)]
    pub names: Vec<String>,
}

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct RmArgs {
    /// One that is not there is no failure
    #[arg(short, long)]
    pub force: bool,
    /// Names
    #[arg(required = true)]
    pub names: Vec<String>,
}

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill volume prune                        asks first
  twill volume prune -a -f --filter label!=keep")]
pub struct PruneArgs {
    /// Those with a name, too
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only those that fit: label=NAME[=VALUE], label!=NAME[=VALUE], all=true
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
}

const LISTING: Listing = Listing {
    headings: &[
        ("Availability", "AVAILABILITY"),
        ("Driver", "DRIVER"),
        ("Group", "GROUP"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
    columns: "{{.Driver}}\t{{.Name}}",
};

/// Does it.
pub fn group(command: &Group, paths: &Paths) -> anyhow::Result<Code> {
    match command {
        Group::Create(args) => volume_create::run(args, paths),
        Group::Ls(args) => ls(args, paths),
        Group::Inspect(args) => inspect(args, paths),
        Group::Rm(args) => Ok(rm(args, paths)),
        Group::Prune(args) => prune(args, paths),
    }
}

fn ls(args: &LsArgs, paths: &Paths) -> anyhow::Result<Code> {
    let filters = Filters::parse(&args.filter, &["dangling", "driver", "label", "name"])?;
    let volumes = Volumes::new(paths);
    let users = if filters.has("dangling") { volumes.users()? } else { BTreeMap::new() };
    let mut all = volumes.list()?;
    all.retain(|volume| {
        let dangling = !users.contains_key(&volume.name);
        filters.any("dangling", |wanted| matches!(wanted, "true" | "1") == dangling)
            && filters.any("driver", |wanted| wanted == "local")
            && filters.labels("label", |name| volume.labels.get(name).map(String::as_str))
            && filters.any("name", |wanted| volume.name.contains(wanted))
    });
    if args.quiet && !args.format.is_own() {
        all.iter().map(|volume| &volume.name).for_each(output::line);
        return Ok(Code::OK);
    }
    let rows: Vec<Data> = all.iter().map(|volume| row(&volumes, volume)).collect();
    LISTING.print(&args.format, &rows)?;
    Ok(Code::OK)
}

fn row(volumes: &Volumes<'_>, volume: &Volume) -> Data {
    let labels: Vec<String> =
        volume.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let fields = json!({
        "Availability": "N/A",
        "Driver": "local",
        "Group": "N/A",
        "Labels": labels.join(","),
        "Links": "N/A",
        "Mountpoint": volumes.data(&volume.name),
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    });
    Data { fields, labels: Labels::Of(volume.labels.clone()) }
}

/// Docker's fields.
fn shown(volumes: &Volumes<'_>, volume: &Volume) -> Value {
    json!({
        "CreatedAt": volume.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "Driver": "local",
        "Labels": volume.labels,
        "Mountpoint": volumes.data(&volume.name),
        "Name": volume.name,
        "Options": volume.options,
        "Scope": "local",
    })
}

fn inspect(args: &InspectArgs, paths: &Paths) -> anyhow::Result<Code> {
    let volumes = Volumes::new(paths);
    let (mut found, mut code) = (Vec::new(), Code::OK);
    for name in &args.names {
        match volumes.find(name) {
            Ok(volume) => found.push(shown(&volumes, &volume)),
            Err(error) => {
                each::complain(&error);
                code = Code(1);
            }
        }
    }
    match &args.format {
        None => output::pretty(&Value::Array(found)),
        Some(template) => {
            for one in found {
                output::line(template.render(&Data::from(one))?);
            }
        }
    }
    Ok(code)
}

fn rm(args: &RmArgs, paths: &Paths) -> Code {
    let volumes = Volumes::new(paths);
    let mut code = Code::OK;
    for name in &args.names {
        match volumes.remove(name) {
            Ok(()) => output::line(name),
            Err(Error::NoSuchVolume(_)) if args.force => output::line(name),
            Err(error) => {
                each::complain(&error);
                code = Code(1);
            }
        }
    }
    code
}

fn prune(args: &PruneArgs, paths: &Paths) -> anyhow::Result<Code> {
    let chosen = Chosen::parse(&args.filter, &["all", "label", "label!"])?;
    let all = args.all || chosen.filters.values("all").any(|wanted| matches!(wanted, "true" | "1"));
    let what = if all { "all local volumes" } else { "anonymous local volumes" };
    let warning = format!("This will remove {what} not used by at least one container.");
    if !args.force && !confirmed(&warning) {
        return Ok(reclaimed(0));
    }
    let (space, code) = prune_all(paths, |volume| {
        let label = |name: &str| volume.labels.get(name).map(String::as_str);
        (all || volume.anonymous) && chosen.fits(Some(volume.created), label)
    })?;
    reclaimed(space);
    Ok(code)
}

/// Removes those that are wanted and that nobody uses, and says so; the bytes that were in them.
pub fn prune_all(paths: &Paths, wanted: impl Fn(&Volume) -> bool) -> Result<(u64, Code)> {
    let volumes = Volumes::new(paths);
    volumes.tidy()?;
    let (mut removed, mut space, mut code) = (Vec::new(), 0_u64, Code::OK);
    for volume in volumes.list()?.into_iter().filter(|volume| wanted(volume)) {
        let data = volumes.data(&volume.name);
        // What cannot be counted can go all the same.
        let bytes = size::below(&data).file("look through", &data).unwrap_or(0);
        match volumes.remove(&volume.name) {
            Ok(()) => {
                removed.push(volume.name);
                space = space.saturating_add(bytes);
            }
            Err(Error::VolumeInUse { .. } | Error::NoSuchVolume(_)) => {}
            Err(error) => {
                each::complain(&error);
                code = Code(1);
            }
        }
    }
    if !removed.is_empty() {
        output::line("Deleted Volumes:");
        removed.iter().for_each(output::line);
        output::line("");
    }
    Ok((space, code))
}
