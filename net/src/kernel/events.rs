//! Tells that something moved, so that the loop looks again at once.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::task::{Context, Poll};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_sys::protocols::{NETLINK_ROUTE, NETLINK_XFRM};
use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket};
use nix::libc;
use rtnetlink::MulticastGroup;
use twill_core::device::IfIndex;

use super::Kernel;
use super::tables::device_of;
use crate::Error;

/// What moved. Not how: the reader dumps the tables and sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// An interface came, changed or went.
    Link(IfIndex),
    /// An address of an interface came or went.
    Address(IfIndex),
    /// A route through an interface came or went.
    Route(IfIndex),
    /// A neighbour on an interface, or a row of its forwarding database, changed.
    Neighbour(IfIndex),
    /// A switch of an interface was set, such as `forwarding` or `rp_filter`; of all of them without
    /// a number.
    Setting(Option<IfIndex>),
    /// A policy of `IPsec` came, changed or went.
    Policy,
    /// More happened than the kernel could keep for us: anything may have moved.
    Missed,
}

impl Event {
    /// Can it have to do with the tunnel devices, or with the interface under them? Neighbours of the
    /// latter come and go all day and do not count.
    #[must_use]
    pub fn concerns(self, devices: &[IfIndex], uplink: IfIndex) -> bool {
        match self {
            Self::Link(index)
            | Self::Address(index)
            | Self::Route(index)
            | Self::Setting(Some(index)) => devices.contains(&index) || index == uplink,
            Self::Neighbour(index) => devices.contains(&index),
            Self::Setting(None) | Self::Policy | Self::Missed => true,
        }
    }
}

/// The changes of one namespace's network, from the moment this was opened.
///
/// The kernel's socket buffer is the only queue, on purpose: a reader that is slow is told
/// [`Event::Missed`], and nothing grows.
pub struct Events {
    socket: TokioSocket,
    /// Of `IPsec`; a kernel may have none.
    policies: Option<TokioSocket>,
    buffer: Vec<u8>,
    ready: VecDeque<Event>,
    broken: bool,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("ready", &self.ready).finish_non_exhaustive()
    }
}

/// One datagram of the kernel is at most this long (see `NLMSG_GOODSIZE` in `linux/netlink.h`).
const DATAGRAM: usize = 32 * 1024;

const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Netconf,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Netconf,
];

/// `XFRMNLGRP_POLICY` of `linux/xfrm.h`.
const POLICIES: u32 = 4;

impl Kernel {
    /// Begins to listen, in the calling thread's namespace; open it before the first dump, so that
    /// no change falls between the two.
    pub fn events() -> Result<Events, Error> {
        let failed = |source| Error::Listen { source };
        let mut socket = <TokioSocket as AsyncSocket>::new(NETLINK_ROUTE).map_err(failed)?;
        let groups = GROUPS.iter().fold(0, |bits, group| bits | 1 << (*group as u32 - 1));
        socket.socket_mut().bind(&SocketAddr::new(0, groups)).map_err(failed)?;
        let (buffer, ready) = (Vec::with_capacity(DATAGRAM), VecDeque::new());
        Ok(Events { socket, policies: policies(), buffer, ready, broken: false })
    }
}

impl Events {
    /// The next change. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// When the socket breaks. After that nothing more is heard, and the future never ends, so that
    /// a loop around it waits for its timer instead of spinning.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            if self.broken {
                pending::<()>().await;
            }
            self.buffer.clear();
            let heard = poll_fn(|context| {
                if self.hears_of_policy(context) {
                    return Poll::Ready(None);
                }
                self.socket.poll_recv_from(context, &mut self.buffer).map(Some)
            });
            let heard = heard.await;
            let Self { buffer, ready, broken, .. } = self;
            let Some(heard) = heard else { return Ok(Event::Policy) };
            match heard {
                Ok(_kernel) => parse(buffer, ready),
                Err(error) if is_overrun(&error) => ready.push_back(Event::Missed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    *broken = true;
                    return Err(Error::Listen { source });
                }
            }
        }
    }

    /// Where nothing is to be heard whoever needs to know has his timer.
    fn hears_of_policy(&mut self, context: &mut Context<'_>) -> bool {
        let Some(socket) = &mut self.policies else { return false };
        // That there was something is all.
        match socket.poll_recv_from(context, &mut Vec::new()) {
            Poll::Pending => false,
            Poll::Ready(Err(error)) if !is_passing(&error) => {
                self.policies = None;
                true
            }
            Poll::Ready(_some) => true,
        }
    }
}

fn policies() -> Option<TokioSocket> {
    let mut socket = <TokioSocket as AsyncSocket>::new(NETLINK_XFRM).ok()?;
    socket.socket_mut().bind(&SocketAddr::new(0, 1 << (POLICIES - 1))).ok()?;
    Some(socket)
}

/// More happened than the kernel could keep, or nothing.
fn is_passing(error: &io::Error) -> bool {
    is_overrun(error) || error.kind() == io::ErrorKind::Interrupted
}

fn is_overrun(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

fn parse(mut datagram: &[u8], events: &mut VecDeque<Event>) {
    while !datagram.is_empty() {
        if let Some((event, rest)) = setting(datagram) {
            events.extend(event);
            datagram = rest;
            continue;
        }
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram) else {
            // It moved, whatever it was.
            events.push_back(Event::Missed);
            return;
        };
        // Messages lie at multiples of four bytes (`NLMSG_ALIGN`).
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
        let next = length.checked_next_multiple_of(4).unwrap_or(usize::MAX);
        datagram = datagram.get(next.max(4)..).unwrap_or_default();
        if let NetlinkPayload::InnerMessage(message) = message.payload {
            events.extend(event(&message));
        }
    }
}

/// `RTM_NEWNETCONF` and `RTM_DELNETCONF` of `linux/rtnetlink.h`, which the crate does not read.
const NETCONF: std::ops::RangeInclusive<u16> = 80..=81;
/// `NETCONFA_IFINDEX` of `linux/netconf.h`.
const OF_INTERFACE: u16 = 1;
/// A message's header, and the family behind it.
const NETCONF_HEADER: usize = 16 + 4;

/// The first message, if it is about a switch of an interface, and what lies behind it.
fn setting(datagram: &[u8]) -> Option<(Option<Event>, &[u8])> {
    let (length, rest) = datagram.split_first_chunk()?;
    let (kind, _rest) = rest.split_first_chunk()?;
    if !NETCONF.contains(&u16::from_ne_bytes(*kind)) {
        return None;
    }
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    let mut attributes = datagram.get(NETCONF_HEADER..length)?;
    let behind = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    while let Some((header, value)) = attributes.split_first_chunk::<4>() {
        let [len @ .., _, _] = header;
        let len = usize::from(u16::from_ne_bytes(*len));
        let kind = u16::from_ne_bytes([header[2], header[3]]);
        if let (OF_INTERFACE, Some(index)) = (kind, value.first_chunk()) {
            return Some((of_interface(i32::from_ne_bytes(*index)), behind));
        }
        attributes = attributes.get(len.next_multiple_of(4).max(4)..).unwrap_or_default();
    }
    Some((Some(Event::Missed), behind))
}

/// `NETCONFA_IFINDEX_ALL`, and `…_DEFAULT`, which says something about interfaces that are to come.
fn of_interface(index: i32) -> Option<Event> {
    match index {
        -1 => Some(Event::Setting(None)),
        index => u32::try_from(index).ok().map(|index| Event::Setting(Some(IfIndex(index)))),
    }
}

fn event(message: &RouteNetlinkMessage) -> Option<Event> {
    use RouteNetlinkMessage as Message;
    match message {
        Message::NewLink(link) | Message::DelLink(link) => {
            Some(Event::Link(IfIndex(link.header.index)))
        }
        Message::NewAddress(address) | Message::DelAddress(address) => {
            Some(Event::Address(IfIndex(address.header.index)))
        }
        Message::NewRoute(route) | Message::DelRoute(route) => device_of(route).map(Event::Route),
        Message::NewNeighbour(neighbour) | Message::DelNeighbour(neighbour) => {
            Some(Event::Neighbour(index(neighbour)))
        }
        _other => None,
    }
}

fn index(message: &NeighbourMessage) -> IfIndex {
    IfIndex(message.header.ifindex)
}
