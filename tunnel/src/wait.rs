//! Blocking until a file is ready or the owner says stop.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

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
