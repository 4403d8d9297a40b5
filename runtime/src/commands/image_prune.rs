//! `twill image prune`: images that nobody needs.

use super::prune::{Chosen, FILTERS, confirmed, reclaimed};
use crate::commands::{Code, each};
use crate::error::{Error, Result};
use crate::image::{self, Digest, Image, Removal, Removed, Store};
use crate::{Paths, container, events, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill image prune                           those without a name; asks first
  twill image prune -a -f                     all that no container uses
  twill image prune -a --filter until=240h    those made more than ten days ago

An image that a container uses, running or not, stays.")]
pub struct Args {
    /// Not only those without a name: all that no container uses
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only those that fit: until=TIME, label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let chosen = Chosen::parse(&args.filter, &FILTERS)?;
    let what = if args.all {
        "This will remove all images without at least one container associated to them."
    } else {
        "This will remove all dangling images."
    };
    if !args.force && !confirmed(what) {
        return Ok(reclaimed(0));
    }
    let which = if args.all { Which::Unused } else { Which::Nameless };
    let (space, code) = prune(which, &chosen, paths)?;
    reclaimed(space);
    Ok(code)
}

/// Images that nobody needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Which {
    /// Those without a name.
    Nameless,
    /// All that no container uses.
    Unused,
}

/// Removes those that are chosen and says so; the bytes that were in their layers.
pub fn prune(which: Which, chosen: &Chosen, paths: &Paths) -> anyhow::Result<(u64, Code)> {
    let store = Store::open(paths)?;
    let (mut removed, mut code) = (Vec::new(), Code::OK);
    for image in store.list()? {
        let labels = image.config.config().as_ref().and_then(|config| config.labels().clone());
        let labels = labels.unwrap_or_default();
        let label = |name: &str| labels.get(name).map(String::as_str);
        let is_needless = which == Which::Unused || image.names.is_empty();
        if is_needless
            && chosen.fits(image.created, label)
            && let Err(error) = remove(paths, &store, &image, &mut removed)
        {
            each::complain(&error);
            code = Code(1);
        }
    }
    // What loads left that were killed is nobody's.
    let swept = store.sweep_layers().unwrap_or_else(|error| {
        each::complain(&Error::Image(error));
        code = Code(1);
        0
    });
    let space = removed.iter().map(freed).fold(swept, u64::saturating_add);
    if !removed.is_empty() {
        output::line("Deleted Images:");
        for one in &removed {
            match one {
                Removed::Untagged(name) => output::line(format_args!("untagged: {name}")),
                Removed::Deleted { id, .. } => output::line(format_args!("deleted: {id}")),
            }
        }
        output::line("");
    }
    Ok((space, code))
}

fn freed(removed: &Removed) -> u64 {
    match removed {
        Removed::Untagged(_) => 0,
        Removed::Deleted { freed, .. } => *freed,
    }
}

/// Name by name: with the last of them the store asks once more whether a container uses it. What
/// went is added to `removed`, also before a failure.
fn remove(paths: &Paths, store: &Store, image: &Image, removed: &mut Vec<Removed>) -> Result<()> {
    let containers = container::Store::new(paths);
    let user_of = |image: &Digest| super::rmi::user_of(&containers, image);
    if user_of(&image.id)?.is_some() {
        return Ok(());
    }
    let removal = Removal { force: false, user_of: &|image| Ok(user_of(image)?) };
    let names: Vec<String> = if image.names.is_empty() {
        vec![image.id.to_string()]
    } else {
        image.names.iter().map(ToString::to_string).collect()
    };
    for name in names {
        match store.remove(&name, removal) {
            Ok(gone) => {
                for one in &gone {
                    events::removed(paths, &image.id.to_string(), one);
                }
                removed.extend(gone);
            }
            // Used, or gone, since we looked.
            Err(image::Error::InUse { .. } | image::Error::Unknown { .. }) => {}
            Err(error) => return Err(Error::Image(error)),
        }
    }
    Ok(())
}
