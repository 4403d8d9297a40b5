//! ICMP errors about packets that the tunnel cannot carry (RFC 792, RFC 1191, RFC 4443).

use std::net::IpAddr;

use twill_core::ids::Mtu;

use crate::checksum::{self, Sum};
use crate::packet::{HEADER, Head, ICMP, ICMP6, put};

/// What to tell the sender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Complaint {
    /// Nobody owns the destination: of IPv4 type 3 code 0, as flannel's `udp` backend says it.
    NetUnreachable,
    /// Longer than the tunnel carries, and must not be cut: with the size that fits.
    TooBig(Mtu),
    /// The packet has made all its hops.
    TimeExceeded,
}

/// The answer needs few hops: it goes to a container of this host.
const TTL: u8 = 64;
/// What any link of IPv6 carries, which an error must not exceed.
const LEAST_IPV6: usize = 1280;

/// The error about the packet `bytes`, to its source, in the name of its destination: ready to be
/// written to the device.
///
/// An address of this host would be the honest sender, and is what flannel writes; but Linux drops what
/// comes in from a device with one of its own addresses as source, so that nobody would ever see it.
/// The kernel's own tunnels answer in the name of the destination, too.
pub(crate) fn answer(complaint: Complaint, (head, bytes): (&Head, &[u8])) -> Vec<u8> {
    match (head.source, head.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let quoted = &bytes[..bytes.len().min(LEAST_IPV6 - crate::packet::HEADER6 - 8)];
            let (kind, code, value) = match complaint {
                Complaint::NetUnreachable => (1, 0, 0),
                Complaint::TooBig(mtu) => (2, 0, mtu.bytes()),
                Complaint::TimeExceeded => (3, 0, 0),
            };
            let length = u16::try_from(8 + quoted.len()).unwrap_or(u16::MAX);
            let mut answer = vec![0x60, 0, 0, 0, 0, 0, ICMP6, TTL];
            put(&mut answer, (4, length));
            answer.extend(destination.octets());
            answer.extend(source.octets());
            let pseudo = Sum::of(&answer[8..]) + Sum::word(length) + Sum::word(ICMP6.into());
            message(&mut answer, ([kind, code], value), (quoted, pseudo));
            answer
        }
        (source, destination) => {
            // The longest header and eight bytes.
            let quoted = &bytes[..bytes.len().min(head.transport + 8)];
            let (kind, code, value) = match complaint {
                Complaint::NetUnreachable => (3, 0, 0),
                Complaint::TooBig(mtu) => (3, 4, mtu.bytes().min(u16::MAX.into())),
                Complaint::TimeExceeded => (11, 0, 0),
            };
            let mut answer = vec![0x45, 0, 0, 0, 0, 0, 0, 0, TTL, ICMP, 0, 0];
            let length = u16::try_from(HEADER + 8 + quoted.len()).unwrap_or(u16::MAX);
            put(&mut answer, (2, length));
            for address in [destination, source] {
                if let IpAddr::V4(address) = address {
                    answer.extend(address.octets());
                }
            }
            let sum = checksum::checksum(&answer);
            put(&mut answer, (10, sum));
            message(&mut answer, ([kind, code], value), (quoted, Sum::default()));
            answer
        }
    }
}

/// Appends the message; `pseudo` is what its checksum covers besides.
fn message(answer: &mut Vec<u8>, (kind, value): ([u8; 2], u32), (quoted, pseudo): (&[u8], Sum)) {
    let start = answer.len();
    answer.extend(kind);
    answer.extend([0, 0]);
    answer.extend(value.to_be_bytes());
    answer.extend(quoted);
    let sum = (pseudo + Sum::of(&answer[start..])).checksum();
    put(answer, (start + 2, sum));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::samples::Sample;

    #[test]
    fn answers() {
        let mtu = Mtu::new(1472).unwrap();
        let too_big = Complaint::TooBig(mtu);
        said("nobody there", Complaint::NetUnreachable, &Sample::default(), [3, 0, 0, 0]);
        said("too long", too_big, &Sample::default(), [3, 4, 5, 192]);
        said("too far", Complaint::TimeExceeded, &Sample::default(), [11, 0, 0, 0]);
        let longest = Sample { options: 10, ..Sample::default() };
        said("the longest header", Complaint::NetUnreachable, &longest, [3, 0, 0, 0]);
        let empty = Sample { payload: 0, ..Sample::default() };
        said("no payload to quote", Complaint::NetUnreachable, &empty, [3, 0, 0, 0]);
        said("nobody there with IPv6", Complaint::NetUnreachable, &Sample::v6(), [1, 0, 0, 0]);
        said("too far with IPv6", Complaint::TimeExceeded, &Sample::v6(), [3, 0, 0, 0]);
        let long = Sample { payload: 3000, ..Sample::v6() };
        said("too long with IPv6", too_big, &long, [2, 0, 5, 192]);
    }

    #[track_caller]
    fn said(name: &str, complaint: Complaint, about: &Sample, wanted: [u8; 4]) {
        let original = about.bytes();
        let head = Head::parse(&original).unwrap();
        let bytes = answer(complaint, (&head, &original));
        let answer = Head::parse(&bytes).unwrap_or_else(|why| panic!("{name}: {why:?}"));
        let addresses = (answer.source, answer.destination);
        assert_eq!(addresses, (about.destination, about.source), "{name}");
        let message = &bytes[answer.transport..];
        let pseudo = match answer.protocol {
            ICMP6 => {
                let length = Sum::word(u16::try_from(message.len()).unwrap());
                Sum::of(&bytes[8..40]) + length + Sum::word(58)
            }
            _icmp => Sum::default(),
        };
        assert_eq!((pseudo + Sum::of(message)).checksum(), 0, "{name}");
        assert_eq!([message[0], message[1], message[6], message[7]], wanted, "{name}");
        let quoted = if answer.protocol == ICMP6 { 1232 } else { head.transport + 8 };
        assert_eq!(&message[8..], &original[..original.len().min(quoted)], "{name}");
    }
}
