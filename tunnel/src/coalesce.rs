//! Joins packets of one flow into super-packets, which the device takes in one write.
//!
//! What the receiving host sees must be what it would have seen one by one: a super-packet cut again
//! gives the very packets that went in. So only those join that follow each other in one flow, whose
//! headers say the same, which carry the same number of bytes until a shorter last one, and whose
//! checksums are right. Everything else passes as it came, in its place within its flow.

mod follower;

use std::io::IoSlice;
use std::ops::Range;

use twill_core::ids::Family;

use crate::checksum::Sum;
use crate::packet::{HEADER6, Head, LONGEST, Part, TCP, UDP, put};
use crate::vnet::{Train, Vnet};
use follower::Follower;

/// Kernels before 6.9 take no more datagrams in one.
const MOST_DATAGRAMS: usize = 64;
/// How many flows are remembered at a time; a flow that is forgotten begins anew.
const FLOWS: usize = 16;

/// Which packets the device takes joined.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Joins {
    pub(crate) tcp: bool,
    pub(crate) udp: bool,
}

/// The packets of one batch, joined where they may be. Positions are those in the batch's buffer.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    joins: Joins,
    /// Only the first `used` are of this batch; the others lend their room.
    groups: Vec<Group>,
    used: usize,
    /// Groups before this one take no more.
    floor: usize,
}

/// One packet, or several joined.
#[derive(Debug)]
pub(crate) struct Group {
    head: Head,
    first: Range<usize>,
    /// Of the packets behind the first.
    payloads: Vec<Range<usize>>,
    len: usize,
    /// What the next packet must be like; `None` if the first must stay alone.
    follower: Option<Follower>,
    /// Has a packet of the flow passed that did not join?
    closed: bool,
    /// What is left to do with it.
    unfinished: Option<Vnet>,
}

impl Batch {
    pub(crate) fn new(joins: Joins) -> Self {
        Self { joins, ..Self::default() }
    }

    /// Adds the packet that lies at `range` of `buffer`.
    pub(crate) fn push(&mut self, buffer: &[u8], (range, head): (Range<usize>, &Head)) {
        let packet = &buffer[range.clone()];
        let wanted = match head.protocol {
            TCP => self.joins.tcp,
            UDP => self.joins.udp,
            _other => false,
        };
        let follower = if wanted { Follower::of(head, packet) } else { None };
        let recent = self.floor.max(self.used.saturating_sub(FLOWS))..self.used;
        let mut recent = self.groups[recent].iter_mut().rev();
        if let Some(group) = recent.find(|group| wanted && group.is_of(head, buffer, packet)) {
            if let Some(follower) = &follower
                && group.takes(follower, buffer, packet)
            {
                return group.join(follower, range);
            }
            group.closed = true;
        }
        let (head, len) = (*head, range.len());
        let payloads = Vec::new();
        let unfinished = None;
        self.begin(Group {
            head,
            first: range,
            payloads,
            len,
            follower,
            closed: false,
            unfinished,
        });
        if head.part != Part::Whole {
            // It may be of any of these flows, and none of them may overtake it.
            self.floor = self.used;
        }
    }

    /// Adds a packet that stays alone, and that no other overtakes, with what is left to do.
    pub(crate) fn push_unfinished(&mut self, (range, head): (Range<usize>, &Head), vnet: Vnet) {
        let (head, len, unfinished) = (*head, range.len(), Some(vnet));
        let (payloads, follower, closed) = (Vec::new(), None, true);
        self.begin(Group { head, first: range, payloads, len, follower, closed, unfinished });
        self.floor = self.used;
    }

    /// What to write, in this order.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups[..self.used]
    }

    /// Forgets the packets.
    pub(crate) fn clear(&mut self) {
        (self.used, self.floor) = (0, 0);
    }

    fn begin(&mut self, group: Group) {
        match self.groups.get_mut(self.used) {
            Some(place) => {
                let mut payloads = std::mem::take(&mut place.payloads);
                payloads.clear();
                *place = Group { payloads, ..group };
            }
            None => self.groups.push(group),
        }
        self.used += 1;
    }
}

impl Group {
    /// Is the packet of the same flow?
    fn is_of(&self, head: &Head, buffer: &[u8], packet: &[u8]) -> bool {
        let ports = |head: &Head, packet: &[u8]| -> Option<[u8; 4]> {
            packet.get(head.transport..head.transport + 4)?.try_into().ok()
        };
        self.head.protocol == head.protocol
            && self.head.source == head.source
            && self.head.destination == head.destination
            && ports(&self.head, &buffer[self.first.clone()]) == ports(head, packet)
    }

    fn takes(&self, follower: &Follower, buffer: &[u8], packet: &[u8]) -> bool {
        let count = self.payloads.len() + 1;
        let fits = !self.closed
            && self.len + follower.payload() <= LONGEST
            && (self.head.protocol == TCP || count < MOST_DATAGRAMS);
        fits && self.follower.as_ref().is_some_and(|own| {
            own.is_followed_by(follower, count)
                && own.says_the_same(&buffer[self.first.clone()], (&self.head, packet))
        })
    }

    fn join(&mut self, next: &Follower, packet: Range<usize>) {
        let Some(own) = &mut self.follower else { return };
        self.payloads.push(packet.end - next.payload()..packet.end);
        self.len += next.payload();
        own.advance(next);
    }

    /// How many packets it is.
    pub(crate) fn count(&self) -> usize {
        self.payloads.len() + 1
    }

    /// Makes the first packet's headers those of all, and says what the device has to know.
    pub(crate) fn seal(&self, buffer: &mut [u8]) -> Vnet {
        let first = &mut buffer[self.first.clone()];
        let Some(own) = &self.follower else { return self.unfinished.unwrap_or_default() };
        if self.payloads.is_empty() {
            return Vnet::valid();
        }
        let Head { transport, protocol, .. } = self.head;
        let count = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX);
        let addresses = match self.head.family() {
            Family::V4 => {
                put(first, (2, count(self.len)));
                put(first, (10, 0));
                let sum = Sum::of(&first[..transport]).checksum();
                put(first, (10, sum));
                Sum::of(&first[12..20])
            }
            Family::V6 => {
                put(first, (4, count(self.len - HEADER6)));
                Sum::of(&first[8..40])
            }
        };
        let length = count(self.len - transport);
        let pseudo = (addresses + Sum::word(protocol.into()) + Sum::word(length)).folded();
        let train = if protocol == TCP {
            first[transport + 13] |= own.push();
            put(first, (transport + 16, pseudo));
            Train::Tcp
        } else {
            put(first, (transport + 4, length));
            put(first, (transport + 6, pseudo));
            Train::Udp
        };
        let places = (count(transport), count(own.headers()));
        Vnet::train((train, self.head.family()), places, count(own.payload()))
    }

    /// The bytes to write behind the device's header.
    pub(crate) fn slices<'a>(&self, buffer: &'a [u8], vnet: &'a [u8]) -> Vec<IoSlice<'a>> {
        let mut slices = Vec::with_capacity(self.payloads.len() + 2);
        slices.push(IoSlice::new(vnet));
        slices.push(IoSlice::new(&buffer[self.first.clone()]));
        slices.extend(self.payloads.iter().map(|range| IoSlice::new(&buffer[range.clone()])));
        slices
    }
}

#[cfg(test)]
mod tests;
