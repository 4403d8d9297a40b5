//! What a packet's outer header says about its inner one, and the reverse: DSCP (RFC 2983) and ECN
//! (RFC 6040).

/// What of a packet's type of service, or traffic class, its outer header shows to the underlay.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Marks {
    /// Nothing, as flannel's `udp` backend: every datagram is ordinary.
    #[default]
    None,
    /// The priority that a container asked for (DSCP).
    Priority,
    /// And that it can be told about congestion (ECN): right only where no peer is a flanneld, which
    /// would lose what the underlay has to say (RFC 6040 section 4.1).
    PriorityAndCongestion,
}

const ECN: u8 = 0x03;
/// The underlay met congestion.
const CONGESTED: u8 = 0x03;

impl Marks {
    /// The outer class of a packet with the class `inner`.
    pub(crate) fn outside(self, inner: u8) -> u8 {
        match self {
            Self::None => 0,
            Self::Priority => inner & !ECN,
            Self::PriorityAndCongestion => inner,
        }
    }
}

/// The class of a packet that came with `inner` in a datagram with `outer`: figure 4 of RFC 6040. `None`
/// if it cannot be told about the congestion that its datagram met, and must be lost instead.
pub(crate) fn inside(inner: u8, outer: u8) -> Option<u8> {
    match (inner & ECN, outer & ECN) {
        (0, CONGESTED) => None,
        (1 | 2, CONGESTED) => Some(inner | CONGESTED),
        (2, 1) => Some(inner & !ECN | 1),
        _other => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outside_shows_no_more_than_it_may() {
        for (marks, wanted) in
            [(Marks::None, 0), (Marks::Priority, 0xb8), (Marks::PriorityAndCongestion, 0xba)]
        {
            assert_eq!(marks.outside(0xba), wanted, "{marks:?}");
        }
    }

    /// Rows are what came inside, columns the outside: not capable, ECT(1), ECT(0), congested.
    #[test]
    fn every_pair_of_figure_4() {
        let table = [
            (0, [Some(0), Some(0), Some(0), None]),
            (1, [Some(1), Some(1), Some(1), Some(3)]),
            (2, [Some(2), Some(1), Some(2), Some(3)]),
            (3, [Some(3), Some(3), Some(3), Some(3)]),
        ];
        for (inner, row) in table {
            for (outer, wanted) in (0..).zip(row) {
                let wanted = wanted.map(|ecn: u8| 0xb8 | ecn);
                assert_eq!(inside(0xb8 | inner, 0x40 | outer), wanted, "{inner} in {outer}");
            }
        }
    }
}
