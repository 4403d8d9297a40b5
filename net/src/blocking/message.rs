//! The routing family's messages, built from and turned into our values.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope, RouteType,
};
use twill_core::device::IfIndex;
use twill_core::ids::{Family, Mac, Subnet};

use super::{Address, Bridge, Link, LinkChange, Route, VethEnd, VethPair};
use crate::netns::Netns;

pub(super) fn link_named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

pub(super) fn link_numbered(index: IfIndex) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index.0;
    message
}

pub(super) fn bridge(bridge: &Bridge) -> LinkMessage {
    let mut message = link_named(&bridge.name);
    raise(&mut message);
    message.attributes.push(LinkAttribute::Mtu(bridge.mtu.bytes()));
    // A bridge with an address of its own keeps it; one without takes the lowest of its ports',
    // so that it would change, and containers lose their gateway, as containers come and go.
    message.attributes.push(LinkAttribute::Address(bridge.mac.0.to_vec()));
    // VLAN filtering is off unless asked for, and asking for "off" fails on a kernel without it.
    let kind = LinkInfo::Kind(InfoKind::Bridge);
    message.attributes.push(LinkAttribute::LinkInfo(vec![kind]));
    message
}

pub(super) fn veth_pair(pair: &VethPair<'_>, netns: &Netns) -> LinkMessage {
    // Not up: the kernel would want to raise this end while the other does not exist (ENOTCONN).
    let mut peer = veth_end(&pair.peer);
    peer.attributes.push(LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()));
    let mut message = veth_end(&pair.host);
    raise(&mut message);
    if let Some(bridge) = pair.bridge {
        message.attributes.push(LinkAttribute::Controller(bridge.0));
    }
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    message
}

fn veth_end(end: &VethEnd<'_>) -> LinkMessage {
    let mut message = link_named(end.name);
    message.attributes.push(LinkAttribute::Mtu(end.mtu.bytes()));
    message.attributes.extend(end.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    message
}

pub(super) fn link_change(index: IfIndex, change: &LinkChange) -> LinkMessage {
    let mut message = link_numbered(index);
    if change.up {
        raise(&mut message);
    }
    message.attributes.extend(change.mtu.map(|mtu| LinkAttribute::Mtu(mtu.bytes())));
    message.attributes.extend(change.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    message.attributes.extend(change.bridge.map(|bridge| LinkAttribute::Controller(bridge.0)));
    message
}

/// The port must be in a bridge already.
pub(super) fn hairpin(index: IfIndex, on: bool) -> LinkMessage {
    let mut message = link_numbered(index);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(on)])),
    ]));
    message
}

fn raise(message: &mut LinkMessage) {
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
}

pub(super) fn address(address: Address) -> AddressMessage {
    let mut message = all_addresses();
    message.header.family = family(Family::of(address.address));
    message.header.prefix_len = address.prefix_length;
    message.header.index = address.link.0;
    message.attributes =
        vec![AddressAttribute::Local(address.address), AddressAttribute::Address(address.address)];
    if address.address.is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    // With two addresses or fewer there is no room for a broadcast address (RFC 3021).
    let block = Subnet::containing(address.address, address.prefix_length);
    if let Some(IpAddr::V4(last)) = block.filter(|block| block.len() < 31).map(Subnet::last) {
        message.attributes.push(AddressAttribute::Broadcast(last));
    }
    message
}

/// Of every family.
pub(super) fn all_addresses() -> AddressMessage {
    AddressMessage::default()
}

fn family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

pub(super) fn route(route: &Route) -> RouteMessage {
    let mut message = all_routes(route.destination.family());
    message.header.destination_prefix_length = route.destination.len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = route.protocol.into();
    message.header.kind = RouteType::Unicast;
    message.header.scope =
        if route.gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
    let destination = RouteAddress::from(route.destination.base());
    message.attributes = vec![RouteAttribute::Destination(destination)];
    let gateway = route.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into()));
    message.attributes.extend(gateway);
    message.attributes.extend(route.link.map(|link| RouteAttribute::Oif(link.0)));
    message
}

pub(super) fn all_routes(of: Family) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(of);
    message
}

pub(super) fn to_link(message: LinkMessage) -> Option<Link> {
    let mut link = Link {
        index: IfIndex(message.header.index),
        name: String::new(),
        kind: None,
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        bridge: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.bridge = Some(IfIndex(index)),
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok().map(Mac),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.into_iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _other => None,
                });
            }
            _other => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

pub(super) fn to_address(message: &AddressMessage) -> Option<Address> {
    // `Address` is the other end on a point-to-point link; `Local` is always ours. The kernel leaves it
    // out with IPv6 if there is no other end.
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            _other => {}
        }
    }
    let link = IfIndex(message.header.index);
    Some(Address { link, address: found?, prefix_length: message.header.prefix_len })
}

/// `None` for what is no unicast route of the main table, or of another family: a kernel without IPv6
/// lists all that it has.
pub(super) fn to_route(of: Family, message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let main = header.table == RouteHeader::RT_TABLE_MAIN && header.kind == RouteType::Unicast;
    if !main || header.address_family != family(of) {
        return None;
    }
    let mut base = match of {
        Family::V4 => IpAddr::from([0; 4]),
        Family::V6 => IpAddr::from([0; 16]),
    };
    let (mut gateway, mut link) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => base = to_ip(address)?,
            RouteAttribute::Gateway(address) => gateway = to_ip(address),
            RouteAttribute::Oif(index) => link = Some(IfIndex(*index)),
            _other => {}
        }
    }
    let destination = Subnet::containing(base, header.destination_prefix_length)?;
    Some(Route { destination, gateway, link, protocol: header.protocol.into() })
}

fn to_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _other => None,
    }
}
