//! Finds networks of this host that the overlay would collide with. Pure.

use twill_core::ids::Subnet;
use twill_net::kernel::LocalRoute;

/// Bridges that container runtimes make from `subnet.env`: what they carry is the overlay itself,
/// perhaps from the time before this host had to move.
const CONTAINER_BRIDGES: [&str; 3] = ["twill0", "cni0", "docker0"];

/// What must be known to tell the overlay's own routes from others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overlay<'a> {
    /// The whole overlay network.
    pub(crate) network: Subnet,
    /// The tunnel device.
    pub(crate) device: &'a str,
    /// Subnets that this host has or had: whatever lies in there is a container's.
    pub(crate) own: &'a [Subnet],
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
    let inside = |outer: &Subnet, block: Subnet| {
        outer.contains(block.base()) && outer.contains(block.last())
    };
    for route in routes.iter().filter(|route| route.block.overlaps(overlay.network)) {
        if route.name == overlay.device {
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
            || overlay.own.iter().any(|own| inside(own, route.block));
        if !own && clashes.foreign.is_none() {
            clashes.foreign = Some(route.clone());
        }
    }
    clashes
}

/// `flannel0` of the udp backend, `flannel.1` of vxlan.
pub(crate) fn is_tunnel(name: &str) -> bool {
    let vni = name.strip_prefix("flannel.");
    name == "flannel0" || vni.is_some_and(|vni| vni.bytes().all(|byte| byte.is_ascii_digit()))
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
        check(
            "a name that looks like ours",
            &[("10.88.1.0/24", "flannel.x")],
            &foreign("10.88.1.0/24", "flannel.x"),
        );
    }

    #[track_caller]
    fn check(name: &str, routes: &[(&str, &str)], wanted: &Clashes) {
        let own = ["10.88.5.0/24".parse().unwrap()];
        let overlay =
            Overlay { network: "10.88.0.0/16".parse().unwrap(), device: "flannel.1", own: &own };
        let routes: Vec<_> = routes.iter().map(|(block, name)| route(block, name)).collect();
        assert_eq!(&clashes(overlay, &routes), wanted, "{name}");
    }

    fn route(block: &str, name: &str) -> LocalRoute {
        LocalRoute { block: block.parse().unwrap(), device: None, name: name.to_owned() }
    }
}
