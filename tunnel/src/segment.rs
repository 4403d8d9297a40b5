//! Cuts a super-packet into the packets that go over the wire, without touching its payload.
//!
//! The device hands over up to 64 KiB behind one set of headers. Each packet gets its own headers,
//! with its length, identification, sequence number, flags and checksums; the payloads stay where they
//! are. The first packet's headers are the super-packet's own, the others' lie one after the other in
//! a buffer beside it.

use std::ops::Range;

use twill_core::ids::Family;

use crate::checksum::Sum;
use crate::counters::Event;
use crate::packet::{Head, PUSH, TCP, TCP_HEADER, UDP, UDP_HEADER, long, put, word};
use crate::vnet::{Train, Vnet};

const FIN: u8 = 0x01;
const CONGESTION_REDUCED: u8 = 0x80;

/// What one read from the device amounts to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    /// One packet; a checksum is left to be completed at this place: where what it covers begins, and
    /// where it goes from there.
    One(Option<(usize, usize)>),
    /// Several packets.
    Many(Cut),
}

/// How to cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cut {
    train: Train,
    family: Family,
    transport: usize,
    /// The length of all headers.
    headers: usize,
    /// The payload of every packet but the last.
    size: usize,
}

/// Where in the two buffers a packet lies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Segment {
    /// Its headers, in the buffer beside, unless they are before its payload.
    pub(crate) header: Range<usize>,
    /// Its payload, in the buffer that the device was read into.
    pub(crate) payload: Range<usize>,
}

impl Segment {
    /// A packet that lies where it was read.
    pub(crate) fn whole(range: Range<usize>) -> Self {
        Self { header: 0..0, payload: range }
    }

    /// The packet's length.
    pub(crate) fn len(&self) -> usize {
        self.header.len() + self.payload.len()
    }
}

impl Shape {
    /// Refuses what does not hold together: the kernel never says such things, and nothing that we read
    /// may make us panic.
    pub(crate) fn of(head: &Head, bytes: &[u8], vnet: Vnet) -> Result<Self, Event> {
        let Some((train, size)) = vnet.cut().map_err(|_kind| Event::LengthMismatch)? else {
            let fits = |(start, offset): &(usize, usize)| {
                *start >= head.transport.min(bytes.len()) && start + offset + 2 <= bytes.len()
            };
            return match vnet.checksum() {
                Some(place) if !fits(&place) => Err(Event::LengthMismatch),
                place => Ok(Self::One(place)),
            };
        };
        let transport = head.transport;
        let (protocol, least) = match train {
            Train::Tcp => (TCP, TCP_HEADER),
            Train::Udp => (UDP, UDP_HEADER),
        };
        if head.protocol != protocol || bytes.len() < transport + least || size == 0 {
            return Err(Event::LengthMismatch);
        }
        let headers = transport
            + match train {
                Train::Tcp => usize::from(bytes[transport + 12] >> 4) * 4,
                Train::Udp => UDP_HEADER,
            };
        if headers < transport + least || bytes.len() < headers {
            return Err(Event::LengthMismatch);
        }
        let cut = Cut { train, family: head.family(), transport, headers, size };
        Ok(Self::Many(cut))
    }

    /// The length of the longest packet.
    pub(crate) fn longest(&self, bytes: &[u8]) -> usize {
        match self {
            Self::One(_checksum) => bytes.len(),
            Self::Many(cut) => bytes.len().min(cut.packet()),
        }
    }
}

/// Completes a checksum whose field holds the sum of the pseudo header.
pub(crate) fn complete(bytes: &mut [u8], (start, offset): (usize, usize)) {
    let sum = Sum::of(&bytes[start..]).checksum();
    // A datagram without a checksum would say 0 (RFC 768); with one it says the other zero.
    let sum = if sum == 0 && offset == 6 { 0xffff } else { sum };
    put(bytes, (start + offset, sum));
}

impl Cut {
    /// The length of every packet but the last.
    pub(crate) fn packet(&self) -> usize {
        self.headers + self.size
    }

    /// Cuts `bytes`, which lie at `at` of the read buffer, into `segments`, in the order of the wire.
    ///
    /// `headers` grows by those of all packets but the first.
    pub(crate) fn cut(
        &self,
        (at, bytes): (usize, &mut [u8]),
        headers: &mut Vec<u8>,
        segments: &mut Vec<Segment>,
    ) {
        let own = Own::clear(self, &mut bytes[..self.headers]);
        let (template, payload) = bytes.split_at_mut(self.headers);
        let first = &payload[..payload.len().min(self.size)];
        let whole = first.len() == payload.len();
        let mine = own.patch(self, first, (0, whole));
        segments.push(Segment::whole(at..at + self.headers + first.len()));
        for (number, part) in payload.chunks(self.size).enumerate().skip(1) {
            let (from, start) = (headers.len(), self.headers + number * self.size);
            let last = start + part.len() == self.headers + payload.len();
            headers.extend_from_slice(template);
            own.patch(self, part, (number, last)).put(self, &mut headers[from..]);
            let payload = at + start..at + start + part.len();
            segments.push(Segment { header: from..headers.len(), payload });
        }
        mine.put(self, template);
    }
}

/// What the super-packet's own headers say, and their sums with all that changes set to zero.
struct Own {
    identification: u16,
    sequence: u32,
    flags: u8,
    network: Sum,
    transport: Sum,
}

/// What one packet's headers say.
struct Patch {
    length: u16,
    identification: u16,
    network: u16,
    sequence: u32,
    flags: u8,
    /// Of UDP: header and payload.
    datagram: u16,
    transport: u16,
}

impl Own {
    fn clear(cut: &Cut, headers: &mut [u8]) -> Self {
        let (mut identification, mut network) = (0, Sum::default());
        let (network_header, transport_header) = headers.split_at_mut(cut.transport);
        let addresses = match cut.family {
            Family::V4 => {
                identification = word(network_header, 4);
                put(network_header, (2, 0));
                put(network_header, (4, 0));
                put(network_header, (10, 0));
                network = Sum::of(network_header);
                12..20
            }
            Family::V6 => 8..40,
        };
        let (mut sequence, mut flags) = (0, 0);
        let protocol = match cut.train {
            Train::Tcp => {
                (sequence, flags) = (long(transport_header, 4), transport_header[13]);
                transport_header[4..8].fill(0);
                transport_header[13] = 0;
                put(transport_header, (16, 0));
                TCP
            }
            Train::Udp => {
                put(transport_header, (4, 0));
                put(transport_header, (6, 0));
                UDP
            }
        };
        let transport = Sum::of(&network_header[addresses])
            + Sum::word(protocol.into())
            + Sum::of(transport_header);
        Self { identification, sequence, flags, network, transport }
    }

    #[inline]
    fn patch(&self, cut: &Cut, payload: &[u8], (number, last): (usize, bool)) -> Patch {
        let count = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX);
        let datagram = count(cut.headers - cut.transport + payload.len());
        let length = match cut.family {
            Family::V4 => count(cut.headers + payload.len()),
            Family::V6 => count(cut.headers + payload.len() - crate::packet::HEADER6),
        };
        let identification = self.identification.wrapping_add(count(number));
        let network = self.network + Sum::word(length) + Sum::word(identification);
        let offset = u32::try_from(number * cut.size).unwrap_or(u32::MAX);
        let sequence = self.sequence.wrapping_add(offset);
        let mut flags = self.flags;
        if !last {
            flags &= !(FIN | PUSH);
        }
        if number > 0 {
            flags &= !CONGESTION_REDUCED;
        }
        let sum = self.transport + Sum::word(datagram) + Sum::of(payload);
        let transport = match cut.train {
            Train::Tcp => (sum + Sum::long(sequence) + Sum::word(flags.into())).checksum(),
            Train::Udp => match (sum + Sum::word(datagram)).checksum() {
                0 => 0xffff,
                sum => sum,
            },
        };
        let network = network.checksum();
        Patch { length, identification, network, sequence, flags, datagram, transport }
    }
}

impl Patch {
    #[inline]
    fn put(&self, cut: &Cut, headers: &mut [u8]) {
        match cut.family {
            Family::V4 => {
                put(headers, (2, self.length));
                put(headers, (4, self.identification));
                put(headers, (10, self.network));
            }
            Family::V6 => put(headers, (4, self.length)),
        }
        let at = cut.transport;
        match cut.train {
            Train::Tcp => {
                headers[at + 4..at + 8].copy_from_slice(&self.sequence.to_be_bytes());
                headers[at + 13] = self.flags;
                put(headers, (at + 16, self.transport));
            }
            Train::Udp => {
                put(headers, (at + 4, self.datagram));
                put(headers, (at + 6, self.transport));
            }
        }
    }
}

#[cfg(test)]
mod tests;
