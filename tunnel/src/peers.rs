//! Who owns which addresses: an immutable table, built once per change and read without a lock.

use std::net::IpAddr;

use twill_core::ids::Subnet;

/// The other hosts' blocks and where these hosts listen.
///
/// Blocks may lie inside each other; the longest prefix holds. Nesting is resolved when the table
/// is built, so that a look-up is one binary search.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Peers {
    ipv4: Ranges<u32>,
    ipv6: Ranges<u128>,
    /// In order, each once.
    hosts: Vec<IpAddr>,
}

/// Disjoint and in order. The first addresses lie by themselves, because only they are searched.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Ranges<A> {
    firsts: Vec<A>,
    rest: Vec<(A, IpAddr)>,
}

/// An address as a number.
trait Address: Copy + Default + Ord {
    fn before(self) -> Option<Self>;
    fn after(self) -> Option<Self>;
}

#[derive(Clone, Copy)]
struct Block<A> {
    first: A,
    last: A,
    host: IpAddr,
}

impl Peers {
    /// Of two equal blocks the later one holds.
    #[must_use]
    pub fn new(mut blocks: Vec<(Subnet, IpAddr)>) -> Self {
        let mut hosts: Vec<IpAddr> = blocks.iter().map(|(_block, host)| *host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        // Outer before inner; the sort is stable, so equal blocks keep their order.
        blocks.sort_by_key(|(block, _host)| (block.base(), block.len()));
        let ipv4 = blocks.iter().filter_map(|(block, host)| match (block.base(), block.last()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                Some(Block { first: first.to_bits(), last: last.to_bits(), host: *host })
            }
            _other => None,
        });
        let ipv6 = blocks.iter().filter_map(|(block, host)| match (block.base(), block.last()) {
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                Some(Block { first: first.to_bits(), last: last.to_bits(), host: *host })
            }
            _other => None,
        });
        Self { ipv4: Ranges::flatten(ipv4), ipv6: Ranges::flatten(ipv6), hosts }
    }

    /// The host that owns `address`.
    #[must_use]
    #[inline]
    pub fn owner(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(address) => self.ipv4.owner(address.to_bits()),
            IpAddr::V6(address) => self.ipv6.owner(address.to_bits()),
        }
    }

    /// Is there a peer at `host`?
    #[must_use]
    pub fn knows(&self, host: IpAddr) -> bool {
        self.hosts.binary_search(&host).is_ok()
    }
}

impl Address for u32 {
    fn before(self) -> Option<Self> {
        self.checked_sub(1)
    }

    fn after(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Address for u128 {
    fn before(self) -> Option<Self> {
        self.checked_sub(1)
    }

    fn after(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl<A: Address> Ranges<A> {
    #[inline]
    fn owner(&self, address: A) -> Option<IpAddr> {
        let after = self.firsts.partition_point(|first| *first <= address);
        let (last, host) = self.rest[..after].last()?;
        (address <= *last).then_some(*host)
    }

    /// Cuts nested blocks into disjoint ranges, the innermost block winning. Blocks are CIDR, so two of
    /// them are either disjoint or one holds the other: a stack of open blocks is enough.
    fn flatten(blocks: impl Iterator<Item = Block<A>>) -> Self {
        let mut ranges = Self::default();
        let mut open: Vec<Block<A>> = Vec::new();
        // The first address not yet given away, unless the last one is.
        let mut next = Some(A::default());
        for block in blocks {
            while let Some(inner) = open.pop_if(|inner| inner.last < block.first) {
                ranges.give(&mut next, inner.last, inner.host);
            }
            if let (Some(outer), Some(before)) = (open.last(), block.first.before()) {
                ranges.give(&mut next, before, outer.host);
            }
            next = Some(block.first);
            open.push(block);
        }
        while let Some(inner) = open.pop() {
            ranges.give(&mut next, inner.last, inner.host);
        }
        ranges
    }

    fn give(&mut self, next: &mut Option<A>, last: A, host: IpAddr) {
        if let Some(first) = next.filter(|first| *first <= last) {
            self.firsts.push(first);
            self.rest.push((last, host));
            *next = last.after();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    #[test]
    fn owners() {
        let peers = table(&[("10.5.0.0/16", 9), ("10.5.2.0/24", 2), ("10.5.3.0/24", 3)]);
        owner("the first address of a block", &peers, "10.5.2.0", Some(2));
        owner("the last address of a block", &peers, "10.5.2.255", Some(2));
        owner("the next block is another host's", &peers, "10.5.3.0", Some(3));
        owner("the outer block before the inner ones", &peers, "10.5.1.255", Some(9));
        owner("the outer block after the inner ones", &peers, "10.5.4.0", Some(9));
        owner("below everything", &peers, "10.4.255.255", None);
        owner("above everything", &peers, "10.6.0.0", None);
        owner("an empty table owns nothing", &Peers::default(), "10.5.2.1", None);
        let whole = table(&[("0.0.0.0/0", 1), ("0.0.0.0/32", 2), ("255.255.255.255/32", 3)]);
        owner("the very first address", &whole, "0.0.0.0", Some(2));
        owner("the second address", &whole, "0.0.0.1", Some(1));
        owner("the very last address", &whole, "255.255.255.255", Some(3));
        let twice = table(&[("10.5.2.0/24", 2), ("10.5.2.0/24", 4)]);
        owner("of two equal blocks the later holds", &twice, "10.5.2.9", Some(4));
        assert!(peers.knows(host(2)) && !peers.knows(host(4)));
        let six = [("fd00:5::/32", 9), ("fd00:5:2::/64", 2), ("10.5.0.0/16", 4), ("::/128", 3)];
        let six = table(&six);
        owner("a block of IPv6", &six, "fd00:5:2::7", Some(2));
        owner("behind it", &six, "fd00:5:2:1::", Some(9));
        owner("the very first address of IPv6", &six, "::", Some(3));
        owner("the next", &six, "::1", None);
        owner("the families do not mix", &six, "::10.5.0.1", None);
        owner("and share a table", &six, "10.5.0.1", Some(4));
        let whole = table(&[("::/0", 1), ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", 3)]);
        owner(
            "the very last address of IPv6",
            &whole,
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            Some(3),
        );
        owner("the one before", &whole, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", Some(1));
    }

    proptest! {
        /// A small world of addresses, so that blocks nest and touch all the time.
        #[test]
        fn agrees_with_a_walk_over_all_blocks(
            blocks in prop::collection::vec((any::<u8>(), 22_u8..=32, any::<u8>()), 0..12),
        ) {
            let blocks: Vec<(Subnet, IpAddr)> = blocks
                .into_iter()
                .map(|(base, len, n)| {
                    (Subnet::containing([10, 0, base % 4, base].into(), len).unwrap(), host(n))
                })
                .collect();
            let peers = Peers::new(blocks.clone());
            for address in (0..1024).map(|n| Ipv4Addr::from_bits(0x0a00_0000 + n).into()) {
                let slow = blocks
                    .iter()
                    .filter(|(block, _host)| block.contains(address))
                    .max_by_key(|(block, _host)| block.len())
                    .map(|(_block, host)| *host);
                prop_assert_eq!(peers.owner(address), slow, "{}", address);
            }
        }
    }

    fn table(blocks: &[(&str, u8)]) -> Peers {
        Peers::new(blocks.iter().map(|(block, n)| (block.parse().unwrap(), host(*n))).collect())
    }

    #[track_caller]
    fn owner(name: &str, peers: &Peers, address: &str, wanted: Option<u8>) {
        assert_eq!(peers.owner(address.parse().unwrap()), wanted.map(host), "{name}");
    }

    fn host(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }
}
