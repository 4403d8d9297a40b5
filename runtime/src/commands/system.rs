//! `twill system`: the whole of what is here.

use clap::Subcommand;

use super::image_prune::Which;
use super::prune::{Chosen, confirmed};
use super::{disk, each, events, image_prune, info, prune, volume};
use crate::commands::Code;
use crate::{Error, Paths};

/// `twill system …`.
#[derive(Clone, Debug, Subcommand)]
pub enum Group {
    /// Show how much disk images, containers and volumes take
    Df(disk::Args),
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

/// Does it.
pub fn group(command: &Group, paths: &Paths) -> anyhow::Result<Code> {
    match command {
        Group::Df(args) => disk::run(args, paths),
        Group::Prune(args) => prune_all(args, paths),
        Group::Info(args) => info::run(args, paths),
        Group::Events(args) => events::run(args, paths),
    }
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
    let chosen = Chosen::parse(&args.filter, &prune::FILTERS)?;
    if args.volumes && chosen.filters.has("until") {
        let text = r#"ERROR: The "until" filter is not supported with "--volumes""#;
        return Err(Error::Usage(text.to_owned()).into());
    }
    let what = format!("This will remove:\n  - all stopped containers{volumes}\n  - {images}\n");
    if !args.force && !confirmed(&what) {
        return Ok(prune::reclaimed(0));
    }
    let mut parts = vec![prune::prune(&chosen, paths)?];
    if args.volumes {
        let pruned = volume::prune_all(paths, |volume| {
            let label = |name: &str| volume.labels.get(name).map(String::as_str);
            volume.anonymous && chosen.fits(Some(volume.created), label)
        });
        parts.push(pruned.unwrap_or_else(|error| {
            each::complain(&error);
            (0, Code(1))
        }));
    }
    let which = if args.all { Which::Unused } else { Which::Nameless };
    parts.push(image_prune::prune(which, &chosen, paths)?);
    prune::reclaimed(parts.iter().map(|(bytes, _)| *bytes).fold(0, u64::saturating_add));
    let failed = parts.into_iter().map(|(_, code)| code).find(|code| *code != Code::OK);
    Ok(failed.unwrap_or(Code::OK))
}
