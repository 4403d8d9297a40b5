//! Which sources a port of a bridge may send from: a filter at its entrance, and a hardware address
//! that no other port can draw to itself.
//!
//! The filter is a program of the classic packet filter (`linux/bpf_common.h`) in the kernel's
//! `bpf` classifier, which takes what it returns as a verdict (`TCA_BPF_FLAG_ACT_DIRECT`). It belongs
//! to the interface and goes with it, so that nobody has to take it away.

mod program;

use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
    TcStats2,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use nix::libc;
use twill_core::device::IfIndex;
use twill_core::ids::{Mac, Subnet};

use self::program::{Instruction, program};
use super::error::{Error, Operation};
use super::{Kernel, Step};

/// The one address that a container has in a block, if it has any.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Source {
    /// What it may send from.
    pub address: Option<IpAddr>,
    /// Where it may send from nothing else. Of the same family.
    pub subnet: Subnet,
}

impl Kernel {
    /// From now on, what comes in at `port`, as IPv4, ARP or IPv6, has one of `sources` as its
    /// source, or none of their blocks'; the rest is dropped. Of neighbour discovery (RFC 4861), with
    /// sources of IPv6, the same holds for what is advertised, and routers are not heard. Replaces what was
    /// said before. `false` on a
    /// kernel that was built without such filters (`CONFIG_NET_CLS_BPF`, `CONFIG_NET_SCH_INGRESS`):
    /// then everything passes.
    ///
    /// The port's queueing discipline `clsact` is made if it has none.
    pub fn guard_sources(&mut self, port: IfIndex, sources: &[Source]) -> Result<bool, Error> {
        let operation = || Operation::GuardSources(port);
        let entrance = Message::NewQueueDiscipline(entrance(port));
        let filter = Message::NewTrafficFilter(filter(port, &program(sources)));
        let steps: [Step; 2] = [
            (operation(), entrance, NLM_F_CREATE | NLM_F_EXCL),
            (operation(), filter, NLM_F_CREATE | NLM_F_REPLACE),
        ];
        match self.batch(steps) {
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EOPNOTSUPP)) => {
                Ok(false)
            }
            done => done.map(|()| true),
        }
    }

    /// How many packets each port that has such a filter has dropped by it; those without a drop are left
    /// out. The count goes with the port.
    pub fn refused_at_ports(&mut self) -> Result<Vec<(IfIndex, u32)>, Error> {
        let request = Message::GetQueueDiscipline(TcMessage::default());
        let rows = self.dump(Operation::ListRefused, &request)?;
        let entrances = rows.iter().filter_map(|row| match row {
            Message::NewQueueDiscipline(entrance) => dropped(entrance),
            _other => None,
        });
        Ok(entrances.filter(|(_port, packets)| *packets > 0).collect())
    }

    /// Frames to `mac` go out at this port of a bridge, whoever else sends with that address.
    pub fn hold_mac(&mut self, port: IfIndex, mac: Mac) -> Result<(), Error> {
        let request = Message::NewNeighbour(entry(port, mac));
        self.one(Operation::HoldMac(mac, port), request, NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    /// Takes back what [`Self::hold_mac`] did.
    pub fn release_mac(&mut self, port: IfIndex, mac: Mac) -> Result<(), Error> {
        let request = Message::DelNeighbour(entry(port, mac));
        match self.one(Operation::ReleaseMac(mac, port), request, 0) {
            Err(error) if error.errno() != Some(libc::ENOENT) => Err(error),
            _released_or_none => Ok(()),
        }
    }
}

/// What the queueing discipline counts for the filters in it.
fn dropped(entrance: &TcMessage) -> Option<(IfIndex, u32)> {
    let is_ours = |part: &TcAttribute| matches!(part, TcAttribute::Kind(kind) if kind == "clsact");
    let drops = |part: &TcAttribute| match part {
        TcAttribute::Stats2(all) => all.iter().find_map(|stats| match stats {
            TcStats2::Queue(queue) => Some(queue.drops),
            _other => None,
        }),
        _other => None,
    };
    entrance.attributes.iter().find(|part| is_ours(part))?;
    let packets = entrance.attributes.iter().find_map(drops)?;
    Some((IfIndex(entrance.header.index.cast_unsigned()), packets))
}

fn entry(port: IfIndex, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port.0;
    message.header.state = NeighbourState::Noarp;
    // Without "sticky" even an entry that was made by hand moves to whoever sends from its address.
    message.header.flags = NeighbourFlags::Controller | NeighbourFlags::Sticky;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message
}

fn entrance(port: IfIndex) -> TcMessage {
    let mut message = TcMessage::with_index(port.0.cast_signed());
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { minor: 0, ..TcHandle::CLSACT };
    message.attributes.push(TcAttribute::Kind("clsact".to_owned()));
    message
}

fn filter(port: IfIndex, program: &[Instruction]) -> TcMessage {
    /// The place of ours among an interface's filters (`tc filter … pref`), which names it for good.
    const PRIORITY: u32 = 1;
    /// `linux/pkt_cls.h`.
    const TCA_BPF_OPS_LEN: u16 = 4;
    const TCA_BPF_OPS: u16 = 5;
    let every_protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be();
    let mut message = TcMessage::with_index(port.0.cast_signed());
    message.header.parent = TcHandle { minor: TcHandle::MIN_INGRESS, ..TcHandle::CLSACT };
    message.header.handle = TcHandle { major: 0, minor: 1 };
    message.header.info = PRIORITY << 16 | u32::from(every_protocol);
    let length = u16::try_from(program.len()).unwrap_or(u16::MAX).to_ne_bytes().to_vec();
    let bytes = program.iter().copied().flat_map(Instruction::bytes).collect();
    let options = [
        TcFilterBpfOption::Other(DefaultNla::new(TCA_BPF_OPS_LEN, length)),
        TcFilterBpfOption::Other(DefaultNla::new(TCA_BPF_OPS, bytes)),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
    ];
    message.attributes = vec![
        TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
        TcAttribute::Options(options.map(TcOption::Bpf).to_vec()),
    ];
    message
}
