//! ICMP errors about packets that the tunnel cannot carry (RFC 792, RFC 1191).

use crate::checksum;
use crate::ipv4::{HEADER, Packet};
use twill_core::ids::Mtu;

/// What to tell the sender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Complaint {
    /// Nobody owns the destination: type 3 code 0, as flannel's `udp` backend says it.
    NetUnreachable,
    /// Longer than the tunnel carries, and must not be cut: type 3 code 4 with the size that fits.
    FragmentationNeeded(Mtu),
    /// The packet has made all its hops: type 11 code 0.
    TimeExceeded,
}

/// IPv4 header, ICMP header, and of the packet its longest header and eight bytes.
const ROOM: usize = HEADER + 8 + 60 + 8;
/// The answer needs few hops: it goes to a container of this host.
const TTL: u8 = 64;

/// An ICMP error, ready to be written to the device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    bytes: [u8; ROOM],
    len: usize,
}

impl Answer {
    /// The error about `packet`, to its source, in the name of its destination.
    ///
    /// An address of this host would be the honest sender, and is what flannel writes; but Linux
    /// drops what comes in from a device with one of its own addresses as source, so that nobody
    /// would ever see it. The kernel's own tunnels answer in the name of the destination, too.
    pub(crate) fn new(complaint: Complaint, packet: &Packet<'_>) -> Self {
        let mut answer = Self { bytes: [0; ROOM], len: HEADER + 8 };
        answer.quote(packet.header());
        answer.quote(&packet.payload()[..packet.payload().len().min(8)]);
        let Self { bytes, len } = &mut answer;
        let total = u16::try_from(*len).unwrap_or(u16::MAX).to_be_bytes();
        bytes[..10].copy_from_slice(&[0x45, 0, total[0], total[1], 0, 0, 0, 0, TTL, 1]);
        bytes[12..16].copy_from_slice(&packet.destination().octets());
        bytes[16..20].copy_from_slice(&packet.source().octets());
        let sum = checksum::checksum(&bytes[..HEADER]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        let (kind, code, mtu) = match complaint {
            Complaint::NetUnreachable => (3, 0, 0),
            Complaint::FragmentationNeeded(mtu) => {
                (3, 4, u16::try_from(mtu.bytes()).unwrap_or(u16::MAX))
            }
            Complaint::TimeExceeded => (11, 0, 0),
        };
        bytes[HEADER..HEADER + 2].copy_from_slice(&[kind, code]);
        bytes[HEADER + 6..HEADER + 8].copy_from_slice(&mtu.to_be_bytes());
        let sum = checksum::checksum(&bytes[HEADER..*len]);
        bytes[HEADER + 2..HEADER + 4].copy_from_slice(&sum.to_be_bytes());
        answer
    }

    /// The whole packet.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn quote(&mut self, part: &[u8]) {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipv4::samples::Sample;

    #[test]
    fn answers() {
        let mtu = Mtu::new(1472).unwrap();
        answer("nobody there", Complaint::NetUnreachable, &Sample::default(), [3, 0, 0, 0]);
        answer("too long", Complaint::FragmentationNeeded(mtu), &Sample::default(), [3, 4, 5, 192]);
        answer("too far", Complaint::TimeExceeded, &Sample::default(), [11, 0, 0, 0]);
        let longest = Sample { options: 10, ..Sample::default() };
        answer("the longest header", Complaint::NetUnreachable, &longest, [3, 0, 0, 0]);
        let empty = Sample { payload: 0, ..Sample::default() };
        answer("no payload to quote", Complaint::NetUnreachable, &empty, [3, 0, 0, 0]);
    }

    #[track_caller]
    fn answer(name: &str, complaint: Complaint, about: &Sample, [kind, code, high, low]: [u8; 4]) {
        let mut original = about.bytes();
        let quoted = original[..original.len().min(HEADER + about.options * 4 + 8)].to_vec();
        let answer = Answer::new(complaint, &Packet::parse(&mut original).unwrap());
        let mut bytes = answer.bytes().to_vec();
        let packet = Packet::parse(&mut bytes).unwrap_or_else(|why| panic!("{name}: {why:?}"));
        let addresses = (packet.source(), packet.destination());
        assert_eq!(addresses, (about.destination.into(), about.source.into()), "{name}");
        let message = packet.payload();
        assert_eq!(checksum::checksum(message), 0, "{name}");
        assert_eq!(
            (message[0], message[1], message[6], message[7]),
            (kind, code, high, low),
            "{name}"
        );
        assert_eq!(&message[8..], quoted, "{name}");
    }
}
