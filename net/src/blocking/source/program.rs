//! The program: what comes in at a port goes on, or is dropped.

use std::net::IpAddr;

use twill_core::ids::Family;

use super::Source;

/// `struct sock_filter` of `linux/filter.h`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

impl Instruction {
    pub(super) fn bytes(self) -> impl Iterator<Item = u8> {
        let jumps = [self.if_true, self.if_false];
        self.code.to_ne_bytes().into_iter().chain(jumps).chain(self.operand.to_ne_bytes())
    }
}

const fn plain(code: u16, operand: u32) -> Instruction {
    Instruction { code, if_true: 0, if_false: 0, operand }
}

/// `BPF_LD | BPF_W | BPF_ABS` and its like.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;
/// `TC_ACT_UNSPEC`: on to the next filter, if there is one.
const PASS: Instruction = plain(RETURN, u32::MAX);
/// `TC_ACT_SHOT`.
const DROP: Instruction = plain(RETURN, 2);

/// Where things are in a frame. At the entrance the kernel shows the Ethernet header, too.
mod at {
    pub(super) const PROTOCOL: u32 = 12;
    pub(super) const IPV4_SOURCE: u32 = 26;
    pub(super) const ARP_SENDER: u32 = 28;
    pub(super) const IPV6_NEXT_HEADER: u32 = 20;
    pub(super) const IPV6_HOP_LIMIT: u32 = 21;
    pub(super) const IPV6_SOURCE: u32 = 22;
    /// Right behind the header of IPv6.
    pub(super) const ICMPV6_TYPE: u32 = 54;
    pub(super) const ADVERTISED: u32 = 62;
}

/// A frame that is too short for what is loaded passes; it holds no whole header.
pub(super) fn program(sources: &[Source]) -> Vec<Instruction> {
    let of = |family: Family| -> Vec<Source> {
        let own = |source: &&Source| source.subnet.family() == family;
        sources.iter().filter(own).copied().collect()
    };
    let (ipv4, ipv6) = (of(Family::V4), of(Family::V6));
    let mut program = vec![plain(LOAD_HALF, at::PROTOCOL)];
    if !ipv4.is_empty() {
        program.extend(if_equal(0x0800, &[kept(&ipv4, at::IPV4_SOURCE), vec![PASS]].concat()));
        program.extend(if_equal(0x0806, &[kept(&ipv4, at::ARP_SENDER), vec![PASS]].concat()));
    }
    if !ipv6.is_empty() {
        let then = [kept(&ipv6, at::IPV6_SOURCE), neighbour_discovery(&ipv6)].concat();
        program.extend(if_equal(0x86dd, &then));
    }
    // The kernel has taken one VLAN tag away before us, and takes another one away after us.
    for tagged in [0x8100, 0x88a8] {
        program.extend(if_equal(tagged, &[DROP]));
    }
    program.push(PASS);
    program
}

/// Every receiver wants a hop limit of 255 of it, and takes it behind other headers, too. What else has
/// both is nobody's.
fn neighbour_discovery(sources: &[Source]) -> Vec<Instruction> {
    const ICMPV6: u32 = 58;
    /// Hop-by-hop options, routing, fragment, authentication, destination options.
    const HEADERS_BETWEEN: [u32; 5] = [0, 43, 44, 51, 60];
    const ROUTER_ADVERTISEMENT: u32 = 134;
    const NEIGHBOUR_ADVERTISEMENT: u32 = 136;
    const REDIRECT: u32 = 137;
    let mut steps = vec![plain(LOAD_BYTE, at::IPV6_HOP_LIMIT)];
    steps.extend(unless_equal(255, &[PASS]));
    steps.push(plain(LOAD_BYTE, at::IPV6_NEXT_HEADER));
    steps.extend(HEADERS_BETWEEN.into_iter().flat_map(|header| if_equal(header, &[DROP])));
    steps.extend(unless_equal(ICMPV6, &[PASS]));
    steps.push(plain(LOAD_BYTE, at::ICMPV6_TYPE));
    for of_routers in [ROUTER_ADVERTISEMENT, REDIRECT] {
        steps.extend(if_equal(of_routers, &[DROP]));
    }
    steps.extend(unless_equal(NEIGHBOUR_ADVERTISEMENT, &[PASS]));
    steps.extend(kept(sources, at::ADVERTISED));
    steps.push(PASS);
    steps
}

/// Does `then`, which ends the program, if what was loaded is `operand`; goes on otherwise.
fn if_equal(operand: u32, then: &[Instruction]) -> Vec<Instruction> {
    let hop = Instruction { code: JUMP_IF_EQUAL, if_true: 1, if_false: 0, operand };
    [&[hop, over(then.len())], then].concat()
}

/// The other way round.
fn unless_equal(operand: u32, then: &[Instruction]) -> Vec<Instruction> {
    let hop = Instruction { code: JUMP_IF_EQUAL, if_true: 0, if_false: 1, operand };
    [&[hop, over(then.len())], then].concat()
}

/// Goes on with what comes behind so many.
fn over(steps: usize) -> Instruction {
    plain(JUMP, u32::try_from(steps).unwrap_or(u32::MAX))
}

/// Goes on if the address at `offset` is in no source's block, or if it is that of the first source in
/// whose block it is; drops the frame otherwise.
fn kept(sources: &[Source], offset: u32) -> Vec<Instruction> {
    let mut rest: Vec<Instruction> = Vec::new();
    for source in sources.iter().rev() {
        let parts = parts(source, offset);
        let mut steps = vec![DROP];
        if source.address.is_some() {
            steps.insert(0, over(1 + rest.len()));
            // From the back, since each comparison jumps over what comes behind it: to the drop, …
            for part in parts.iter().rev().filter(|part| part.mask != u32::MAX) {
                let past = steps.len() - 1;
                steps.splice(0..0, [plain(LOAD_WORD, part.offset), equal_or_past(part.own, past)]);
            }
        }
        // … and to the next source.
        for part in parts.iter().rev().filter(|part| part.mask != 0) {
            let past = steps.len();
            let load = [plain(LOAD_WORD, part.offset), plain(AND, part.mask)];
            steps.splice(0..0, load.into_iter().chain([equal_or_past(part.base, past)]));
        }
        steps.append(&mut rest);
        rest = steps;
    }
    rest
}

/// A word of an address.
struct Part {
    offset: u32,
    /// Which of its bits are the same in the whole block, and what they are.
    mask: u32,
    base: u32,
    own: u32,
}

fn parts(source: &Source, offset: u32) -> Vec<Part> {
    let Source { address, subnet } = *source;
    let own = address.unwrap_or(subnet.base());
    let [base, last, own] = [subnet.base(), subnet.last(), own].map(words);
    let blocks = base.into_iter().zip(last).map(|(base, last)| (base, !(base ^ last)));
    let parts = blocks.zip(own).zip((offset..).step_by(4));
    parts.map(|(((base, mask), own), offset)| Part { offset, mask, base, own }).collect()
}

fn words(address: IpAddr) -> Vec<u32> {
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (words, _none) = bytes.as_chunks();
    words.iter().copied().map(u32::from_be_bytes).collect()
}

fn equal_or_past(operand: u32, steps: usize) -> Instruction {
    let if_false = u8::try_from(steps).unwrap_or(u8::MAX);
    Instruction { code: JUMP_IF_EQUAL, if_true: 0, if_false, operand }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do.
    fn passes(program: &[Instruction], frame: &[u8]) -> bool {
        let (mut at, mut held) = (0_usize, 0_u32);
        loop {
            let Instruction { code, if_true, if_false, operand } = program[at];
            at += 1;
            let load = |len: usize| -> Option<u32> {
                let start = usize::try_from(operand).expect("small");
                let bytes = frame.get(start..start + len)?;
                Some(bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
            };
            let loaded = match code {
                LOAD_WORD => load(4),
                LOAD_HALF => load(2),
                LOAD_BYTE => load(1),
                AND => Some(held & operand),
                JUMP => {
                    at += usize::try_from(operand).expect("small");
                    continue;
                }
                JUMP_IF_EQUAL => {
                    at += usize::from(if held == operand { if_true } else { if_false });
                    continue;
                }
                RETURN => return operand != 2,
                other => panic!("{other}"),
            };
            let Some(loaded) = loaded else { return true };
            held = loaded;
        }
    }

    fn source(address: &str, subnet: &str) -> Source {
        let address = (!address.is_empty()).then(|| address.parse().expect("one"));
        Source { address, subnet: subnet.parse().expect("one") }
    }

    fn frame(protocol: u16, offset: u32, bytes: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 120];
        frame[12..14].copy_from_slice(&protocol.to_be_bytes());
        let offset = usize::try_from(offset).expect("small");
        frame[offset..offset + bytes.len()].copy_from_slice(bytes);
        frame
    }

    fn octets(address: &str) -> Vec<u8> {
        words(address.parse().expect("an address")).into_iter().flat_map(u32::to_be_bytes).collect()
    }

    /// Every last byte and every block of a small world, with one and with two addresses, against a dull
    /// second version.
    #[test]
    fn sources_are_told_apart() {
        let ipv4 = [source("10.88.2.7", "10.88.2.0/24"), source("10.88.3.9", "10.88.3.0/28")];
        let ipv6 = [source("fd00::7", "fd00::/120"), source("fd00::1:9", "fd00::1:0/124")];
        let wide = [source("fd00:0:0:1::7", "fd00:0:0:1::/64")];
        let none = [ipv4[0], source("", "10.88.3.0/24"), ipv6[0], source("", "fd00:0:0:1::/64")];
        for sources in [&ipv4[..1], &ipv4[1..], &ipv4, &ipv6[..1], &ipv6[1..], &ipv6, &wide, &none]
        {
            let program = program(sources);
            let mut addresses: Vec<String> = Vec::new();
            for last in 0..=255_u8 {
                addresses.extend([2, 3, 4].map(|block| format!("10.88.{block}.{last}")));
                addresses.extend(["", "0:0:1:", "1:"].map(|part| match part {
                    "0:0:1:" => format!("fd00:0:0:1::{last:x}"),
                    part => format!("fd00::{part}{last:x}"),
                }));
            }
            addresses.extend(["::", "fe80::1", "fd00:0:0:1:5::7"].map(str::to_owned));
            for text in addresses {
                let address: IpAddr = text.parse().expect("an address");
                let same = |source: &&Source| source.subnet.family() == Family::of(address);
                let block =
                    sources.iter().filter(same).find(|source| source.subnet.contains(address));
                let wanted = block.is_none_or(|source| source.address == Some(address));
                let kinds: &[(u16, u32)] =
                    if address.is_ipv4() { &[(0x0800, 26), (0x0806, 28)] } else { &[(0x86dd, 22)] };
                for (protocol, offset) in kinds {
                    let frame = frame(*protocol, *offset, &octets(&text));
                    assert_eq!(passes(&program, &frame), wanted, "{sources:?} {text}");
                }
            }
        }
    }

    #[test]
    fn what_is_said_of_neighbours() {
        let program = program(&[source("fd00::7", "fd00::/64")]);
        // Hop limit, next header, type, what is advertised.
        for (name, (hops, next, kind, target), wanted) in [
            ("its own", (255, 58, 136, "fd00::7"), true),
            ("another's", (255, 58, 136, "fd00::8"), false),
            ("on the link alone", (255, 58, 136, "fe80::8"), true),
            ("elsewhere", (255, 58, 136, "fd00:0:0:1::8"), true),
            ("nobody takes it", (64, 58, 136, "fd00::8"), true),
            ("a question", (255, 58, 135, "fd00::8"), true),
            ("a router", (255, 58, 134, "fd00::7"), false),
            ("a redirect", (255, 58, 137, "fd00::7"), false),
            ("an echo", (255, 58, 128, "fd00::8"), true),
            ("behind options", (255, 0, 136, "fd00::8"), false),
            ("a fragment", (255, 44, 136, "fd00::8"), false),
            ("who is in which group", (1, 0, 143, "fd00::8"), true),
            ("TCP", (255, 6, 136, "fd00::8"), true),
        ] {
            let mut frame = frame(0x86dd, at::ADVERTISED, &octets(target));
            (frame[20], frame[21], frame[54]) = (next, hops, kind);
            frame[22..38].copy_from_slice(&octets("fe80::7"));
            assert_eq!(passes(&program, &frame), wanted, "{name}");
        }
    }

    #[test]
    fn other_frames() {
        let all = program(&[source("fd00::7", "fd00::/64"), source("10.5.2.7", "10.5.2.0/24")]);
        for (name, frame, wanted) in [
            ("a VLAN", frame(0x8100, 0, &[]), false),
            ("another VLAN", frame(0x88a8, 0, &[]), false),
            ("neither", frame(0x88cc, 0, &[]), true),
            ("cut off", frame(0x86dd, 0, &[])[..30].to_vec(), true),
        ] {
            assert_eq!(passes(&all, &frame), wanted, "{name}");
        }
        let one = program(&[source("10.5.2.7", "10.5.2.0/24")]);
        assert!(passes(&one, &frame(0x86dd, 22, &octets("fd00::8"))), "no IPv6, no rule for it");
    }
}
