//! Blocking until a file is ready or the owner says stop.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

/// How long a thread looks for the next packet before it sleeps: about as long as it takes to be woken,
/// so that at worst it costs twice what sleeping at once would have.
const SPIN: Duration = Duration::from_micros(50);
/// After so many looks in vain it sleeps at once, until packets follow each other closely again.
const MISSES: u8 = 4;

/// What to wait for.
pub(crate) enum Ready<'a, F> {
    /// There is something to read, or an error to collect.
    ToRead(&'a F),
    /// There is room to write, or an error to collect.
    ToWrite(&'a F),
}

/// Returns when the file is ready, or when `stop` was written to; which of them, the caller sees by
/// trying. `stop` is never read, so it wakes every thread, for ever.
pub(crate) fn wait<F: AsFd>(stop: &EventFd, ready: &Ready<'_, F>) -> io::Result<()> {
    let (file, flags) = match ready {
        Ready::ToRead(file) => (file, PollFlags::POLLIN),
        Ready::ToWrite(file) => (file, PollFlags::POLLOUT),
    };
    let mut files =
        [PollFd::new(file.as_fd(), flags), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
    match poll(&mut files, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Returns after ten milliseconds, or at once when told to stop: after an error that nobody expects,
/// so that it cannot become a busy loop.
pub(crate) fn pause(stop: &EventFd) {
    let mut files = [PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
    if let Err(errno) = poll(&mut files, PollTimeout::from(10_u8)) {
        tracing::debug!(%errno, "a pause was cut short");
    }
}

/// Rests between packets: it looks a little longer while traffic flows, and sleeps when it does not.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Since when nothing came.
    since: Option<Instant>,
    misses: u8,
}

impl Rest {
    pub(crate) fn new() -> Self {
        Self { since: None, misses: MISSES }
    }

    /// Something came.
    pub(crate) fn over(&mut self) {
        if self.since.take().is_some() {
            self.misses = 0;
        }
    }

    /// Nothing came: returns when it is worth looking again.
    pub(crate) fn wait<F: AsFd>(&mut self, stop: &EventFd, file: &F) -> io::Result<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.misses < MISSES {
            if since.elapsed() < SPIN {
                std::thread::yield_now();
                return Ok(());
            }
            self.misses += 1;
        }
        wait(stop, &Ready::ToRead(file))?;
        // Sleeping was short: it would have been worth waiting for.
        if since.elapsed() < SPIN * 2 {
            self.misses = 0;
        }
        self.since = None;
        Ok(())
    }
}
