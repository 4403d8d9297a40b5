//! One conversation with the kernel's routing socket: requests in a batch, answers in order.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// The kernel never sends a larger datagram to a reader that offers this much (`netlink(7)`,
/// `NLMSG_GOODSIZE` and the dump buffer of `netlink_dump`).
const LARGEST_DATAGRAM: usize = 32 * 1024;

/// How often a dump that the kernel calls inconsistent is taken again before it counts as failed.
const DUMP_ATTEMPTS: usize = 16;

/// A socket of the routing family, bound to the namespace that it was opened in.
#[derive(Debug)]
pub(super) struct Conversation {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// What the kernel said to one request of a batch.
pub(super) type Answer = io::Result<Option<RouteNetlinkMessage>>;

impl Conversation {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Filters in dump requests are obeyed, and what the kernel does not know is refused.
        socket.set_netlink_get_strict_chk(true)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(LARGEST_DATAGRAM) })
    }

    /// Sends all requests in one datagram. The kernel works through them in order and goes on
    /// after one that fails; the answers are in the same order.
    pub(super) fn ask(
        &mut self,
        requests: Vec<(RouteNetlinkMessage, u16)>,
    ) -> io::Result<Vec<Answer>> {
        let mut answers: Vec<Option<Answer>> = requests.iter().map(|_request| None).collect();
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        for (message, flags) in requests {
            self.append(&mut datagram, message, flags | NLM_F_ACK);
        }
        self.socket.send(&datagram, 0)?;
        let mut found: Option<RouteNetlinkMessage> = None;
        while answers.iter().any(Option::is_none) {
            for message in self.receive()? {
                let index = message.header.sequence_number.wrapping_sub(first);
                let slot = usize::try_from(index).ok().and_then(|index| answers.get_mut(index));
                // Not ours: the answer to a request of a batch that was given up.
                let Some(slot) = slot else { continue };
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => found = Some(inner),
                    NetlinkPayload::Error(error) => {
                        let refused = error.code.map(|_code| error.to_io());
                        *slot = Some(refused.map_or_else(|| Ok(found.take()), Err));
                    }
                    _done_or_noop => {}
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Everything that the kernel lists for `request`.
    pub(super) fn dump(
        &mut self,
        request: &RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _attempt in 0..DUMP_ATTEMPTS {
            if let Some(rows) = self.dump_once(request.clone())? {
                return Ok(rows);
            }
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "the table changes faster than it is read"))
    }

    /// `None`: something changed underneath, so that rows may be missing or doubled.
    fn dump_once(
        &mut self,
        request: RouteNetlinkMessage,
    ) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
        let mut datagram = Vec::new();
        self.append(&mut datagram, request, NLM_F_DUMP);
        self.socket.send(&datagram, 0)?;
        let (mut rows, mut consistent) = (Vec::new(), true);
        loop {
            for message in self.receive()? {
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                consistent &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => rows.push(inner),
                    NetlinkPayload::Done(_) => return Ok(consistent.then_some(rows)),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _noop => {}
                }
            }
        }
    }

    fn append(&mut self, datagram: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let start = datagram.len();
        datagram.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut datagram[start..]);
    }

    fn receive(&mut self) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        self.buffer.clear();
        let length = loop {
            match self.socket.recv(&mut self.buffer, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => break received?,
            }
        };
        let mut rest = self.buffer.get(..length).unwrap_or_default();
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let header = NetlinkBuffer::new_checked(&rest).map_err(malformed)?;
            let end = usize::try_from(header.length()).map_err(malformed)?;
            messages.push(NetlinkMessage::deserialize(&rest[..end]).map_err(malformed)?);
            rest = rest.get(end.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(messages)
    }
}

fn malformed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
