//! Decides which address a container gets. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use twill_core::ids::{Family, Subnet, bits, of_bits};

/// What is known when an address is chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// The host's block.
    pub(crate) subnet: Subnet,
    /// The address that was given last.
    pub(crate) last_given: Option<IpAddr>,
    /// One that would be nice to have: what the owner had before.
    pub(crate) preferred: Option<IpAddr>,
}

/// The preferred address if it is free, else the next free one after the one given last: an address
/// rests as long as possible before it is used again, so that connections and caches that remember
/// its former owner die out. `None` if all are in use.
pub(crate) fn choose(wish: &Wish, used: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let free = |address: &IpAddr| !used.contains(address);
    let preferred = wish.preferred.filter(|address| is_usable(wish.subnet, *address));
    if let Some(preferred) = preferred.filter(free) {
        return Some(preferred);
    }
    let (first, last) = usable(wish.subnet)?;
    let given = wish.last_given.filter(|given| wish.subnet.contains(*given)).map(bits);
    let start =
        given.filter(|given| (first..last).contains(given)).map_or(first, |given| given + 1);
    let address = |bits| of_bits(wish.subnet.family(), bits);
    (start..=last).chain(first..start).filter_map(address).find(free)
}

/// May a container have this address: is it in the block, and neither the network's, nor the
/// bridge's, nor the broadcast address?
pub(crate) fn is_usable(subnet: Subnet, address: IpAddr) -> bool {
    let usable =
        usable(subnet).is_some_and(|(first, last)| (first..=last).contains(&bits(address)));
    usable && Family::of(address) == subnet.family()
}

/// How many containers the block has room for.
pub(crate) fn capacity(subnet: Subnet) -> u128 {
    usable(subnet).map_or(0, |(first, last)| (last - first).saturating_add(1))
}

/// IPv6 has no broadcast address; its first one means every router (RFC 4291, 2.6.1).
fn usable(subnet: Subnet) -> Option<(u128, u128)> {
    let first = bits(subnet.first_host()).checked_add(1)?;
    let last = bits(subnet.last());
    let last = if subnet.family() == Family::V4 { last.checked_sub(1)? } else { last };
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses() {
        check("the first is .2: .0 and .1 have a meaning", ("10.5.2.0/29", None), &[], Some(2));
        check("the next after the last given", ("10.5.2.0/29", Some(3)), &[3], Some(4));
        check("a free one rests while others do", ("10.5.2.0/29", Some(3)), &[], Some(4));
        check("round at the end: .7 is broadcast", ("10.5.2.0/29", Some(6)), &[6], Some(2));
        check("used ones are passed over", ("10.5.2.0/29", Some(6)), &[2, 3], Some(4));
        check(
            "the last given is taken again if it is alone",
            ("10.5.2.0/29", Some(4)),
            &[2, 3, 5, 6],
            Some(4),
        );
        check("all are in use", ("10.5.2.0/29", Some(4)), &[2, 3, 4, 5, 6], None);
        check("the last given is of another subnet", ("10.5.2.0/29", Some(200)), &[], Some(2));
        check("a /30 has room for one", ("10.5.2.0/30", None), &[], Some(2));
        check("a /30 has room for no more", ("10.5.2.0/30", None), &[2], None);
        check("a /31 has none", ("10.5.2.0/31", None), &[], None);
        check("a /32 has none", ("10.5.2.0/32", None), &[], None);
    }

    #[test]
    fn prefers_what_the_owner_had() {
        let wish = Wish {
            subnet: "10.5.2.0/29".parse().unwrap(),
            last_given: Some(address(5)),
            preferred: Some(address(3)),
        };
        assert_eq!(choose(&wish, &[].into()), Some(address(3)));
        assert_eq!(choose(&wish, &[address(3)].into()), Some(address(6)));
        let moved = Wish { preferred: Some([10, 9, 9, 9].into()), ..wish };
        assert_eq!(choose(&moved, &[].into()), Some(address(6)));
    }

    #[test]
    fn capacities() {
        for (subnet, room) in [("10.5.2.0/24", 253), ("10.5.2.0/30", 1), ("10.5.2.0/31", 0)] {
            assert_eq!(capacity(subnet.parse().unwrap()), room, "{subnet}");
        }
        assert_eq!(capacity("255.255.255.255/32".parse().unwrap()), 0);
        assert_eq!(capacity("0.0.0.0/32".parse().unwrap()), 0);
    }

    #[test]
    fn ipv6() {
        let subnet: Subnet = "fd00:88:0:5e::/64".parse().unwrap();
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let wish = Wish { subnet, last_given: None, preferred: None };
        let first = address("fd00:88:0:5e::2");
        assert_eq!(choose(&wish, &[].into()), Some(first), "the bridge has the one before");
        assert_eq!(choose(&wish, &[first].into()), Some(address("fd00:88:0:5e::3")));
        let last = address("fd00:88:0:5e:ffff:ffff:ffff:ffff");
        let wish = Wish { last_given: Some(last), ..wish };
        assert_eq!(choose(&wish, &[].into()), Some(first), "round again");
        assert!(is_usable(subnet, last), "there is no broadcast address");
        for other in ["fd00:88:0:5e::", "fd00:88:0:5e::1", "fd00:88:0:5f::2", "10.5.2.7"] {
            assert!(!is_usable(subnet, address(other)), "{other}");
        }
        assert_eq!(capacity(subnet), (1 << 64) - 2);
        assert_eq!(capacity("fd00::/126".parse().unwrap()), 2);
        assert_eq!(capacity("fd00::/127".parse().unwrap()), 0);
    }

    /// Every state of a small pool: the answer is free, usable, and the nearest after the last.
    #[test]
    fn never_gives_what_is_used() {
        let subnet: Subnet = "10.5.2.0/29".parse().unwrap();
        for bits in 0..1_u32 << 5 {
            let used: BTreeSet<IpAddr> =
                (2..7).filter(|n| bits >> (n - 2) & 1 == 1).map(address).collect();
            for last_given in [None, Some(2), Some(3), Some(4), Some(5), Some(6), Some(7)] {
                let last_given = last_given.map(address);
                let given = choose(&Wish { subnet, last_given, preferred: None }, &used);
                assert_eq!(given.is_none(), used.len() == 5);
                assert!(
                    given.is_none_or(|given| is_usable(subnet, given) && !used.contains(&given))
                );
            }
        }
    }

    #[track_caller]
    fn check(name: &str, (subnet, last): (&str, Option<u8>), used: &[u8], given: Option<u8>) {
        let wish = Wish {
            subnet: subnet.parse().unwrap(),
            last_given: last.map(address),
            preferred: None,
        };
        let used = used.iter().copied().map(address).collect();
        assert_eq!(choose(&wish, &used), given.map(address), "{name}");
    }

    fn address(last: u8) -> IpAddr {
        [10, 5, 2, last].into()
    }
}
