//! Unix sockets below directories whose paths may be longer than the 107 bytes that an address takes.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::error::{FileContext as _, Result, SystemContext as _};

/// Listens on a new socket in a directory.
pub(super) fn listen(directory: &Path, name: &str) -> Result<UnixListener> {
    with_short_path(directory, name, |path| UnixListener::bind(path))
        .file("listen on", &directory.join(name))
}

/// Connects to a socket in a directory.
pub(super) fn connect(directory: &Path, name: &str) -> Result<UnixStream> {
    with_short_path(directory, name, |path| UnixStream::connect(path))
        .file("connect to", &directory.join(name))
}

fn with_short_path<T>(
    directory: &Path,
    name: &str,
    work: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let open = File::open(directory)?;
    work(&PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd())).join(name))
}

/// Accepts one connection and takes the descriptor that comes through it.
pub(super) fn receive_descriptor(listener: &UnixListener) -> Result<OwnedFd> {
    let (stream, _) = listener.accept().system("receive the container's terminal")?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 4096];
    recvmsg(&stream, &mut [IoSliceMut::new(&mut text)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        .system("receive the container's terminal")?;
    ancillary
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        })
        .ok_or(io::ErrorKind::UnexpectedEof)
        .system("receive the container's terminal")
}
