//! Tells that something moved, so that the loop looks again at once.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
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
    /// More happened than the kernel could keep for us: anything may have moved.
    Missed,
}

impl Event {
    /// Can it have to do with the tunnel device, or with the interface under it? Neighbours of the
    /// latter come and go all day and do not count.
    #[must_use]
    pub fn concerns(self, device: IfIndex, uplink: IfIndex) -> bool {
        match self {
            Self::Link(index) | Self::Address(index) => index == device || index == uplink,
            Self::Route(index) | Self::Neighbour(index) => index == device,
            Self::Missed => true,
        }
    }
}

/// The changes of one namespace's network, from the moment this was opened.
///
/// The kernel's socket buffer is the only queue, on purpose: a reader that is slow is told
/// [`Event::Missed`], and nothing grows.
pub struct Events {
    socket: TokioSocket,
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

const GROUPS: [MulticastGroup; 4] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Neigh,
];

impl Kernel {
    /// Begins to listen, in the calling thread's namespace; open it before the first dump, so that
    /// no change falls between the two.
    pub fn events() -> Result<Events, Error> {
        let failed = |source| Error::Listen { source };
        let mut socket = <TokioSocket as AsyncSocket>::new(NETLINK_ROUTE).map_err(failed)?;
        let groups = GROUPS.iter().fold(0, |bits, group| bits | 1 << (*group as u32 - 1));
        socket.socket_mut().bind(&SocketAddr::new(0, groups)).map_err(failed)?;
        let (buffer, ready) = (Vec::with_capacity(DATAGRAM), VecDeque::new());
        Ok(Events { socket, buffer, ready, broken: false })
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
            let Self { socket, buffer, ready, broken } = self;
            match poll_fn(|context| socket.poll_recv_from(context, buffer)).await {
                Ok(_kernel) => parse(buffer, ready),
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM)) =>
                {
                    ready.push_back(Event::Missed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    *broken = true;
                    return Err(Error::Listen { source });
                }
            }
        }
    }
}

fn parse(mut datagram: &[u8], events: &mut VecDeque<Event>) {
    while !datagram.is_empty() {
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
