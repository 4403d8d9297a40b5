//! Who owns which addresses: an immutable table, built once per change and read without a lock.

use std::net::Ipv4Addr;

use twill_core::ids::Ipv4Subnet;

/// The other hosts' blocks and where these hosts listen.
///
/// Blocks may lie inside each other; the longest prefix holds. Nesting is resolved when the table
/// is built, so that a look-up is one binary search.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Peers {
    /// Disjoint and in order.
    ranges: Vec<Range>,
    /// In order, each once.
    hosts: Vec<Ipv4Addr>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Range {
    first: u32,
    last: u32,
    host: Ipv4Addr,
}

impl Peers {
    /// Of two equal blocks the later one holds.
    #[must_use]
    pub fn new(mut blocks: Vec<(Ipv4Subnet, Ipv4Addr)>) -> Self {
        let mut hosts: Vec<Ipv4Addr> = blocks.iter().map(|(_block, host)| *host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        // Outer before inner; the sort is stable, so equal blocks keep their order.
        blocks.sort_by_key(|(block, _host)| (block.base(), block.len()));
        Self { ranges: flatten(&blocks), hosts }
    }

    /// The host that owns `address`.
    #[must_use]
    pub fn owner(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        let address = address.to_bits();
        let after = self.ranges.partition_point(|range| range.first <= address);
        let range = self.ranges[..after].last()?;
        (address <= range.last).then_some(range.host)
    }

    /// Is there a peer at `host`?
    #[must_use]
    pub fn knows(&self, host: Ipv4Addr) -> bool {
        self.hosts.binary_search(&host).is_ok()
    }
}

/// Cuts nested blocks into disjoint ranges, the innermost block winning. Blocks are CIDR, so two of
/// them are either disjoint or one holds the other: a stack of open blocks is enough.
fn flatten(blocks: &[(Ipv4Subnet, Ipv4Addr)]) -> Vec<Range> {
    let mut ranges = Vec::with_capacity(blocks.len());
    let mut open: Vec<Range> = Vec::new();
    // The first address not yet given away; 64 bits, because it may lie behind the last address.
    let mut next: u64 = 0;
    let mut give = |next: &mut u64, until: u64, host: Ipv4Addr| {
        if let (Ok(first), Ok(last)) = (u32::try_from(*next), u32::try_from(until))
            && first <= last
        {
            ranges.push(Range { first, last, host });
            *next = until + 1;
        }
    };
    for (block, host) in blocks {
        let block =
            Range { first: block.base().to_bits(), last: block.last().to_bits(), host: *host };
        while let Some(inner) = open.pop_if(|inner| inner.last < block.first) {
            give(&mut next, inner.last.into(), inner.host);
        }
        if let Some(outer) = open.last()
            && block.first > 0
        {
            give(&mut next, u64::from(block.first) - 1, outer.host);
        }
        next = block.first.into();
        open.push(block);
    }
    while let Some(inner) = open.pop() {
        give(&mut next, inner.last.into(), inner.host);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    }

    proptest! {
        /// A small world of addresses, so that blocks nest and touch all the time.
        #[test]
        fn agrees_with_a_walk_over_all_blocks(
            blocks in prop::collection::vec((any::<u8>(), 22_u8..=32, any::<u8>()), 0..12),
        ) {
            let blocks: Vec<(Ipv4Subnet, Ipv4Addr)> = blocks
                .into_iter()
                .map(|(base, len, n)| {
                    (Ipv4Subnet::containing([10, 0, base % 4, base].into(), len).unwrap(), host(n))
                })
                .collect();
            let peers = Peers::new(blocks.clone());
            for address in (0..1024).map(|n| Ipv4Addr::from_bits(0x0a00_0000 + n)) {
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

    fn host(n: u8) -> Ipv4Addr {
        [192, 0, 2, n].into()
    }
}
