//! Datagrams that leave in one system call: to one host, of one size, the last perhaps shorter.
//!
//! The kernel sends them as one and cuts them where the device cannot (`UDP_SEGMENT`). Each is one
//! packet of some flow; flows of one size to one host share a train.

use std::io::IoSlice;
use std::net::IpAddr;

use crate::segment::Segment;

/// The longest payload of an IP packet, less the longest header and that of UDP.
const LONGEST: usize = 65_535 - 60 - 8;
/// Kernels before 6.9 take no more (`UDP_MAX_SEGMENTS`).
const MOST: usize = 64;

/// Where a train goes, and in which class.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Way {
    pub(crate) peer: IpAddr,
    /// The outer type of service or traffic class.
    pub(crate) class: u8,
}

/// A train that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Train {
    way: Option<Way>,
    /// The length of every datagram but the last.
    size: usize,
    /// The length of the last one.
    last: usize,
    bytes: usize,
    segments: Vec<Segment>,
}

/// The two buffers that a train's pieces lie in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers<'a> {
    pub(crate) packets: &'a [u8],
    pub(crate) headers: &'a [u8],
}

impl Train {
    /// May a datagram of `len` bytes follow?
    fn takes(&self, way: Way, len: usize) -> bool {
        let Some(own) = self.way else { return true };
        own == way
            && self.last == self.size
            && len <= self.size
            && len > 0
            && self.count() < MOST
            && self.bytes + len <= LONGEST
    }

    /// Adds a datagram that it takes.
    fn push(&mut self, way: Way, segment: Segment) {
        let len = segment.len();
        if self.way.is_none() {
            (self.way, self.size) = (Some(way), len);
        }
        self.last = len;
        self.bytes += len;
        self.segments.push(segment);
    }

    /// The length of every datagram but the last.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// How many datagrams it has.
    pub(crate) fn count(&self) -> usize {
        self.segments.len()
    }

    /// The bytes of all of them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is to be sent in one call.
    pub(crate) fn slices<'a>(&self, buffers: Buffers<'a>) -> Vec<IoSlice<'a>> {
        let mut slices = Vec::with_capacity(self.segments.len() * 2);
        slices.extend(self.datagrams(buffers).flatten().filter(|slice| !slice.is_empty()));
        slices
    }

    /// Each datagram for itself.
    pub(crate) fn datagrams<'a>(
        &self,
        buffers: Buffers<'a>,
    ) -> impl Iterator<Item = [IoSlice<'a>; 2]> {
        self.segments.iter().map(move |segment| {
            let header = &buffers.headers[segment.header.clone()];
            [IoSlice::new(header), IoSlice::new(&buffers.packets[segment.payload.clone()])]
        })
    }

    fn clear(&mut self) {
        self.segments.clear();
        *self = Self { segments: std::mem::take(&mut self.segments), ..Self::default() };
    }
}

/// Trains in the order in which they leave.
#[derive(Debug, Default)]
pub(crate) struct Trains {
    /// Only the first `used` are to leave; the others lend their room.
    all: Vec<Train>,
    used: usize,
}

impl Trains {
    /// Adds a datagram behind all others.
    pub(crate) fn board(&mut self, way: Way, segment: Segment) {
        let last = self.all[..self.used].last_mut();
        if let Some(train) = last.filter(|train| train.takes(way, segment.len())) {
            return train.push(way, segment);
        }
        if self.used == self.all.len() {
            self.all.push(Train::default());
        }
        self.all[self.used].push(way, segment);
        self.used += 1;
    }

    /// The train of this number, from 0, and where it goes.
    pub(crate) fn get(&self, number: usize) -> Option<(Way, &Train)> {
        let train = self.all[..self.used].get(number)?;
        Some((train.way?, train))
    }

    /// How many trains there are.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Forgets them.
    pub(crate) fn clear(&mut self) {
        self.all[..self.used].iter_mut().for_each(Train::clear);
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_kernel_can_cut_again() {
        let mut train = Train::default();
        assert!(train.takes(way(1), 65_000));
        add(&mut train, 100);
        assert!(train.takes(way(1), 100), "another of the size");
        assert!(train.takes(way(1), 99), "a shorter one");
        assert!(!train.takes(way(1), 101), "a longer one");
        assert!(!train.takes(way(2), 100), "to another host");
        assert!(!train.takes(Way { class: 1, ..way(1) }, 100), "in another class");
        assert!(!train.takes(way(1), 0), "nothing");
        add(&mut train, 99);
        assert!(!train.takes(way(1), 99), "a shorter one is the last");
        train.clear();
        (0..MOST).for_each(|_n| add(&mut train, 10));
        assert!(!train.takes(way(1), 10), "one more than the kernel takes");
        train.clear();
        (0..43).for_each(|_n| add(&mut train, 1500));
        assert!(train.takes(way(1), 967) && !train.takes(way(1), 968), "all that fits a datagram");
    }

    #[test]
    fn trains_leave_in_the_order_of_their_packets() {
        let mut trains = Trains::default();
        for round in 0..2 {
            for (host, start, len) in [(1, 0, 9), (1, 9, 4), (1, 13, 4), (2, 17, 4), (1, 21, 4)] {
                trains.board(way(host), Segment::whole(start..start + len));
            }
            let each = |number| {
                let (way, train) = trains.get(number)?;
                Some((way, train.count(), train.bytes()))
            };
            let wanted = [(way(1), 2, 13), (way(1), 1, 4), (way(2), 1, 4), (way(1), 1, 4)];
            let all: Vec<_> = (0..).map_while(each).collect();
            assert_eq!((trains.len(), all), (4, wanted.to_vec()), "round {round}");
            trains.clear();
            assert!(trains.get(0).is_none() && trains.len() == 0);
        }
    }

    #[test]
    fn a_train_can_be_taken_apart() {
        let mut train = Train::default();
        train.push(way(1), Segment::whole(0..3));
        train.push(way(1), Segment { header: 0..1, payload: 4..6 });
        train.push(way(1), Segment { header: 1..2, payload: 7..8 });
        let buffers = Buffers { packets: b"abc-ef-h", headers: b"dg" };
        assert_eq!(joined(&train.slices(buffers)), b"abcdefgh");
        let parts: Vec<_> = train.datagrams(buffers).map(|one| joined(&one)).collect();
        assert_eq!(parts, [&b"abc"[..], b"def", b"gh"]);
        assert_eq!((train.count(), train.bytes(), train.size()), (3, 8, 3));
    }

    fn joined(slices: &[IoSlice<'_>]) -> Vec<u8> {
        slices.iter().flat_map(|slice| slice.to_vec()).collect()
    }

    fn add(train: &mut Train, len: usize) {
        train.push(way(1), Segment::whole(0..len));
    }

    fn way(host: u8) -> Way {
        Way { peer: [192, 0, 2, host].into(), class: 0 }
    }
}
