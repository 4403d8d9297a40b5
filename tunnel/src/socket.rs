//! The socket that the other hosts' datagrams come in by and ours go out by.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SetSockOpt,
    SockFlag, SockType, SockaddrStorage, bind, recvmmsg, sendmsg, setsockopt, socket, sockopt,
};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use rustix::net::sockopt::{set_ip_mtu_discover, set_ipv6_mtu_discover};

use crate::counters::Event;

/// What we ask the kernel to keep of what comes, until we take it; it gives what it will.
const RECEIVED: usize = 4 << 20;
/// The same of what has not left yet: more than a wire's own queue holds (1000 trains by pfifo, 32 MiB by `fq_codel`). So one
/// that is slower than what goes over it loses packets where it begins, as those of the kernel's own tunnels are lost, and
/// holds up nobody who is reached by another, or whom `fq_codel` keeps apart.
const UNSENT: usize = 32 << 20;
/// How many trains are received in one call.
pub(crate) const TRAINS: usize = 8;
/// No datagram, and no train, is longer.
pub(crate) const ROOM: usize = 1 << 16;

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Socket {
    inner: UdpSocket,
}

/// Datagrams of one sender that came in one: each of `size` bytes, the last perhaps shorter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Arrival {
    pub(crate) sender: IpAddr,
    /// The outer type of service or traffic class.
    pub(crate) class: u8,
    pub(crate) len: usize,
    pub(crate) size: usize,
}

impl Socket {
    /// So many sockets of one address; the kernel keeps each peer on one of them.
    pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<Self>> {
        // With one socket, or by a look ahead with one: whoever else has the port is found out.
        let only = UdpSocket::bind(address)?;
        if count <= 1 {
            return Ok(vec![Self::prepare(only, address)?]);
        }
        drop(only);
        (0..count).map(|_number| Self::prepare(one_of_several(address)?, address)).collect()
    }

    fn prepare(inner: UdpSocket, address: SocketAddr) -> io::Result<Self> {
        inner.set_nonblocking(true)?;
        // A router on the way that carries less cuts them, and need not be believed, or even heard, about
        // it: of a path that says nothing no packet is lost.
        if address.is_ipv4() {
            set_ip_mtu_discover(&inner, Ipv4PathMtuDiscovery::DONT)?;
        } else {
            set_ipv6_mtu_discover(&inner, Ipv6PathMtuDiscovery::DONT)?;
        }
        // Bursts are long and our threads few; less than asked for costs speed, not correctness.
        if setsockopt(&inner, sockopt::RcvBufForce, &RECEIVED).is_err()
            || setsockopt(&inner, sockopt::SndBufForce, &UNSENT).is_err()
        {
            tracing::debug!(%address, "the tunnel's socket keeps the kernel's usual buffers");
        }
        ask(&inner, sockopt::UdpGroSegment, "hand over several datagrams in one");
        if address.is_ipv4() {
            ask(&inner, sockopt::IpRecvTos, "tell a datagram's type of service");
        } else {
            ask(&inner, sockopt::Ipv6RecvTClass, "tell a datagram's traffic class");
        }
        Ok(Self { inner })
    }

    /// Sends the slices as one datagram, or, with a size, as several of that size.
    pub(crate) fn send(
        &self,
        to: SocketAddr,
        (slices, size): (&[IoSlice<'_>], Option<u16>),
        class: u8,
    ) -> nix::Result<usize> {
        let inherited = i32::from(class);
        let train = size.as_ref().map(ControlMessage::UdpGsoSegments);
        let marks = (class != 0).then_some(match to {
            SocketAddr::V4(_) => ControlMessage::Ipv4Tos(&class),
            SocketAddr::V6(_) => ControlMessage::Ipv6TClass(&inherited),
        });
        let to = SockaddrStorage::from(to);
        let (fd, flags) = (self.inner.as_raw_fd(), MsgFlags::empty());
        match (train, marks) {
            (None, None) => sendmsg(fd, slices, &[], flags, Some(&to)),
            (Some(one), None) | (None, Some(one)) => sendmsg(fd, slices, &[one], flags, Some(&to)),
            (Some(one), Some(other)) => sendmsg(fd, slices, &[one, other], flags, Some(&to)),
        }
    }

    /// Receives what is there, one arrival into each [`ROOM`] bytes of `buffer`.
    pub(crate) fn receive(
        &self,
        buffer: &mut [u8],
        arrivals: &mut Vec<Arrival>,
    ) -> nix::Result<()> {
        arrivals.clear();
        // The kernel writes down how much of the space it used, so that it cannot be used twice.
        let space = cmsg_space!(i32, i32);
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(TRAINS, Some(space));
        let mut rooms: Vec<[IoSliceMut<'_>; 1]> =
            buffer.chunks_mut(ROOM).map(|room| [IoSliceMut::new(room)]).collect();
        let fd = self.inner.as_raw_fd();
        let messages = recvmmsg(fd, &mut headers, &mut rooms, MsgFlags::MSG_DONTWAIT, None)?;
        for message in messages {
            let len = message.bytes;
            let sender = message.address.and_then(|address| address_of(&address));
            let mut arrival =
                Arrival { sender: sender.unwrap_or(UNKNOWN), class: 0, len, size: len };
            for note in message.cmsgs()? {
                match note {
                    ControlMessageOwned::UdpGroSegments(size) => {
                        arrival.size = usize::try_from(size).unwrap_or(len);
                    }
                    ControlMessageOwned::Ipv4Tos(class) => arrival.class = class,
                    ControlMessageOwned::Ipv6TClass(class) => {
                        arrival.class = u8::try_from(class).unwrap_or(0);
                    }
                    _other => {}
                }
            }
            arrivals.push(arrival);
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// What a message without a sender's address would come from, which no datagram does.
const UNKNOWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

fn address_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let ipv4 = || address.as_sockaddr_in().map(|address| address.ip().into());
    ipv4().or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
}

fn one_of_several(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(fd.into())
}

/// Asks for what makes it faster, or better; without it the tunnel still carries packets.
fn ask(socket: &UdpSocket, option: impl SetSockOpt<Val = bool>, what: &str) {
    if let Err(errno) = setsockopt(socket, option, &true) {
        tracing::warn!(%errno, "the kernel cannot {what}");
    }
}

/// What an error of the underlay means for a packet.
pub(crate) fn reason(errno: Errno) -> Event {
    match errno {
        Errno::ECONNREFUSED => Event::Refused,
        Errno::ENOBUFS | Errno::ENOMEM => Event::NoBuffers,
        Errno::EMSGSIZE => Event::UnderlayTooSmall,
        Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ENETDOWN | Errno::EPERM => {
            Event::Unreachable
        }
        _other => Event::SocketError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_underlay_has_its_reason() {
        for (errno, wanted) in [
            (Errno::ECONNREFUSED, Event::Refused),
            (Errno::ENOBUFS, Event::NoBuffers),
            (Errno::EMSGSIZE, Event::UnderlayTooSmall),
            (Errno::ENETUNREACH, Event::Unreachable),
            (Errno::EINVAL, Event::SocketError),
        ] {
            assert_eq!(reason(errno), wanted, "{errno}");
        }
    }

    #[test]
    fn several_share_a_port_that_nobody_else_gets() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let several = Socket::bind(free, 3).unwrap();
        assert_eq!(several.len(), 3);
        let taken = |count| Socket::bind(free, count).unwrap_err().kind();
        assert_eq!((taken(1), taken(2)), (io::ErrorKind::AddrInUse, io::ErrorKind::AddrInUse));
    }

    #[test]
    fn a_train_arrives_in_one_and_knows_its_size() {
        let bind = || Socket::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
        let (far, near) = (bind(), bind());
        let to = far.inner.local_addr().unwrap();
        let parts = [IoSlice::new(b"abcde"), IoSlice::new(b"fgh")];
        for (size, class, wanted) in [(Some(3), 0xb8, 3), (None, 0, 8), (None, 2, 8)] {
            assert_eq!(near.send(to, (&parts, size), class), Ok(8));
            let (mut buffer, mut arrivals) = (vec![0; ROOM * TRAINS], Vec::new());
            while far.receive(&mut buffer, &mut arrivals) == Err(Errno::EAGAIN) {}
            let arrival = Arrival { sender: to.ip(), class, len: 8, size: wanted };
            assert_eq!((&arrivals[..], &buffer[..8]), (&[arrival][..], &b"abcdefgh"[..]));
        }
    }
}
