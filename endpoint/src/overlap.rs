//! Decides whether a route of the host stands in the way of its containers' subnet.

use twill_core::device::IfIndex;
use twill_core::ids::Subnet;
use twill_core::serving;
use twill_net::ROUTE_PROTOCOL;
use twill_net::blocking::Route;

/// The routes that would take packets for `subnet` elsewhere, or that the subnet would take packets
/// from. Pure; the caller leaves out those through a tunnel device.
///
/// A route through a gateway to a wider block does neither: a company may well have 10.0.0.0/8
/// behind its router and containers in a corner of it. A wider block that is *on the link* does:
/// its machines in that corner could not be reached any more.
pub(crate) fn suspects(
    subnet: Subnet,
    bridge: Option<IfIndex>,
    routes: &[Route],
) -> impl Iterator<Item = &Route> {
    routes.iter().filter(move |route| {
        let destination = route.destination;
        let ours = route.protocol == ROUTE_PROTOCOL || (bridge.is_some() && route.link == bridge);
        let inside = destination.len() >= subnet.len();
        let default = destination.len() == 0;
        !ours && !default && destination.overlaps(subnet) && (inside || route.gateway.is_none())
    })
}

/// Is this a device that the agent, or a flanneld, reaches other hosts through?
pub(crate) fn is_tunnel(name: &str) -> bool {
    name.starts_with("flannel") || serving::is_tunnel(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIDGE: IfIndex = IfIndex(7);

    #[test]
    fn routes_in_the_way() {
        check("the default route is not", false, &route("0.0.0.0/0", Some(1), 2));
        check("another block is not", false, &route("10.6.0.0/16", None, 2));
        check("our bridge's own route is not", false, &route("10.5.2.0/24", None, 7));
        check("a wider block behind a router is not", false, &route("10.0.0.0/8", Some(1), 2));
        check("a wider block on the link is", true, &route("10.5.0.0/16", None, 2));
        check("the same block on another link is", true, &route("10.5.2.0/24", None, 2));
        check("the same block behind a router is", true, &route("10.5.2.0/24", Some(1), 2));
        check("a host in the block is", true, &route("10.5.2.9/32", Some(1), 2));
        let ours = Route { protocol: ROUTE_PROTOCOL, ..route("10.5.0.0/16", None, 2) };
        check("what the agent wrote is not", false, &ours);
        check("the other family is not", false, &route("fd00::/16", None, 2));
    }

    #[test]
    fn devices_of_the_agent() {
        for name in ["flannel.1", "flannel0", "flannel-wg", "flannel-v6.1", "twv6.16777215"] {
            assert!(is_tunnel(name), "{name}");
        }
        assert!(!is_tunnel("eth0"));
    }

    #[track_caller]
    fn check(name: &str, in_the_way: bool, route: &Route) {
        let subnet = "10.5.2.0/24".parse().unwrap();
        let found = suspects(subnet, Some(BRIDGE), std::slice::from_ref(route)).count();
        assert_eq!(found == 1, in_the_way, "{name}");
    }

    fn route(destination: &str, gateway: Option<u8>, link: u32) -> Route {
        Route {
            destination: destination.parse().unwrap(),
            gateway: gateway.map(|last| [192, 0, 2, last].into()),
            link: Some(IfIndex(link)),
            protocol: 2,
        }
    }
}
