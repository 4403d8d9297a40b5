//! What is free of a network's addresses.

use super::Error;
use crate::config::Range;
use crate::ids::Subnet;
use crate::lease::Key;

/// flannel chooses among as many, so that hosts that start together seldom meet.
const CANDIDATES: usize = 100;

/// What may be chosen.
pub(super) struct Free<'a> {
    pub(super) taken: &'a [Subnet],
    pub(super) routes: Vec<Subnet>,
    pub(super) random: u64,
}

impl Free<'_> {
    /// One of the first.
    pub(super) fn any_in(&self, range: &Range) -> Result<Subnet, Error> {
        let first: Vec<Subnet> = self.walk(range).take(CANDIDATES).collect();
        self.one_of(&first).ok_or_else(|| self.none_in(range))
    }

    /// One of each range; those that are kept are given.
    ///
    /// They have one number in both ranges if there are such: people find it easier, and two hosts that
    /// choose at the same moment then meet in one key, of which etcd gives one to one.
    pub(super) fn pair(
        &self,
        (first, subnet): (&Range, Option<Subnet>),
        (second, ipv6): (&Range, Option<Subnet>),
    ) -> Result<Key, Error> {
        let (subnet, ipv6) = match (subnet, ipv6) {
            (Some(subnet), ipv6) => {
                (Some(subnet), ipv6.or_else(|| self.beside(subnet, (first, second))))
            }
            (None, Some(ipv6)) => (self.beside(ipv6, (second, first)), Some(ipv6)),
            (None, None) => self.of_one_number(first, second).unzip(),
        };
        let subnet = subnet.map_or_else(|| self.any_in(first), Ok)?;
        let ipv6 = ipv6.map_or_else(|| self.any_in(second), Ok)?;
        Ok(Key { subnet, ipv6: Some(ipv6) })
    }

    fn of_one_number(&self, first: &Range, second: &Range) -> Option<(Subnet, Subnet)> {
        let same = |subnet| Some((subnet, self.beside(subnet, (first, second))?));
        let pairs: Vec<_> = self.walk(first).filter_map(same).take(CANDIDATES).collect();
        self.one_of(&pairs)
    }

    /// The block of the other range that has the number of this one, if it is free.
    fn beside(&self, block: Subnet, (from, to): (&Range, &Range)) -> Option<Subnet> {
        let other = from.beside(block, to)?;
        let is_free = !self.taken.iter().chain(&self.routes).any(|block| block.overlaps(other));
        is_free.then_some(other)
    }

    fn one_of<T: Copy>(&self, all: &[T]) -> Option<T> {
        let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let index = self.random.checked_rem(count).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| all.get(index)).copied()
    }

    fn walk(&self, range: &Range) -> Walk {
        let blocks = self.taken.iter().chain(&self.routes).copied().collect();
        let Range { subnet_len: len, subnet_min, subnet_max: max, .. } = *range;
        Walk { blocks, len, next: Some(subnet_min), max }
    }

    fn none_in(&self, range: &Range) -> Error {
        let Range { subnet_min: min, subnet_max: max, .. } = *range;
        let within = |block: &&Subnet| block.last() >= min.base() && block.base() <= max.last();
        match self.routes.iter().find(within) {
            Some(route) => Error::LocalRoute { min, max, route: *route },
            None => Error::Full { min, max, taken: self.taken.iter().filter(within).count() },
        }
    }
}

/// Walks over the blocks in the way instead of trying every subnet inside them.
struct Walk {
    blocks: Vec<Subnet>,
    len: u8,
    next: Option<Subnet>,
    max: Subnet,
}

impl Iterator for Walk {
    type Item = Subnet;

    fn next(&mut self) -> Option<Subnet> {
        loop {
            let candidate = self.next.filter(|subnet| *subnet <= self.max)?;
            let hit = self.blocks.iter().find(|block| block.overlaps(candidate));
            let end = hit.map_or(candidate.last(), |block| block.last().max(candidate.last()));
            self.next = Subnet::containing(end, self.len).and_then(Subnet::next);
            if hit.is_none() {
                return Some(candidate);
            }
        }
    }
}
