//! The header that a TUN device puts before each packet, and wants before each: what is left to do for
//! whoever sends it on (`struct virtio_net_hdr` of Linux, `include/uapi/linux/virtio_net.h`).

use twill_core::ids::Family;

/// Its length.
pub(crate) const LEN: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const VALID: u8 = 2;
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP: u8 = 5;
/// The packet carries a sign of congestion (CWR), which only its first part may have.
const ECN: u8 = 0x80;

/// In what a super-packet is to be cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Train {
    /// Segments of TCP.
    Tcp,
    /// Datagrams of UDP.
    Udp,
}

/// What is left to do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Vnet {
    flags: u8,
    kind: u8,
    headers: u16,
    size: u16,
    start: u16,
    offset: u16,
}

impl Vnet {
    /// As the device gave it.
    pub(crate) fn decode(bytes: [u8; LEN]) -> Self {
        let [flags, kind, rest @ ..] = bytes;
        let word = |at: usize| u16::from_ne_bytes([rest[at], rest[at + 1]]);
        Self { flags, kind, headers: word(0), size: word(2), start: word(4), offset: word(6) }
    }

    /// As the device wants it.
    pub(crate) fn encode(self) -> [u8; LEN] {
        let mut bytes = [self.flags, self.kind, 0, 0, 0, 0, 0, 0, 0, 0];
        let words = [self.headers, self.size, self.start, self.offset];
        for (place, word) in bytes[2..].as_chunks_mut::<2>().0.iter_mut().zip(words) {
            *place = word.to_ne_bytes();
        }
        bytes
    }

    /// Nothing is left to do, and the transport's checksum was found right.
    pub(crate) fn valid() -> Self {
        Self { flags: VALID, ..Self::default() }
    }

    /// The checksum is left to do, whose field holds the sum of the pseudo header: where what it covers begins, and
    /// its place from there.
    pub(crate) fn unfinished(start: u16, offset: u16) -> Self {
        Self { flags: NEEDS_CHECKSUM, start, offset, ..Self::default() }
    }

    /// A super-packet, whose checksum field holds the sum of the pseudo header.
    pub(crate) fn train(
        train: (Train, Family),
        (transport, headers): (u16, u16),
        size: u16,
    ) -> Self {
        let (kind, offset) = match train {
            (Train::Tcp, Family::V4) => (TCP4, 16),
            (Train::Tcp, Family::V6) => (TCP6, 16),
            (Train::Udp, _family) => (UDP, 6),
        };
        Self { flags: NEEDS_CHECKSUM, kind, headers, size, start: transport, offset }
    }

    /// The checksum to complete: where what it covers begins, and its place from there.
    pub(crate) fn checksum(self) -> Option<(usize, usize)> {
        (self.flags & NEEDS_CHECKSUM != 0).then(|| (self.start.into(), self.offset.into()))
    }

    /// What to cut, and into payloads of how many bytes. A kind that nobody asked for is an error.
    pub(crate) fn cut(self) -> Result<Option<(Train, usize)>, u8> {
        let train = match self.kind & !ECN {
            0 => return Ok(None),
            TCP4 | TCP6 => Train::Tcp,
            UDP => Train::Udp,
            other => return Err(other),
        };
        Ok(Some((train, self.size.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let vnet = Vnet::train((Train::Tcp, Family::V6), (40, 72), 1400);
        assert_eq!(Vnet::decode(vnet.encode()), vnet);
        assert_eq!(vnet.cut(), Ok(Some((Train::Tcp, 1400))));
        assert_eq!(vnet.checksum(), Some((40, 16)));
        let vnet = Vnet::train((Train::Udp, Family::V4), (20, 28), 64);
        assert_eq!((vnet.cut(), vnet.checksum()), (Ok(Some((Train::Udp, 64))), Some((20, 6))));
        assert_eq!((Vnet::default().cut(), Vnet::default().checksum()), (Ok(None), None));
        assert_eq!((Vnet::valid().cut(), Vnet::valid().checksum()), (Ok(None), None));
        let signalled = Vnet::decode([1, TCP4 | ECN, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(signalled.cut(), Ok(Some((Train::Tcp, 0))));
        assert_eq!(Vnet::decode([1, 3, 0, 0, 0, 0, 0, 0, 0, 0]).cut(), Err(3), "fragments of UDP");
    }
}
