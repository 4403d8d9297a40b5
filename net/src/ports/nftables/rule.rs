//! Rules as the kernel takes them: expressions over registers, the same that `nft` makes of the words of
//! [`twill_core::firewall::ports::table`].

use std::net::IpAddr;

use twill_core::firewall::ports::{Protocol, Publication};
use twill_core::ids::{Family, Subnet};

use crate::netfilter::{NESTED, push};

/// `NFT_REG_VERDICT`, `NFT_REG_1`, `NFT_REG_2`.
const VERDICT: u32 = 0;
const FIRST: u32 = 1;
const SECOND: u32 = 2;
/// `NFT_META_…`.
const IN_NAME: u32 = 6;
const OUT_NAME: u32 = 7;
const FAMILY: u32 = 15;
const PROTOCOL: u32 = 16;
/// `NFT_PAYLOAD_…_HEADER`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// `NFT_CMP_EQ`, `NFT_CMP_NEQ`.
const EQUAL: u32 = 0;
const OTHER: u32 = 1;

/// Which address of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Source,
    Destination,
}

/// Leads what comes to a published port to its container.
pub(super) fn turn(publication: &Publication) -> Vec<u8> {
    let Publication { protocol, at, port, to, .. } = publication;
    let family = publication.family();
    let mut rule = of_family(family);
    rule.extend(at.map_or_else(local, |address| address_is(End::Destination, address)));
    rule.extend(meta(PROTOCOL));
    rule.extend(compare(EQUAL, &[number_of(*protocol)]));
    rule.extend(payload(TRANSPORT, 2, 2));
    rule.extend(compare(EQUAL, &port.to_be_bytes()));
    rule.extend(immediate(FIRST, &bytes(to.ip())));
    rule.extend(immediate(SECOND, &to.port().to_be_bytes()));
    rule.extend(destination(family));
    rule
}

/// Makes the host the sender of what its neighbours and its loopback send to a published port.
pub(super) fn hairpin(bridge: &str, from: Subnet) -> Vec<u8> {
    /// `IPS_DST_NAT`.
    const TURNED: u32 = 0x20;
    let mut rule = of_family(from.family());
    rule.extend(block(End::Source, from));
    rule.extend(interface(OUT_NAME, EQUAL, bridge));
    rule.extend(status());
    rule.extend(mask(&TURNED.to_ne_bytes()));
    rule.extend(compare(EQUAL, &TURNED.to_ne_bytes()));
    rule.extend(expression("masq", &[]));
    rule
}

/// Keeps everybody but the host itself from its loopback.
pub(super) fn no_loopback(end: End, loopback: Subnet) -> Vec<u8> {
    let mut rule = interface(IN_NAME, OTHER, "lo");
    rule.extend(of_family(loopback.family()));
    rule.extend(block(end, loopback));
    rule.extend(drop());
    rule
}

fn of_family(family: Family) -> Vec<u8> {
    let mut rule = meta(FAMILY);
    rule.extend(compare(EQUAL, &[family_number(family)]));
    rule
}

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address_is(end: End, address: IpAddr) -> Vec<u8> {
    let all = bytes(address);
    let mut rule = address_of(end, Family::of(address), all.len());
    rule.extend(compare(EQUAL, &all));
    rule
}

/// Is the address in a block? Whole bytes are compared alone, as `nft` does it.
fn block(end: End, block: Subnet) -> Vec<u8> {
    let all = bytes(block.base());
    let bits = usize::from(block.len());
    if bits.is_multiple_of(8) && bits > 0 {
        let prefix = &all[..bits / 8];
        let mut rule = address_of(end, block.family(), prefix.len());
        rule.extend(compare(EQUAL, prefix));
        return rule;
    }
    let of_byte = |byte: usize| match bits.saturating_sub(byte * 8) {
        0 => 0,
        left @ 1..8 => 0xff << (8 - left),
        _all => 0xff,
    };
    let wanted: Vec<u8> = (0..all.len()).map(of_byte).collect();
    let mut rule = address_of(end, block.family(), all.len());
    rule.extend(mask(&wanted));
    rule.extend(compare(EQUAL, &all));
    rule
}

fn address_of(end: End, family: Family, length: usize) -> Vec<u8> {
    let offset = match (family, end) {
        (Family::V4, End::Source) => 12,
        (Family::V4, End::Destination) => 16,
        (Family::V6, End::Source) => 8,
        (Family::V6, End::Destination) => 24,
    };
    payload(NETWORK, offset, u32::try_from(length).unwrap_or_default())
}

fn interface(key: u32, how: u32, name: &str) -> Vec<u8> {
    /// `IFNAMSIZ`.
    const LONGEST: usize = 16;
    let mut padded = name.as_bytes().to_vec();
    padded.resize(LONGEST, 0);
    let mut rule = meta(key);
    rule.extend(compare(how, &padded));
    rule
}

// === expressions ===

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[number(1, FIRST), number(2, key)])
}

fn payload(base: u32, offset: u32, length: u32) -> Vec<u8> {
    let parts = [number(1, FIRST), number(2, base), number(3, offset), number(4, length)];
    expression("payload", &parts)
}

fn compare(how: u32, value: &[u8]) -> Vec<u8> {
    expression("cmp", &[number(1, FIRST), number(2, how), data(3, value)])
}

/// `NFT_CT_STATUS`.
fn status() -> Vec<u8> {
    expression("ct", &[number(1, FIRST), number(2, 2)])
}

fn mask(mask: &[u8]) -> Vec<u8> {
    let length = u32::try_from(mask.len()).unwrap_or_default();
    let none = vec![0; mask.len()];
    let registers = [number(1, FIRST), number(2, FIRST), number(3, length)];
    let [source, target, length] = registers;
    expression("bitwise", &[source, target, length, data(4, mask), data(5, &none)])
}

/// Is its destination an address of this host? `NFT_FIB_RESULT_ADDRTYPE` of `NFTA_FIB_F_DADDR` is `RTN_LOCAL`.
fn local() -> Vec<u8> {
    let mut rule = expression("fib", &[number(1, FIRST), number(2, 3), number(3, 2)]);
    rule.extend(compare(EQUAL, &2_u32.to_ne_bytes()));
    rule
}

fn immediate(register: u32, value: &[u8]) -> Vec<u8> {
    expression("immediate", &[number(1, register), data(2, value)])
}

/// `NF_DROP`.
fn drop() -> Vec<u8> {
    let verdict = nested(2, &nested(2, &number(1, 0)));
    expression("immediate", &[number(1, VERDICT), verdict])
}

/// `NFT_NAT_DNAT` to what the registers hold, a port among it (`NF_NAT_RANGE_PROTO_SPECIFIED`).
fn destination(family: Family) -> Vec<u8> {
    let family = number(2, family_number(family).into());
    expression("nat", &[number(1, 1), family, number(3, FIRST), number(5, SECOND), number(7, 2)])
}

/// `NFTA_LIST_ELEM` with `NFTA_EXPR_NAME` and `NFTA_EXPR_DATA`.
fn expression(name: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut inner = Vec::new();
    push(&mut inner, 1, &[name.as_bytes(), &[0]].concat());
    push(&mut inner, 2 | NESTED, &parts.concat());
    nested(1, &inner)
}

/// `NFTA_DATA_VALUE`.
fn data(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut inner = Vec::new();
    push(&mut inner, 1, value);
    nested(kind, &inner)
}

fn nested(kind: u16, inner: &[u8]) -> Vec<u8> {
    let mut attribute = Vec::new();
    push(&mut attribute, kind | NESTED, inner);
    attribute
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    let mut attribute = Vec::new();
    push(&mut attribute, kind, &value.to_be_bytes());
    attribute
}
