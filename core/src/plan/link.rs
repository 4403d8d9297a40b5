//! Which hosts are on the same link, and what the way to the others carries, by the routes that others
//! made on this host.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::ids::{Family, Mtu, Subnet, Underlay};

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
pub struct Link(BTreeMap<Subnet, (Lead, Option<Mtu>)>);

impl Link {
    /// From the routes in the kernel's order, with the `mtu` of those that have one: of several to one block
    /// the first one counts.
    #[must_use]
    pub fn new(routes: impl IntoIterator<Item = (Subnet, Lead, Option<Mtu>)>) -> Self {
        let mut blocks = BTreeMap::new();
        for (block, lead, mtu) in routes {
            blocks.entry(block).or_insert((lead, mtu));
        }
        Self(blocks)
    }

    /// Can packets be handed to `host` without a router in between? The longest route decides, and
    /// the default route, gateway or not, says nothing about who is on the link.
    #[must_use]
    pub fn holds(&self, Underlay(host): Underlay) -> bool {
        let (len, (lead, _mtu)) = self.longest(host).unwrap_or((0, (Lead::Elsewhere, None)));
        len > 0 && lead == Lead::Link
    }

    /// What the way to `host` carries, if its route says so.
    #[must_use]
    pub fn carries(&self, Underlay(host): Underlay) -> Option<Mtu> {
        self.longest(host).and_then(|(_len, (_lead, mtu))| mtu)
    }

    fn longest(&self, host: IpAddr) -> Option<(u8, (Lead, Option<Mtu>))> {
        let route = |len| self.0.get(&Subnet::containing(host, len)?).map(|route| (len, *route));
        (0..=Family::of(host).bits()).rev().find_map(route)
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
        let routes = routes.iter().map(|(block, lead)| (block.parse().expect(name), *lead, None));
        assert_eq!(Link::new(routes).holds(Underlay([192, 0, 2, 9].into())), holds, "{name}");
    }

    #[test]
    fn the_longest_route_to_a_host_says_what_the_way_carries() {
        let (vpn, jumbo) = (Mtu::new(1400), Mtu::new(9000));
        carries("no route says", &[("192.0.2.0/24", None), ("0.0.0.0/0", None)], None);
        carries("the default route", &[("0.0.0.0/0", vpn)], vpn);
        carries("the longest one", &[("0.0.0.0/0", jumbo), ("192.0.2.9/32", vpn)], vpn);
        carries("its silence counts", &[("0.0.0.0/0", vpn), ("192.0.2.0/24", None)], None);
    }

    #[track_caller]
    fn carries(name: &str, routes: &[(&str, Option<Mtu>)], want: Option<Mtu>) {
        let route = |(block, mtu): &(&str, Option<Mtu>)| {
            (block.parse().expect(name), Lead::Elsewhere, *mtu)
        };
        let link = Link::new(routes.iter().map(route));
        assert_eq!(link.carries(Underlay([192, 0, 2, 9].into())), want, "{name}");
    }
}
