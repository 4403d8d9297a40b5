//! One conversation with the kernel's generic netlink about `WireGuard`.

use std::io;

use netlink_packet_core::NLM_F_ACK;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlMessage};
use netlink_packet_wireguard::{WireguardAttribute, WireguardCmd, WireguardMessage};
use netlink_sys::protocols::NETLINK_GENERIC;
use nix::libc;

use crate::netlink::Line;

/// A socket of the generic family, bound to the namespace that it was opened in.
#[derive(Debug)]
pub(in crate::kernel) struct Talk {
    line: Line,
    /// The number of the family `wireguard`, once it was asked for.
    family: Option<u16>,
}

impl Talk {
    pub(in crate::kernel) fn open() -> io::Result<Self> {
        Ok(Self { line: Line::open(NETLINK_GENERIC)?, family: None })
    }

    /// The number that the kernel gave `wireguard`, another after each load of the module. It loads the module
    /// when it is asked and has none.
    pub(super) fn family(&mut self) -> io::Result<u16> {
        let name = GenlCtrlAttrs::FamilyName(WireguardMessage::family_name().to_owned());
        let question = GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas: vec![name] };
        let question = GenlMessage::from_payload(question);
        let answers = self.line.exchange(question, NLM_F_ACK)?.unwrap_or_default();
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
        let question =
            WireguardMessage { cmd: WireguardCmd::GetDevice, attributes: vec![device.clone()] };
        let parts = self.with_family(|line, family| line.dump(&to(family, question.clone())))?;
        Ok(parts.into_iter().map(|part| part.payload).collect())
    }

    pub(super) fn set(&mut self, attributes: &[WireguardAttribute]) -> io::Result<()> {
        let attributes = attributes.to_vec();
        let message = WireguardMessage { cmd: WireguardCmd::SetDevice, attributes };
        let set = |line: &mut Line, family| line.exchange(to(family, message.clone()), NLM_F_ACK);
        self.with_family(set).map(drop)
    }

    /// Asks with the number of the family, and with its new one where the module was loaded again since.
    fn with_family<T>(&mut self, ask: impl Fn(&mut Line, u16) -> io::Result<T>) -> io::Result<T> {
        if let Some(known) = self.family {
            match ask(&mut self.line, known) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.family = None,
                answer => return answer,
            }
        }
        let family = self.family()?;
        ask(&mut self.line, family)
    }
}

fn to(family: u16, message: WireguardMessage) -> GenlMessage<WireguardMessage> {
    let mut message = GenlMessage::from_payload(message);
    message.set_resolved_family_id(family);
    message
}
