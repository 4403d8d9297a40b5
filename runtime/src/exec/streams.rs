//! What the new process reads and writes.
//!
//! A file or a pipe of the caller's is handed on as it is. A terminal of the caller's is not: a
//! process that stays behind in the container could go on reading what is typed into it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::unistd::{Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown};

use super::Wishes;
use super::relay::{Relay, Route};
use crate::bundle::Identity;
use crate::bundle::rootfs::Inside;
use crate::error::{FileContext as _, Result, SystemContext as _};
use crate::terminal::is_terminal;

/// The three streams of the new process.
#[derive(Debug)]
pub(super) struct Streams {
    input: OwnedFd,
    output: OwnedFd,
    error: OwnedFd,
}

impl Streams {
    /// Makes them those of this process.
    pub(super) fn take_over(&self) -> nix::Result<()> {
        dup2_stdin(&self.input)?;
        dup2_stdout(&self.output)?;
        dup2_stderr(&self.error)
    }
}

/// Opens them, and says what the caller has to move while the process runs.
pub(super) fn open(
    wishes: &Wishes,
    inside: &Inside,
    identity: &Identity,
) -> Result<(Streams, Option<Relay>)> {
    if wishes.detach {
        return Ok((Streams { input: null()?, output: null()?, error: null()? }, None));
    }
    if wishes.tty {
        return terminal(wishes, inside, identity);
    }
    let mut routes = Vec::new();
    let input = if wishes.interactive { input(&mut routes)? } else { null()? };
    let output = output(io::stdout(), &mut routes)?;
    let error = self::output(io::stderr(), &mut routes)?;
    let relay = (!routes.is_empty()).then(|| Relay::pipes(routes));
    Ok((Streams { input, output, error }, relay))
}

fn terminal(
    wishes: &Wishes,
    inside: &Inside,
    identity: &Identity,
) -> Result<(Streams, Option<Relay>)> {
    let (master, terminal) = inside.new_terminal()?;
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(5));
    fchown(&terminal, Some(uid), Some(gid)).system("hand the terminal over")?;
    let copy = || terminal.try_clone().system("copy the terminal");
    let streams = Streams { input: copy()?, output: copy()?, error: copy()? };
    let relay = Relay::terminal(master.into(), wishes.interactive)?;
    Ok((streams, Some(relay)))
}

fn null() -> Result<OwnedFd> {
    let path = Path::new("/dev/null");
    Ok(File::options().read(true).write(true).open(path).file("open", path)?.into())
}

fn input(routes: &mut Vec<Route>) -> Result<OwnedFd> {
    let own = io::stdin().as_fd().try_clone_to_owned().system("copy standard input")?;
    if !is_terminal(&own) {
        return Ok(own);
    }
    let (theirs, ours) = io::pipe().system("make a pipe")?;
    routes.push(Route::new(own.into(), OwnedFd::from(ours).into()));
    Ok(theirs.into())
}

fn output(own: impl std::os::fd::AsFd, routes: &mut Vec<Route>) -> Result<OwnedFd> {
    let own = own.as_fd().try_clone_to_owned().system("copy an output")?;
    if !is_terminal(&own) {
        return Ok(own);
    }
    let (ours, theirs) = io::pipe().system("make a pipe")?;
    routes.push(Route::output(OwnedFd::from(ours).into(), own.into()));
    Ok(theirs.into())
}
