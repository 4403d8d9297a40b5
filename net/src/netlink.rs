//! A netlink socket, whatever the protocol: numbered requests, answers in datagrams, dumps.

use std::fmt::Debug;
use std::io;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// The kernel never sends a larger datagram to a reader that offers this much (`netlink(7)`,
/// `NLMSG_GOODSIZE` and the dump buffer of `netlink_dump`).
const LARGEST_DATAGRAM: usize = 32 * 1024;

/// How often a dump that the kernel calls inconsistent is taken again before it counts as failed.
const DUMP_ATTEMPTS: usize = 16;

/// A socket to the kernel, bound to the namespace that it was opened in.
#[derive(Debug)]
pub(crate) struct Line {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Line {
    /// `protocol` is one of `NETLINK_…`.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(LARGEST_DATAGRAM) })
    }

    /// Filters in dump requests are obeyed from now on, and what the kernel does not know is refused.
    pub(crate) fn be_strict(&mut self) -> io::Result<()> {
        self.socket.set_netlink_get_strict_chk(true)
    }

    /// The number of the last request.
    pub(crate) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Puts a request behind those that are in the datagram already, with the next number.
    pub(crate) fn append<M: NetlinkSerializable>(
        &mut self,
        datagram: &mut Vec<u8>,
        message: M,
        flags: u16,
    ) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let start = datagram.len();
        datagram.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut datagram[start..]);
    }

    pub(crate) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send(datagram, 0).map(drop)
    }

    /// The messages of the next datagram.
    pub(crate) fn receive<M: NetlinkDeserializable>(
        &mut self,
    ) -> io::Result<Vec<NetlinkMessage<M>>> {
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

    /// Everything that the kernel lists for `request`.
    pub(crate) fn dump<M>(&mut self, request: &M) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Clone + Debug,
    {
        for _attempt in 0..DUMP_ATTEMPTS {
            if let Some(rows) = self.exchange(request.clone(), NLM_F_DUMP)? {
                return Ok(rows);
            }
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "the table changes faster than it is read"))
    }

    /// Asks, and hears everything up to the kernel's last word, for which there is a flag. `None`: something
    /// changed underneath a dump, so that rows may be missing or doubled.
    pub(crate) fn exchange<M>(&mut self, request: M, flags: u16) -> io::Result<Option<Vec<M>>>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Debug,
    {
        let mut datagram = Vec::new();
        self.append(&mut datagram, request, flags);
        self.send(&datagram)?;
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
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => {
                        return Ok(consistent.then_some(rows));
                    }
                    _noop => {}
                }
            }
        }
    }
}

fn malformed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
