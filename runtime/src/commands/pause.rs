//! `twill pause`: halt every process of a container.

use crate::commands::{Code, each};
use crate::container::{Container, Status, Store};
use crate::error::{Error, Result};
use crate::{Paths, cgroup, events, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill pause db                  its processes get no more time
  twill unpause db                they go on where they were

No process notices: the kernel's freezer holds them. `twill ps` shows `(Paused)`.")]
pub struct Args {
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    Ok(each::container(&store, &args.containers, |container, name| {
        pause(&store, &container)?;
        output::line(name);
        Ok(())
    }))
}

fn pause(store: &Store<'_>, container: &Container) -> Result<()> {
    let Container { record, .. } = container;
    let not_running = || Error::NotRunning(record.name.clone());
    // A commit may halt it just now, and lets it go on first.
    let _freezer = store.lock_freezer(&record.id)?.ok_or_else(not_running)?;
    // Nobody ends it, or starts it again, in between.
    let _lock = store.lock_container(&record.id)?.ok_or_else(not_running)?;
    if store.read(&record.id)?.state.status != Status::Running {
        return Err(not_running());
    }
    let cgroup = cgroup::Hierarchies::here()?.cgroup(&record.cgroup());
    if cgroup.is_frozen() {
        return Err(Error::AlreadyPaused(record.name.clone()));
    }
    cgroup.freeze()?;
    events::container(store.paths(), record, "pause", &[]);
    Ok(())
}
