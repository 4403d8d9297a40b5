//! What the kernel's messages say, and which of them are ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
    RouteProtocol, RouteType,
};
use twill_core::device::IfIndex;
use twill_core::ids::{Gateway, Mac, Mtu, Subnet, Underlay};
use twill_core::plan::{Hop, Lead, Route};

use super::Ground;
use crate::ROUTE_PROTOCOL;

pub(super) fn forwarding_row(
    ground: Ground<'_>,
    message: &NeighbourMessage,
) -> Option<(IfIndex, Mac, Underlay)> {
    let device = permanent_on(ground, message)?;
    if !message.header.flags.contains(NeighbourFlags::Own) {
        return None;
    }
    let (mut mac, mut host) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = unicast(bytes),
            NeighbourAttribute::Destination(address) => host = ip(address).map(Underlay),
            // Another port, network or interface than the device's own: not a row that we write.
            NeighbourAttribute::Port(_)
            | NeighbourAttribute::Vni(_)
            | NeighbourAttribute::IfIndex(_) => return None,
            _other => {}
        }
    }
    mac.zip(host).map(|(mac, host)| (device, mac, host))
}

pub(super) fn neighbour_row(
    ground: Ground<'_>,
    message: &NeighbourMessage,
) -> Option<((IfIndex, Gateway), Mac)> {
    let device = permanent_on(ground, message)?;
    let (mut gateway, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = unicast(bytes),
            NeighbourAttribute::Destination(address) => gateway = ip(address).map(Gateway),
            _other => {}
        }
    }
    gateway.zip(mac).map(|(gateway, mac)| ((device, gateway), mac))
}

/// The tunnel device that a permanent entry is on.
fn permanent_on(ground: Ground<'_>, message: &NeighbourMessage) -> Option<IfIndex> {
    // The state is a set of bits, and the forwarding database combines them.
    let permanent = u16::from(NeighbourState::Permanent);
    let state = u16::from(message.header.state);
    let device = IfIndex(message.header.ifindex);
    (ground.devices.contains(&device) && state & permanent != 0).then_some(device)
}

/// Rows of groups, and of nobody, which is the default destination, are not peers.
fn unicast(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac).filter(|mac| mac.is_unicast())
}

fn ip(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(address) => Some((*address).into()),
        NeighbourAddress::Inet6(address) => Some((*address).into()),
        // A row of the bridge family does not say of which family its destination is.
        NeighbourAddress::Other(bytes) => {
            let bytes = bytes.as_slice();
            let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
            v4().or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
        }
        _other => None,
    }
}

pub(super) fn route_row(ground: Ground<'_>, message: &RouteMessage) -> Option<(Subnet, Route)> {
    let (device, subnet) = (device_of(message)?, destination(message)?);
    let gateway = gateway_of(message);
    if message.header.kind != RouteType::Unicast || !has_our_key(message) {
        return None;
    }
    let hop = match (message.header.protocol, gateway) {
        (RouteProtocol::Other(ROUTE_PROTOCOL) | RouteProtocol::Boot, gateway)
            if ground.devices.contains(&device) =>
        {
            gateway.map_or(Hop::Device(device), |hop| Hop::Onlink(device, Gateway(hop)))
        }
        // By whatever interface: it may have been the uplink of an earlier run.
        (RouteProtocol::Other(ROUTE_PROTOCOL), Some(host))
            if !message.header.flags.contains(RouteFlags::Onlink)
                && ground.networks.iter().any(|network| network.contains(subnet.base())) =>
        {
            Hop::Via(device, Underlay(host))
        }
        _foreign => return None,
    };
    Some((subnet, Route { hop, mtu: mtu_of(message) }))
}

/// What a route of somebody else's says about who is on the link of `uplink`, and what the way carries.
pub(super) fn lead(uplink: IfIndex, message: &RouteMessage) -> Option<(Subnet, Lead, Option<Mtu>)> {
    if message.header.table != RouteHeader::RT_TABLE_MAIN || is_marked(message) {
        return None;
    }
    let block = destination(message)?;
    let several =
        message.attributes.iter().any(|part| matches!(part, RouteAttribute::MultiPath(_)));
    let on_link = message.header.kind == RouteType::Unicast
        && !several
        && device_of(message) == Some(uplink)
        && gateway_of(message).is_none();
    Some((block, if on_link { Lead::Link } else { Lead::Elsewhere }, mtu_of(message)))
}

/// The `mtu` of a route, if it has one.
fn mtu_of(message: &RouteMessage) -> Option<Mtu> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => metrics.iter().find_map(|metric| match metric {
            RouteMetric::Mtu(mtu) => Mtu::new(*mtu),
            _other => None,
        }),
        _other => None,
    })
}

/// The gateway of a route with one next hop.
pub(in crate::kernel) fn gateway_of(message: &RouteMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(gateway) => address(gateway),
        _other => None,
    })
}

pub(in crate::kernel) fn address(found: &RouteAddress) -> Option<IpAddr> {
    match found {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _other => None,
    }
}

/// Does it carry our mark?
pub(in crate::kernel) fn is_marked(message: &RouteMessage) -> bool {
    message.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL)
}

/// Is it as a flanneld writes routes to hosts on the link, with `host-gw` or `DirectRouting`?
pub(in crate::kernel) fn is_like_flannels(message: &RouteMessage) -> bool {
    let several =
        message.attributes.iter().any(|part| matches!(part, RouteAttribute::MultiPath(_)));
    message.header.protocol == RouteProtocol::Boot
        && message.header.kind == RouteType::Unicast
        && !message.header.flags.contains(RouteFlags::Onlink)
        && has_our_key(message)
        && gateway_of(message).is_some()
        && mtu_of(message).is_none()
        && !several
}

/// What the kernel makes of no metric in IPv6 (`IP6_RT_PRIO_USER`).
const NO_METRIC_IN_IPV6: u32 = 1024;

/// The kernel keys a route by table, prefix, type of service and metric; ours differ in the prefix
/// alone.
pub(super) fn has_our_key(message: &RouteMessage) -> bool {
    let none = match message.header.address_family {
        AddressFamily::Inet6 => NO_METRIC_IN_IPV6,
        _other => 0,
    };
    let metric = message
        .attributes
        .iter()
        .any(|part| matches!(part, RouteAttribute::Priority(metric) if *metric != none));
    message.header.table == RouteHeader::RT_TABLE_MAIN && message.header.tos == 0 && !metric
}

/// `None` for what is no prefix of a family that we know; the default route is the block of all addresses.
pub(in crate::kernel) fn destination(message: &RouteMessage) -> Option<Subnet> {
    let everywhere = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _other => return None,
    };
    let base = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(base) => address(base),
        _other => None,
    });
    let len = message.header.destination_prefix_length;
    Subnet::new(base.unwrap_or(everywhere), len)
}

/// The device of a route, or of its first next hop.
pub(in crate::kernel) fn device_of(message: &RouteMessage) -> Option<IfIndex> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(IfIndex(*index)),
        RouteAttribute::MultiPath(hops) => hops.first().map(|hop| IfIndex(hop.interface_index)),
        _other => None,
    })
}
