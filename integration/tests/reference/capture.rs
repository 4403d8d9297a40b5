//! Whole packets past the kernel's own opinion of them: seen as they arrive, sent as they are.

use std::net::UdpSocket;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// Everything on all interfaces of a network namespace, without the frames around it.
#[derive(Debug)]
pub(crate) struct Capture {
    socket: OwnedFd,
}

impl Capture {
    /// In the network namespace of the calling thread.
    pub(crate) fn start() -> Result<Self> {
        let all = SockProtocol::EthAll;
        let socket =
            socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, all)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 100_000))?;
        setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20))?;
        Ok(Self { socket })
    }

    /// The next packet; `None` if none comes for a while.
    pub(crate) fn next(&self) -> Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; 65_536];
        match recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
            Ok(length) => bytes.truncate(length),
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(errno) => bail!("the capture failed: {errno}"),
        }
        Ok(Some(bytes))
    }

    /// Waits until each of these packets has come, in whatever order and among whatever others.
    pub(crate) fn until_all(&self, mut wanted: Vec<Vec<u8>>, limit: Duration) -> Result<()> {
        let (start, mut others) = (Instant::now(), Vec::new());
        while !wanted.is_empty() {
            let came = self.next()?;
            match came.as_ref().and_then(|came| wanted.iter().position(|packet| packet == came)) {
                Some(place) => drop(wanted.swap_remove(place)),
                None => others.extend(came),
            }
            if start.elapsed() > limit {
                bail!("never came: {wanted:02x?}\nothers did: {others:02x?}");
            }
        }
        Ok(())
    }
}

/// A socket that sends packets with the headers that they have, from the network namespace of the calling
/// thread.
pub(crate) fn raw_socket() -> Result<UdpSocket> {
    let raw = SockProtocol::Raw;
    let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, raw)?;
    // The standard library has no raw socket, and what it does with a datagram's fits.
    Ok(UdpSocket::from(socket))
}
