//! A checked view of an IPv4 packet (RFC 791).

use std::net::Ipv4Addr;

use crate::checksum;
use crate::counters::Event;

/// The shortest header.
pub(crate) const HEADER: usize = 20;
/// Position of the time to live; the protocol follows and shares its checksum word.
const TTL: usize = 8;
const CHECKSUM: usize = 10;
const DONT_FRAGMENT: u16 = 0x4000;
const FRAGMENT_OFFSET: u16 = 0x1fff;
const ICMP: u8 = 1;

/// A packet whose header is whole and agrees with the number of bytes that came.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    bytes: &'a mut [u8],
    header_len: usize,
}

impl<'a> Packet<'a> {
    /// Refuses what is not exactly one IPv4 packet with a right header checksum.
    pub(crate) fn parse(bytes: &'a mut [u8]) -> Result<Self, Event> {
        let Some(first) = bytes.first() else { return Err(Event::Short) };
        if first >> 4 != 4 {
            return Err(Event::NotIpv4);
        }
        let header_len = usize::from(first & 0x0f) * 4;
        if header_len < HEADER || bytes.len() < header_len {
            return Err(Event::Short);
        }
        let packet = Self { bytes, header_len };
        if usize::from(packet.word(2)) != packet.bytes.len() {
            return Err(Event::LengthMismatch);
        }
        if checksum::checksum(packet.header()) != 0 {
            return Err(Event::BadChecksum);
        }
        Ok(packet)
    }

    /// The header with its options.
    pub(crate) fn header(&self) -> &[u8] {
        &self.bytes[..self.header_len]
    }

    /// What follows the header.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[self.header_len..]
    }

    /// The length of header and payload.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn source(&self) -> Ipv4Addr {
        self.address(12)
    }

    pub(crate) fn destination(&self) -> Ipv4Addr {
        self.address(16)
    }

    pub(crate) fn ttl(&self) -> u8 {
        self.bytes[TTL]
    }

    /// May no router cut it into fragments?
    pub(crate) fn must_not_fragment(&self) -> bool {
        self.word(6) & DONT_FRAGMENT != 0
    }

    /// May an ICMP error answer it? Not one of these: ICMP (lest errors answer errors), a later
    /// fragment, a packet to or from nobody in particular (RFC 1812 section 4.3.2.7).
    pub(crate) fn may_be_answered(&self) -> bool {
        let (source, destination) = (self.source(), self.destination());
        self.bytes[TTL + 1] != ICMP
            && self.word(6) & FRAGMENT_OFFSET == 0
            && !(source.is_unspecified() || source.is_multicast() || source.is_broadcast())
            && !(destination.is_multicast() || destination.is_broadcast())
    }

    /// Takes one hop off the time to live, which is at least 1, and keeps the checksum right.
    pub(crate) fn decrement_ttl(&mut self) {
        let before = self.word(TTL);
        self.bytes[TTL] = self.bytes[TTL].saturating_sub(1);
        let sum = checksum::update(self.word(CHECKSUM), before, self.word(TTL));
        self.bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        let [a, b, c, d] = [at, at + 1, at + 2, at + 3].map(|position| self.bytes[position]);
        Ipv4Addr::new(a, b, c, d)
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    /// A whole UDP-like packet; the checksum is right.
    pub(crate) struct Sample {
        pub(crate) source: [u8; 4],
        pub(crate) destination: [u8; 4],
        pub(crate) ttl: u8,
        pub(crate) protocol: u8,
        pub(crate) fragment: u16,
        pub(crate) options: usize,
        pub(crate) payload: usize,
    }

    impl Default for Sample {
        fn default() -> Self {
            Self {
                source: [10, 5, 1, 2],
                destination: [10, 5, 2, 2],
                ttl: 64,
                protocol: 17,
                fragment: 0,
                options: 0,
                payload: 32,
            }
        }
    }

    impl Sample {
        pub(crate) fn bytes(&self) -> Vec<u8> {
            let header = HEADER + self.options * 4;
            let total = header + self.payload;
            let mut bytes = vec![0x45 + u8::try_from(self.options).unwrap(), 0];
            bytes.extend(u16::try_from(total).unwrap().to_be_bytes());
            bytes.extend([0x12, 0x34]);
            bytes.extend(self.fragment.to_be_bytes());
            bytes.extend([self.ttl, self.protocol, 0, 0]);
            bytes.extend(self.source);
            bytes.extend(self.destination);
            bytes.resize(header, 1);
            bytes.extend((0..self.payload).map(|n| u8::try_from(n % 251).unwrap()));
            let sum = checksum::checksum(&bytes[..header]);
            bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
            bytes
        }
    }
}

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
        refused("IPv6", &[0x60; 60], Event::NotIpv4);
        refused("a cut packet", &good[..good.len() - 1], Event::LengthMismatch);
        refused("a packet with a tail", &[&good[..], &[0]].concat(), Event::LengthMismatch);
        let mut bent = good;
        bent[9] ^= 1;
        refused("a bit fell over", &bent, Event::BadChecksum);
    }

    #[test]
    fn answers_only_what_may_be_answered() {
        may("a datagram", &Sample::default(), true);
        may("an ICMP message", &Sample { protocol: 1, ..Sample::default() }, false);
        may("a first fragment", &Sample { fragment: 0x2000, ..Sample::default() }, true);
        may("a later fragment", &Sample { fragment: 0x2005, ..Sample::default() }, false);
        may("from nobody", &Sample { source: [0; 4], ..Sample::default() }, false);
        may("to many", &Sample { destination: [224, 0, 0, 1], ..Sample::default() }, false);
    }

    #[test]
    fn a_hop_costs_one_at_every_time_to_live() {
        for ttl in 1..=255 {
            for options in [0, 10] {
                let mut bytes = Sample { ttl, options, ..Sample::default() }.bytes();
                Packet::parse(&mut bytes).unwrap().decrement_ttl();
                let wanted = Sample { ttl: ttl - 1, options, ..Sample::default() }.bytes();
                assert_eq!(bytes, wanted, "ttl {ttl}, {options} words of options");
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(mut packet) = Packet::parse(&mut bytes) {
                packet.decrement_ttl();
            }
        }
    }

    #[track_caller]
    fn refused(name: &str, bytes: &[u8], why: Event) {
        assert_eq!(Packet::parse(&mut bytes.to_vec()).unwrap_err(), why, "{name}");
    }

    #[track_caller]
    fn may(name: &str, sample: &Sample, wanted: bool) {
        assert_eq!(Packet::parse(&mut sample.bytes()).unwrap().may_be_answered(), wanted, "{name}");
    }
}
