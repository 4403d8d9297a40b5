//! Which sources a port of a bridge may send from: a filter at its entrance, and a hardware address
//! that no other port can draw to itself.
//!
//! The filter is a program of the classic packet filter (`linux/bpf_common.h`) in the kernel's
//! `bpf` classifier, which takes what it returns as a verdict (`TCA_BPF_FLAG_ACT_DIRECT`). It belongs
//! to the interface and goes with it, so that nobody has to take it away.

use std::net::Ipv4Addr;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use nix::libc;
use twill_core::device::IfIndex;
use twill_core::ids::{Ipv4Subnet, Mac};

use super::error::{Error, Operation};
use super::{Kernel, Step};

/// An address of a container, and the block in which it has no other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Source {
    /// What it may send from.
    pub address: Ipv4Addr,
    /// Where it may send from nothing else.
    pub subnet: Ipv4Subnet,
}

impl Kernel {
    /// From now on, what comes in at `port`, as IPv4 or as ARP, has one of `sources` as its
    /// source, or none of their blocks'; the rest is dropped. Replaces what was said before. `false` on a
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

/// `struct sock_filter` of `linux/filter.h`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

impl Instruction {
    fn bytes(self) -> impl Iterator<Item = u8> {
        let jumps = [self.if_true, self.if_false];
        self.code.to_ne_bytes().into_iter().chain(jumps).chain(self.operand.to_ne_bytes())
    }
}

const fn plain(code: u16, operand: u32) -> Instruction {
    Instruction { code, if_true: 0, if_false: 0, operand }
}

/// Offsets count from the frame's start: at the entrance the kernel shows the Ethernet header, too. A
/// frame that is too short for what is loaded passes; it holds no whole header.
fn program(sources: &[Source]) -> Vec<Instruction> {
    /// `BPF_LD | BPF_H | BPF_ABS` and its like.
    const LOAD_HALF: u16 = 0x28;
    const LOAD_WORD: u16 = 0x20;
    const JUMP: u16 = 0x05;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const REMEMBER: u16 = 0x07;
    const RECALL: u16 = 0x87;
    const AND: u16 = 0x54;
    const RETURN: u16 = 0x06;
    /// `TC_ACT_UNSPEC`: on to the next filter, if there is one.
    const PASS: Instruction = plain(RETURN, u32::MAX);
    /// `TC_ACT_SHOT`.
    const DROP: Instruction = plain(RETURN, 2);
    const fn jump(operand: u32, if_true: u8, if_false: u8) -> Instruction {
        Instruction { code: JUMP_IF_EQUAL, if_true, if_false, operand }
    }
    let mut program = vec![
        plain(LOAD_HALF, 12),
        jump(0x0800, 5, 0),
        jump(0x0806, 6, 0),
        // The kernel has taken one VLAN tag away before us, and takes another one away after us.
        jump(0x8100, 2, 0),
        jump(0x88a8, 1, 0),
        PASS,
        DROP,
        plain(LOAD_WORD, 26),
        plain(JUMP, 1),
        plain(LOAD_WORD, 28),
        plain(REMEMBER, 0),
    ];
    for source in sources {
        let (base, last) = (source.subnet.base().to_bits(), source.subnet.last().to_bits());
        let mask = !(base ^ last);
        program.extend([
            plain(RECALL, 0),
            plain(AND, mask),
            jump(base, 0, 4),
            plain(RECALL, 0),
            jump(source.address.to_bits(), 0, 1),
            PASS,
            DROP,
        ]);
    }
    program.push(PASS);
    program
}
