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
pub(crate) struct Conversation {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// What the kernel said to one request of a batch.
pub(crate) type Answer = io::Result<Option<RouteNetlinkMessage>>;

impl Conversation {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Filters in dump requests are obeyed, and what the kernel does not know is refused.
        socket.set_netlink_get_strict_chk(true)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(LARGEST_DATAGRAM) })
    }

    /// Sends all requests in one datagram. The kernel works through them in order and goes on
    /// after one that fails; the answers are in the same order.
    ///
    /// Only the last one is acknowledged, and those that fail: each answer is a datagram of its own,
    /// and all of them wait in the socket's buffer while the kernel is at work, so that a batch has a
    /// hundred requests at most.
    pub(crate) fn ask(
        &mut self,
        requests: impl IntoIterator<Item = (RouteNetlinkMessage, u16)>,
    ) -> io::Result<Vec<Answer>> {
        let mut requests = requests.into_iter().peekable();
        let first = self.sequence.wrapping_add(1);
        let (mut datagram, mut answers) = (Vec::new(), Vec::new());
        while let Some((message, flags)) = requests.next() {
            let acknowledged = if requests.peek().is_none() { NLM_F_ACK } else { 0 };
            self.append(&mut datagram, message, flags | acknowledged);
            answers.push(Ok(None));
        }
        if answers.is_empty() {
            return Ok(answers);
        }
        self.socket.send(&datagram, 0)?;
        let mut ended = false;
        while !ended {
            for message in self.receive()? {
                let sequence = message.header.sequence_number;
                let index = usize::try_from(sequence.wrapping_sub(first)).ok();
                // Not ours: the answer to a request of a batch that was given up.
                let Some(answer) = index.and_then(|index| answers.get_mut(index)) else { continue };
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => *answer = Ok(Some(inner)),
                    NetlinkPayload::Error(error) => {
                        if error.code.is_some() {
                            *answer = Err(error.to_io());
                        }
                        ended |= sequence == self.sequence;
                    }
                    _done_or_noop => {}
                }
            }
        }
        Ok(answers)
    }

    /// Everything that the kernel lists for `request`.
    pub(crate) fn dump(
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
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
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
