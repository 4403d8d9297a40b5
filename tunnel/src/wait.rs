//! Blocking until a file is ready or the owner says stop.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

use crate::device::Queue;
use crate::socket::Socket;

/// What to wait for, besides something to receive from the socket.
#[derive(Clone, Copy)]
pub(crate) enum Want<'a> {
    /// Something to read from the device.
    Packets(&'a Queue),
    /// Room in the socket.
    Room,
}

/// What is worth a try. An error to collect counts as well.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ready {
    pub(crate) device: bool,
    /// There is something to receive.
    pub(crate) socket: bool,
}

/// Returns when something is ready, or when `stop` was written to. `stop` is never read, so it wakes every
/// thread, for ever.
pub(crate) fn wait(stop: &EventFd, socket: &Socket, want: Want<'_>) -> io::Result<Ready> {
    let stop = PollFd::new(stop.as_fd(), PollFlags::POLLIN);
    let (mut both, mut one);
    let files: &mut [PollFd<'_>] = match want {
        Want::Packets(device) => {
            let device = PollFd::new(device.as_fd(), PollFlags::POLLIN);
            both = [stop, PollFd::new(socket.as_fd(), PollFlags::POLLIN), device];
            &mut both
        }
        Want::Room => {
            one = [stop, PollFd::new(socket.as_fd(), PollFlags::POLLIN | PollFlags::POLLOUT)];
            &mut one
        }
    };
    match poll(files, PollTimeout::NONE) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Ready::default()),
        Err(errno) => return Err(errno.into()),
    }
    let came = |file: &PollFd<'_>| file.revents().is_some_and(|events| !events.is_empty());
    let socket = files[1].revents().is_some_and(|events| events.intersects(!PollFlags::POLLOUT));
    Ok(Ready { device: files.get(2).is_some_and(came), socket })
}

/// Returns after ten milliseconds, or at once when told to stop: after an error that nobody expects,
/// so that it cannot become a busy loop.
pub(crate) fn pause(stop: &EventFd) {
    let mut files = [PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
    if let Err(errno) = poll(&mut files, PollTimeout::from(10_u8)) {
        tracing::debug!(%errno, "a pause was cut short");
    }
}
