//! The hidden command behind `commit`: halts a container as long as somebody holds the other end of its input.

use std::io::{self, Write as _};

use nix::sys::signal::SigSet;

use crate::cgroup::Hierarchies;
use crate::commands::Code;
use crate::container::{Store, halts};
use crate::error::SystemContext as _;
use crate::{Error, Paths};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Full id
    pub id: String,
}

/// Does it. However the caller ends, its end of the pipe closes, and the container goes on. One that a
/// person has paused stays so.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    // What is meant for the caller must not end us before the container goes on.
    SigSet::all().thread_block().system("block signals")?;
    let store = Store::new(paths);
    let gone = || Error::NoSuchContainer(args.id.clone());
    let _lock = store.lock_freezer(&args.id)?.ok_or_else(gone)?;
    let cgroup = Hierarchies::here()?.cgroup(&store.read(&args.id)?.record.cgroup());
    let is_paused = cgroup.is_frozen();
    if !is_paused {
        cgroup.freeze()?;
    }
    // Who does not hear it is gone already, which shows at once.
    drop(io::stdout().write_all(b"\n").and_then(|()| io::stdout().flush()));
    drop(io::copy(&mut io::stdin(), &mut io::sink()));
    if !is_paused {
        drop(halts::note_end(paths, &args.id));
        cgroup.thaw()?;
    }
    Ok(Code::OK)
}
