//! Which hosts are on the same link, by the routes that others made on this host.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::ids::{Family, Subnet, Underlay};

/// Where a route of this host leads, seen from the interface to the other hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lead {
    /// Onto the link of that interface, to the destination itself.
    Link,
    /// To a router, to another interface, or nowhere.
    Elsewhere,
}

/// What the routing table says about the addresses of other hosts.
///
/// flannel asks the kernel for the route to each peer. This is the same answer for all peers out of
/// one listing, as far as the main table gives it: rules that lead to other tables are not looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Link(BTreeMap<Subnet, Lead>);

impl Link {
    /// From the routes in the kernel's order: of several to one block the first one counts.
    #[must_use]
    pub fn new(routes: impl IntoIterator<Item = (Subnet, Lead)>) -> Self {
        let mut blocks = BTreeMap::new();
        for (block, lead) in routes {
            blocks.entry(block).or_insert(lead);
        }
        Self(blocks)
    }

    /// Can packets be handed to `host` without a router in between? The longest route decides, and
    /// the default route, gateway or not, says nothing about who is on the link.
    #[must_use]
    pub fn holds(&self, Underlay(host): Underlay) -> bool {
        let lead = (1..=Family::of(host).bits()).rev().find_map(|len| self.lead(host, len));
        lead == Some(Lead::Link)
    }

    fn lead(&self, host: IpAddr, len: u8) -> Option<Lead> {
        self.0.get(&Subnet::containing(host, len)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_route_to_a_host_says_whether_it_is_on_the_link() {
        let link = ("192.0.2.0/24", Lead::Link);
        check("no route at all", &[], false);
        check("the interface's own range", &[link], true);
        check("another range", &[("198.51.100.0/24", Lead::Link)], false);
        check("the default route", &[("0.0.0.0/0", Lead::Link)], false);
        check("by a router all the same", &[link, ("192.0.2.9/32", Lead::Elsewhere)], false);
        check("on the link after all", &[("192.0.0.0/16", Lead::Elsewhere), link], true);
        check("the better of two", &[link, ("192.0.2.0/24", Lead::Elsewhere)], true);
        check("the worse of two", &[("192.0.2.0/24", Lead::Elsewhere), link], false);
    }

    #[track_caller]
    fn check(name: &str, routes: &[(&str, Lead)], holds: bool) {
        let routes = routes.iter().map(|(block, lead)| (block.parse().expect(name), *lead));
        assert_eq!(Link::new(routes).holds(Underlay([192, 0, 2, 9].into())), holds, "{name}");
    }
}
