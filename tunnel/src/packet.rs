//! What the headers of a packet say (RFC 791, RFC 8200).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use twill_core::ids::Family;

use crate::checksum;
use crate::counters::Event;

/// No packet is longer, joined or not.
pub(crate) const LONGEST: usize = 65_535;
/// The shortest header of IPv4.
pub(crate) const HEADER: usize = 20;
/// The header of IPv6.
pub(crate) const HEADER6: usize = 40;
/// The shortest header of TCP.
pub(crate) const TCP_HEADER: usize = 20;
/// The header of UDP.
pub(crate) const UDP_HEADER: usize = 8;
/// TCP's flag that says: hand it on now.
pub(crate) const PUSH: u8 = 0x08;
/// Position of the time to live; the protocol follows and shares its checksum word.
const TTL: usize = 8;
const CHECKSUM: usize = 10;
const HOP_LIMIT: usize = 7;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP6: u8 = 58;
const FRAGMENT: u8 = 44;

/// Which part of a packet that somebody cut?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// Nobody did.
    Whole,
    /// That with the transport's header.
    First,
    /// One without.
    Later,
}

/// A packet whose header is whole and agrees with the number of bytes that came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Head {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// Where the transport's header begins.
    pub(crate) transport: usize,
    /// What the transport is.
    pub(crate) protocol: u8,
    /// How many hops are left.
    pub(crate) hops: u8,
    /// Type of service, or traffic class: DSCP and ECN.
    pub(crate) class: u8,
    pub(crate) part: Part,
    /// May a router cut it into fragments?
    pub(crate) may_be_cut: bool,
}

impl Head {
    /// Refuses what is not exactly one IP packet, if of IPv4 with a right header checksum.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Event> {
        match bytes.first() {
            None => Err(Event::Short),
            Some(first) if first >> 4 == 4 => Self::ipv4(bytes),
            Some(first) if first >> 4 == 6 => Self::ipv6(bytes),
            Some(_first) => Err(Event::NotIpv4),
        }
    }

    pub(crate) fn family(&self) -> Family {
        Family::of(self.source)
    }

    fn ipv4(bytes: &[u8]) -> Result<Self, Event> {
        let transport = usize::from(bytes[0] & 0x0f) * 4;
        if transport < HEADER || bytes.len() < transport {
            return Err(Event::Short);
        }
        if usize::from(word(bytes, 2)) != bytes.len() {
            return Err(Event::LengthMismatch);
        }
        if checksum::checksum(&bytes[..transport]) != 0 {
            return Err(Event::BadChecksum);
        }
        let address = |at: usize| -> IpAddr {
            Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]).into()
        };
        let fragment = word(bytes, 6);
        Ok(Self {
            source: address(12),
            destination: address(16),
            transport,
            protocol: bytes[TTL + 1],
            hops: bytes[TTL],
            class: bytes[1],
            part: match (fragment & FRAGMENT_OFFSET, fragment & MORE_FRAGMENTS) {
                (0, 0) => Part::Whole,
                (0, _more) => Part::First,
                _later => Part::Later,
            },
            may_be_cut: fragment & DONT_FRAGMENT == 0,
        })
    }

    fn ipv6(bytes: &[u8]) -> Result<Self, Event> {
        if bytes.len() < HEADER6 {
            return Err(Event::Short);
        }
        if usize::from(word(bytes, 4)) + HEADER6 != bytes.len() {
            return Err(Event::LengthMismatch);
        }
        let address = |at: usize| -> IpAddr {
            let octets: [u8; 16] = std::array::from_fn(|n| bytes[at + n]);
            Ipv6Addr::from(octets).into()
        };
        let (transport, protocol, part) = behind_extensions(bytes);
        Ok(Self {
            source: address(8),
            destination: address(24),
            transport,
            protocol,
            hops: bytes[HOP_LIMIT],
            class: bytes[0] << 4 | bytes[1] >> 4,
            part,
            may_be_cut: false,
        })
    }

    /// May an ICMP error answer it? Not one of these: an ICMP error, lest errors answer errors (and no
    /// ICMP at all of IPv4), a later fragment, a packet to or from nobody in particular (RFC 1812
    /// section 4.3.2.7, RFC 4443 section 2.4).
    pub(crate) fn may_be_answered(&self, bytes: &[u8]) -> bool {
        let error = match self.protocol {
            ICMP => self.family() == Family::V4,
            // The upper half of the types are informational.
            ICMP6 => bytes.get(self.transport).is_none_or(|kind| kind & 0x80 == 0),
            _other => false,
        };
        let nobody = |address: IpAddr| match address {
            IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
            IpAddr::V6(address) => address.is_multicast(),
        };
        !error
            && self.part != Part::Later
            && !(self.source.is_unspecified() || nobody(self.source) || nobody(self.destination))
    }

    /// Takes one hop off the packet, which has at least one, and keeps its checksum right.
    pub(crate) fn take_hop(&self, bytes: &mut [u8]) {
        match self.family() {
            Family::V4 => set(bytes, (TTL, bytes[TTL].saturating_sub(1))),
            Family::V6 => bytes[HOP_LIMIT] = bytes[HOP_LIMIT].saturating_sub(1),
        }
    }

    /// Replaces DSCP and ECN, and keeps the checksum right.
    pub(crate) fn set_class(&self, bytes: &mut [u8], class: u8) {
        match self.family() {
            Family::V4 => set(bytes, (1, class)),
            Family::V6 => {
                bytes[0] = bytes[0] & 0xf0 | class >> 4;
                bytes[1] = bytes[1] & 0x0f | class << 4;
            }
        }
    }
}

/// Where the extension headers of an IPv6 packet end, what follows them, and which part it is. A chain
/// that is broken ends where it breaks.
fn behind_extensions(bytes: &[u8]) -> (usize, u8, Part) {
    let (mut at, mut next, mut part) = (HEADER6, bytes[6], Part::Whole);
    while let (0 | 43 | 60 | FRAGMENT, Some([following, length])) =
        (next, bytes.get(at..at + 2).and_then(|two| two.as_array::<2>()))
    {
        let length = if next == FRAGMENT { 8 } else { (usize::from(*length) + 1) * 8 };
        if bytes.len() < at + length {
            break;
        }
        if next == FRAGMENT {
            let later = word(bytes, at + 2) & 0xfff8 != 0;
            part = if later { Part::Later } else { Part::First };
        }
        (at, next) = (at + length, *following);
        if part == Part::Later {
            break;
        }
    }
    (at, next, part)
}

/// Puts a byte into an IPv4 header, and keeps the checksum right.
fn set(bytes: &mut [u8], (at, value): (usize, u8)) {
    let start = at & !1;
    let before = word(bytes, start);
    bytes[at] = value;
    let sum = checksum::update(word(bytes, CHECKSUM), before, word(bytes, start));
    put(bytes, (CHECKSUM, sum));
}

/// The 16-bit number at `at`.
#[inline]
pub(crate) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The 32-bit number at `at`.
#[inline]
pub(crate) fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes a 16-bit number.
#[inline]
pub(crate) fn put(bytes: &mut [u8], (at, value): (usize, u16)) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
pub(crate) mod samples;

#[cfg(test)]
mod tests {
    use super::samples::Sample;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses() {
        let good = Sample::default().bytes();
        refused("nothing", &[], Event::Short);
        refused("half a header", &good[..19], Event::Short);
        refused("a header that claims options that are not there", &[0x46; 20], Event::Short);
        refused("a header shorter than a header", &[0x44; 60], Event::Short);
        refused("another IP", &[0x50; 60], Event::NotIpv4);
        refused("a cut packet", &good[..good.len() - 1], Event::LengthMismatch);
        refused("a packet with a tail", &[&good[..], &[0]].concat(), Event::LengthMismatch);
        let mut bent = good;
        bent[9] ^= 1;
        refused("a bit fell over", &bent, Event::BadChecksum);
        let good = Sample::v6().bytes();
        refused("half a header of IPv6", &good[..39], Event::Short);
        refused("a cut packet of IPv6", &good[..good.len() - 1], Event::LengthMismatch);
        refused("IPv6 with a tail", &[&good[..], &[0]].concat(), Event::LengthMismatch);
    }

    #[test]
    fn answers_only_what_may_be_answered() {
        may("a datagram", &Sample::default(), true);
        may("an ICMP message", &Sample { protocol: 1, ..Sample::default() }, false);
        may("a first fragment", &Sample { fragment: 0x2000, ..Sample::default() }, true);
        may("a later fragment", &Sample { fragment: 0x2005, ..Sample::default() }, false);
        may("from nobody", &Sample { source: [0, 0, 0, 0].into(), ..Sample::default() }, false);
        let many = [224, 0, 0, 1].into();
        may("to many", &Sample { destination: many, ..Sample::default() }, false);
        may("a datagram of IPv6", &Sample::v6(), true);
        let group = "ff02::1".parse().unwrap();
        may("to a group", &Sample { destination: group, ..Sample::v6() }, false);
        // The first byte of a sample's payload is 0.
        may("an error of ICMPv6", &Sample { protocol: ICMP6, ..Sample::v6() }, false);
    }

    #[test]
    fn a_hop_costs_one_at_every_number_of_hops() {
        for ttl in 1..=255 {
            for sample in [
                Sample { ttl, ..Sample::default() },
                Sample { ttl, options: 10, ..Sample::default() },
                Sample { ttl, ..Sample::v6() },
            ] {
                let mut bytes = sample.bytes();
                Head::parse(&bytes).unwrap().take_hop(&mut bytes);
                assert_eq!(bytes, Sample { ttl: ttl - 1, ..sample }.bytes(), "{ttl} hops");
            }
        }
    }

    #[test]
    fn every_class_can_be_replaced_by_every_other() {
        for class in 0..=255 {
            for sample in [Sample { class: !class, ..Sample::default() }, Sample::v6()] {
                let mut bytes = sample.bytes();
                Head::parse(&bytes).unwrap().set_class(&mut bytes, class);
                assert_eq!(bytes, Sample { class, ..sample }.bytes(), "{class}");
                assert_eq!(Head::parse(&bytes).unwrap().class, class);
            }
        }
    }

    #[test]
    fn extension_headers_are_passed_over() {
        let mut bytes = Sample { payload: 40, protocol: 0, ..Sample::v6() }.bytes();
        // Hop by hop, 8 bytes; destination options, 16 bytes; then UDP.
        (bytes[40], bytes[41], bytes[48], bytes[49]) = (60, 0, UDP, 1);
        let head = Head::parse(&bytes).unwrap();
        assert_eq!((head.transport, head.protocol, head.part), (64, UDP, Part::Whole));
        (bytes[40], bytes[48], bytes[50], bytes[51]) = (FRAGMENT, UDP, 0, 8);
        let head = Head::parse(&bytes).unwrap();
        assert_eq!((head.transport, head.protocol, head.part), (56, UDP, Part::Later));
        bytes[41] = 200;
        bytes[40] = 60;
        bytes[6] = 60;
        let head = Head::parse(&bytes).unwrap();
        assert_eq!((head.transport, head.protocol), (40, 60), "longer than the packet");
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(head) = Head::parse(&bytes) {
                head.take_hop(&mut bytes);
                head.set_class(&mut bytes, 3);
                let _may = head.may_be_answered(&bytes);
            }
        }
    }

    #[track_caller]
    fn refused(name: &str, bytes: &[u8], why: Event) {
        assert_eq!(Head::parse(bytes).unwrap_err(), why, "{name}");
    }

    #[track_caller]
    fn may(name: &str, sample: &Sample, wanted: bool) {
        let bytes = sample.bytes();
        assert_eq!(Head::parse(&bytes).unwrap().may_be_answered(&bytes), wanted, "{name}");
    }
}
