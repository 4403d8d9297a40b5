//! `twill unpause`: let the processes of a container go on.

use crate::commands::{Code, each};
use crate::container::{Store, halts};
use crate::error::Error;
use crate::{Paths, cgroup, events, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    Ok(each::container(&store, &args.containers, |container, name| {
        // A commit may halt it just now, and lets it go on itself.
        let freezer = store.lock_freezer(&container.record.id)?;
        let cgroup = cgroup::Hierarchies::here()?.cgroup(&container.record.cgroup());
        if freezer.is_none() || !container.state.paused || !cgroup.is_frozen() {
            return Err(Error::NotPaused(container.record.name));
        }
        // Who cannot be told counts for nothing: it goes on all the same.
        drop(halts::note_end(paths, &container.record.id));
        cgroup.thaw()?;
        events::container(paths, &container.record, "unpause", &[]);
        output::line(name);
        Ok(())
    }))
}
