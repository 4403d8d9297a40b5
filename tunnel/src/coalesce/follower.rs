//! Which packet may follow which within a super-packet.

use twill_core::ids::Family;

use crate::checksum::Sum;
use crate::packet::{HEADER6, Head, PUSH, Part, TCP, TCP_HEADER, UDP, UDP_HEADER, long, word};

const ACKNOWLEDGED: u8 = 0x10;
/// Heard of congestion: the same in every packet of a train.
const ECHO: u8 = 0x40;

/// What a packet says about its place in its flow; of a group, what its last packet says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Follower {
    /// Where it is TCP, of its first byte; in a group, of the next one.
    sequence: u32,
    /// Of IPv4 that may be cut, which must count on; of the group's first packet.
    identification: Option<u16>,
    /// The length of all headers.
    headers: usize,
    /// The length of its payload; in a group, of the first packet's.
    payload: usize,
    /// `PUSH` or 0.
    push: u8,
    /// Was the last one a shorter one, so that none may follow?
    last: bool,
    protocol: u8,
}

impl Follower {
    /// `None` if the packet must stay alone.
    #[inline]
    pub(super) fn of(head: &Head, packet: &[u8]) -> Option<Self> {
        let Head { transport, protocol, .. } = *head;
        let extended = head.family() == Family::V6 && transport != HEADER6;
        if head.part != Part::Whole || extended {
            return None;
        }
        let segment = &packet[transport..];
        let (header, sequence, push) = match protocol {
            TCP if segment.len() > TCP_HEADER => {
                let flags = segment[13];
                if flags & !(PUSH | ECHO) != ACKNOWLEDGED {
                    return None;
                }
                (usize::from(segment[12] >> 4) * 4, long(segment, 4), flags & PUSH)
            }
            UDP if segment.len() > UDP_HEADER => {
                // Without a checksum it is to stay without one; lengths may lie.
                if word(segment, 6) == 0 || usize::from(word(segment, 4)) != segment.len() {
                    return None;
                }
                (UDP_HEADER, 0, 0)
            }
            _other => return None,
        };
        if protocol == TCP && header < TCP_HEADER || segment.len() <= header {
            return None;
        }
        if !is_right(head, packet) {
            return None;
        }
        Some(Self {
            sequence,
            identification: head.may_be_cut.then(|| word(packet, 4)),
            headers: transport + header,
            payload: segment.len() - header,
            push,
            last: false,
            protocol,
        })
    }

    /// Is `next` the packet behind the `count` packets of this group?
    #[inline]
    pub(super) fn is_followed_by(&self, next: &Self, count: usize) -> bool {
        let counts_on = match (self.identification, next.identification) {
            (Some(first), Some(next)) => {
                u16::try_from(count).is_ok_and(|count| first.wrapping_add(count) == next)
            }
            (None, None) => true,
            _one => false,
        };
        let in_sequence = self.protocol != TCP || {
            self.push == 0 && self.sequence.wrapping_add(self.done(count)) == next.sequence
        };
        !self.last
            && counts_on
            && in_sequence
            && self.headers == next.headers
            && next.payload <= self.payload
    }

    /// Are the headers of both packets the same, but for what counts and what is summed up?
    #[inline]
    pub(super) fn says_the_same(&self, first: &[u8], (head, next): (&Head, &[u8])) -> bool {
        let same = |range: std::ops::Range<usize>| first[range.clone()] == next[range];
        let at = head.transport;
        let network = match head.family() {
            // Without length, identification, checksum.
            Family::V4 => same(0..2) && same(6..10) && same(12..at),
            Family::V6 => same(0..4) && same(6..at),
        };
        network
            && match self.protocol {
                // Without sequence, PUSH, checksum.
                TCP => {
                    same(at..at + 4)
                        && same(at + 8..at + 13)
                        && (first[at + 13] ^ next[at + 13]) & !PUSH == 0
                        && same(at + 14..at + 16)
                        && same(at + 18..self.headers)
                }
                _udp => same(at..at + 4),
            }
    }

    /// `next` is now the last packet.
    pub(super) fn advance(&mut self, next: &Self) {
        self.push = next.push;
        self.last = next.payload < self.payload;
    }

    pub(super) fn headers(&self) -> usize {
        self.headers
    }

    /// The length of its payload; in a group, of that of every packet but the last.
    pub(super) fn payload(&self) -> usize {
        self.payload
    }

    pub(super) fn push(&self) -> u8 {
        self.push
    }

    fn done(&self, count: usize) -> u32 {
        u32::try_from(self.payload * count).unwrap_or(u32::MAX)
    }
}

/// Is the transport's checksum right?
#[inline]
fn is_right(head: &Head, packet: &[u8]) -> bool {
    let addresses = match head.family() {
        Family::V4 => &packet[12..20],
        Family::V6 => &packet[8..40],
    };
    let segment = &packet[head.transport..];
    let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
    let pseudo = Sum::of(addresses) + Sum::word(head.protocol.into()) + Sum::word(length);
    (pseudo + Sum::of(segment)).checksum() == 0
}
