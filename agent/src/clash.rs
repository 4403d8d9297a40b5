//! Finds networks of this host that the overlay would collide with. Pure.

use twill_core::ids::{Subnet, Underlay};
use twill_core::lease::Lease;
use twill_core::serving::is_tunnel;
use twill_net::kernel::LocalRoute;

/// Bridges that container runtimes make from `subnet.env`: what they carry is the overlay itself,
/// perhaps from the time before this host had to move.
const CONTAINER_BRIDGES: [&str; 3] = ["twill0", "cni0", "docker0"];

/// What must be known to tell the overlay's own routes from others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overlay<'a> {
    /// The whole overlay network.
    pub(crate) network: Subnet,
    /// The tunnel devices.
    pub(crate) devices: &'a [String],
    /// Subnets that this host has or had: whatever lies in there is a container's.
    pub(crate) own: &'a [Subnet],
    /// Everybody's: what leads to the owner of its block by way of its own address is the overlay,
    /// by the hands of a flanneld with `host-gw`.
    pub(crate) leases: &'a [Lease],
}

/// Routes of this host that overlap the overlay, sorted by what to do about them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Clashes {
    /// Tunnel devices that an earlier configuration of the same network left behind.
    pub(crate) leftovers: Vec<String>,
    /// Somebody else's network: the start is refused.
    pub(crate) foreign: Option<LocalRoute>,
}

/// Sorts the routes that overlap the overlay network.
pub(crate) fn clashes(overlay: Overlay<'_>, routes: &[LocalRoute]) -> Clashes {
    let mut clashes = Clashes::default();
    for route in routes.iter().filter(|route| route.block.overlaps(overlay.network)) {
        if overlay.devices.contains(&route.name) {
            continue;
        }
        // First, because all that such a device may have left is its address in our own subnet.
        if is_tunnel(&route.name) {
            if !clashes.leftovers.contains(&route.name) {
                clashes.leftovers.push(route.name.clone());
            }
            continue;
        }
        let own = CONTAINER_BRIDGES.contains(&route.name.as_str())
            || overlay.own.iter().any(|own| own.holds(route.block))
            || overlay.leases.iter().any(|lease| leads_to(lease, route));
        if !own && clashes.foreign.is_none() {
            clashes.foreign = Some(route.clone());
        }
    }
    clashes
}

fn leads_to(lease: &Lease, route: &LocalRoute) -> bool {
    let half = lease.half(route.block.family());
    half.is_some_and(|half| {
        let Underlay(owner) = half.value.public_ip;
        route.block == half.subnet() && route.via == Some(owner)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts() {
        let clean = Clashes::default();
        let foreign =
            |block, name| Clashes { foreign: Some(route(block, name)), ..Clashes::default() };
        let left = |names: &[&str]| Clashes {
            leftovers: names.iter().map(|name| (*name).to_owned()).collect(),
            foreign: None,
        };
        check("nothing overlaps", &[("192.0.2.0/24", "eth0")], &clean);
        check("the tunnel's own route", &[("10.88.0.0/16", "flannel.1")], &clean);
        check(
            "containers of this host",
            &[("10.88.5.0/24", "br-x"), ("10.88.5.1/32", "lo")],
            &clean,
        );
        check("a bridge from before a move", &[("10.88.7.0/24", "cni0")], &clean);
        check("a network inside", &[("10.88.9.0/24", "eth1")], &foreign("10.88.9.0/24", "eth1"));
        check("the same network", &[("10.88.0.0/16", "eth1")], &foreign("10.88.0.0/16", "eth1"));
        check("a network around", &[("10.0.0.0/8", "eth1")], &foreign("10.0.0.0/8", "eth1"));
        check(
            "around our subnet only",
            &[("10.88.4.0/23", "eth1")],
            &foreign("10.88.4.0/23", "eth1"),
        );
        check("an earlier backend", &[("10.88.0.0/16", "flannel0")], &left(&["flannel0"]));
        check("one without peers", &[("10.88.5.0/32", "flannel0")], &left(&["flannel0"]));
        check(
            "an earlier network identifier, with two routes",
            &[("10.88.1.0/24", "flannel.7"), ("10.88.2.0/24", "flannel.7")],
            &left(&["flannel.7"]),
        );
        let own_ip = "10.88.8.0/24";
        check("a peer's, by a flanneld with host-gw", &[(own_ip, "eth0 via 192.0.2.8")], &clean);
        check(
            "by another host",
            &[(own_ip, "eth0 via 192.0.2.9")],
            &foreign(own_ip, "eth0 via 192.0.2.9"),
        );
        check(
            "a name that looks like ours",
            &[("10.88.1.0/24", "flannel.x")],
            &foreign("10.88.1.0/24", "flannel.x"),
        );
    }

    #[track_caller]
    fn check(name: &str, routes: &[(&str, &str)], wanted: &Clashes) {
        let own = ["10.88.5.0/24".parse().unwrap()];
        let devices = ["flannel.1".to_owned()];
        let text = r#"{"PublicIP":"192.0.2.8","BackendType":"host-gw"}"#;
        let leases = [Lease {
            key: "10.88.8.0-24".parse().unwrap(),
            value: twill_core::lease::LeaseValue::parse(text.as_bytes()).unwrap(),
            revision: twill_core::ids::Revision(1),
            lease_id: None,
        }];
        let network = "10.88.0.0/16".parse().unwrap();
        let overlay = Overlay { network, devices: &devices, own: &own, leases: &leases };
        let routes: Vec<_> = routes.iter().map(|(block, name)| route(block, name)).collect();
        assert_eq!(&clashes(overlay, &routes), wanted, "{name}");
    }

    fn route(block: &str, name: &str) -> LocalRoute {
        let (name, via) = name.split_once(" via ").unwrap_or((name, ""));
        let (block, via) = (block.parse().unwrap(), via.parse().ok());
        LocalRoute { block, device: None, name: name.to_owned(), via, like_flannels: false }
    }
}
