//! One conversation with the kernel's generic netlink about `WireGuard`.

use std::fmt::Debug;
use std::io;

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage,
    NetlinkPayload, ParseableParametrized,
};
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use netlink_packet_wireguard::{WireguardAttribute, WireguardCmd, WireguardMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};
use nix::libc;

/// The kernel never sends a larger datagram to a reader that offers this much.
const LARGEST_DATAGRAM: usize = 32 * 1024;

/// How often a dump that the kernel calls inconsistent is taken again before it counts as failed.
const DUMP_ATTEMPTS: usize = 16;

/// A socket of the generic family, bound to the namespace that it was opened in.
#[derive(Debug)]
pub(in crate::kernel) struct Talk {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
    /// The number of the family `wireguard`, once it was asked for.
    family: Option<u16>,
}

type Rows<F> = Vec<GenlMessage<F>>;

impl Talk {
    pub(in crate::kernel) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(LARGEST_DATAGRAM), family: None })
    }

    /// The number that the kernel gave `wireguard`, another after each load of the module. It loads the module
    /// when it is asked and has none.
    pub(super) fn family(&mut self) -> io::Result<u16> {
        let name = GenlCtrlAttrs::FamilyName(WireguardMessage::family_name().to_owned());
        let question = GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas: vec![name] };
        let answers = self.exchange(question, (0, NLM_F_ACK))?.unwrap_or_default();
        let number = answers.iter().flat_map(|answer| &answer.payload.nlas).find_map(|part| {
            if let GenlCtrlAttrs::FamilyId(number) = part { Some(*number) } else { None }
        });
        let number = number.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        self.family = Some(number);
        Ok(number)
    }

    /// What the kernel tells of a device; it may take several messages for one with many peers.
    pub(super) fn list(
        &mut self,
        device: &WireguardAttribute,
    ) -> io::Result<Vec<WireguardMessage>> {
        self.with_family(|talk, family| talk.dump(family, device))
    }

    fn dump(
        &mut self,
        family: u16,
        device: &WireguardAttribute,
    ) -> io::Result<Vec<WireguardMessage>> {
        for _attempt in 0..DUMP_ATTEMPTS {
            let question =
                WireguardMessage { cmd: WireguardCmd::GetDevice, attributes: vec![device.clone()] };
            if let Some(parts) = self.exchange(question, (family, NLM_F_DUMP))? {
                return Ok(parts.into_iter().map(|part| part.payload).collect());
            }
        }
        Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "the peers change faster than they are read",
        ))
    }

    pub(super) fn set(&mut self, attributes: &[WireguardAttribute]) -> io::Result<()> {
        self.with_family(|talk, family| {
            let attributes = attributes.to_vec();
            let message = WireguardMessage { cmd: WireguardCmd::SetDevice, attributes };
            talk.exchange(message, (family, NLM_F_ACK)).map(drop)
        })
    }

    /// Asks with the number of the family, and with its new one where the module was loaded again since.
    fn with_family<T>(&mut self, ask: impl Fn(&mut Self, u16) -> io::Result<T>) -> io::Result<T> {
        if let Some(known) = self.family {
            match ask(self, known) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.family = None,
                answer => return answer,
            }
        }
        let family = self.family()?;
        ask(self, family)
    }

    /// Everything up to the kernel's last word. `None`: something changed underneath a dump.
    fn exchange<F>(
        &mut self,
        payload: F,
        (family, flags): (u16, u16),
    ) -> io::Result<Option<Rows<F>>>
    where
        F: GenlFamily + Emitable + ParseableParametrized<[u8], GenlHeader> + Clone + Debug,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = GenlMessage::from_payload(payload);
        message.set_resolved_family_id(family);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut datagram = vec![0; message.buffer_len()];
        message.serialize(&mut datagram);
        self.socket.send(&datagram, 0)?;
        let (mut rows, mut consistent) = (Vec::new(), true);
        loop {
            for message in self.receive::<F>()? {
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

    fn receive<F>(&mut self) -> io::Result<Vec<NetlinkMessage<GenlMessage<F>>>>
    where
        F: ParseableParametrized<[u8], GenlHeader> + Debug,
    {
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
