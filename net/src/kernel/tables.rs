//! The rows towards peers: what there is of ours, and one change at a time.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use nix::libc;
use rtnetlink::RouteMessageBuilder;
use twill_core::device::IfIndex;
use twill_core::ids::{Gateway, Mac, Subnet, Underlay};
use twill_core::plan::{Change, Hop, Tables};

use super::{Kernel, reason, unless};
use crate::{Error, ROUTE_PROTOCOL};

impl Kernel {
    /// The rows on `device` that are ours, and no others.
    ///
    /// Ours are: permanent entries of the device's own forwarding database and permanent neighbours,
    /// and routes of the main table, without metric, that carry [`ROUTE_PROTOCOL`] or, as flanneld
    /// writes them, the protocol `boot`.
    pub async fn dump_tables(&self, device: IfIndex) -> Result<Tables, Error> {
        let mut tables = Tables::default();
        for message in self.neighbours(AddressFamily::Bridge, "forwarding databases").await? {
            tables.forwarding.extend(forwarding_row(device, &message));
        }
        for message in self.neighbours(AddressFamily::Inet, "neighbours").await? {
            tables.neighbours.extend(neighbour_row(device, &message));
        }
        for message in self.routes().await? {
            tables.routes.extend(route_row(device, &message));
        }
        Ok(tables)
    }

    /// Writes or drops one row on `device`. A row that is there is replaced, one that is gone is a
    /// success.
    ///
    /// A route that somebody else has to the same block is an error and stays as it is.
    pub async fn apply(&self, device: IfIndex, change: Change) -> Result<(), Error> {
        let applied = match change {
            Change::PutForwarding(mac, host) => self.put_forwarding(device, mac, host).await,
            Change::PutNeighbour(gateway, mac) => self.put_neighbour(device, gateway, mac).await,
            Change::PutRoute(subnet, hop) => return self.put_route(device, subnet, hop).await,
            Change::DropRoute(subnet, hop) => self.drop_route(device, subnet, hop).await,
            Change::DropNeighbour(gateway) => self.drop_neighbour(device, gateway).await,
            Change::DropForwarding(mac) => self.drop_forwarding(device, mac).await,
        };
        applied.map_err(|source| Error::Apply { change, source })
    }

    async fn neighbours(
        &self,
        family: AddressFamily,
        table: &'static str,
    ) -> Result<Vec<NeighbourMessage>, Error> {
        let ask = move |handle: &rtnetlink::Handle| {
            handle.neighbours().get().set_address_family(family).execute()
        };
        self.list(table, ask).await
    }

    /// The IPv4 routes of all tables.
    pub(super) async fn routes(&self) -> Result<Vec<RouteMessage>, Error> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        self.list("routes", |handle| handle.route().get(all).execute()).await
    }

    async fn put_forwarding(&self, device: IfIndex, mac: Mac, host: Underlay) -> io::Result<()> {
        let request = self.handle.neighbours().add_bridge(device.0, &mac.0);
        let request = request.destination(IpAddr::V4(host.0)).flags(NeighbourFlags::Own);
        request.replace().execute().await.map_err(reason)
    }

    async fn put_neighbour(&self, device: IfIndex, gateway: Gateway, mac: Mac) -> io::Result<()> {
        let request = self.handle.neighbours().add(device.0, IpAddr::V4(gateway.0));
        request.link_layer_address(&mac.0).replace().execute().await.map_err(reason)
    }

    async fn put_route(&self, device: IfIndex, subnet: Subnet, hop: Hop) -> Result<(), Error> {
        let failed = |source| Error::Apply { change: Change::PutRoute(subnet, hop), source };
        let message = route_message(device, subnet, hop);
        // `replace` would take the place of anybody's route: first without, to see whose it is.
        let added = self.handle.route().add(message.clone()).execute().await;
        match added.map_err(reason) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            other => return other.map_err(failed),
        }
        for route in self.routes().await?.iter().filter(|route| takes_place_of(route, subnet)) {
            if !is_ours(device, route) {
                let through = self.name_of(route).await?;
                return Err(Error::ForeignRoute { subnet, through });
            }
        }
        let replaced = self.handle.route().add(message).replace().execute().await;
        replaced.map_err(|error| failed(reason(error)))
    }

    async fn drop_route(&self, device: IfIndex, subnet: Subnet, hop: Hop) -> io::Result<()> {
        for protocol in [RouteProtocol::Other(ROUTE_PROTOCOL), RouteProtocol::Boot] {
            let mut message = route_message(device, subnet, hop);
            message.header.protocol = protocol;
            // The kernel takes this for "of any scope", and a missing metric for any metric.
            message.header.scope = RouteScope::NoWhere;
            let dropped = self.handle.route().del(message).execute().await;
            unless(dropped, &[libc::ESRCH])?;
        }
        Ok(())
    }

    async fn drop_neighbour(&self, device: IfIndex, gateway: Gateway) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = device.0;
        let gateway = NeighbourAddress::Inet(gateway.0);
        message.attributes.push(NeighbourAttribute::Destination(gateway));
        let dropped = self.handle.neighbours().del(message).execute().await;
        unless(dropped, &[libc::ENOENT])
    }

    async fn drop_forwarding(&self, device: IfIndex, mac: Mac) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = device.0;
        message.header.flags = NeighbourFlags::Own;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        let dropped = self.handle.neighbours().del(message).execute().await;
        unless(dropped, &[libc::ENOENT])
    }

    async fn name_of(&self, route: &RouteMessage) -> Result<String, Error> {
        let through = device_of(route);
        let links = self.links().await?;
        let link = links.into_iter().find(|link| Some(link.index) == through);
        Ok(link.map_or_else(|| "nowhere".to_owned(), |link| link.name))
    }
}

fn forwarding_row(device: IfIndex, message: &NeighbourMessage) -> Option<(Mac, Underlay)> {
    if !is_permanent(device, message) || !message.header.flags.contains(NeighbourFlags::Own) {
        return None;
    }
    let (mut mac, mut host) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = unicast(bytes),
            NeighbourAttribute::Destination(address) => host = ipv4(address).map(Underlay),
            // Another port, network or interface than the device's own: not a row that we write.
            NeighbourAttribute::Port(_)
            | NeighbourAttribute::Vni(_)
            | NeighbourAttribute::IfIndex(_) => return None,
            _other => {}
        }
    }
    mac.zip(host)
}

fn neighbour_row(device: IfIndex, message: &NeighbourMessage) -> Option<(Gateway, Mac)> {
    if !is_permanent(device, message) {
        return None;
    }
    let (mut gateway, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = unicast(bytes),
            NeighbourAttribute::Destination(address) => gateway = ipv4(address).map(Gateway),
            _other => {}
        }
    }
    gateway.zip(mac)
}

fn is_permanent(device: IfIndex, message: &NeighbourMessage) -> bool {
    // The state is a set of bits, and the forwarding database combines them.
    let permanent = u16::from(NeighbourState::Permanent);
    let state = u16::from(message.header.state);
    message.header.ifindex == device.0 && state & permanent != 0
}

/// Rows of groups, and of nobody, which is the default destination, are not peers.
fn unicast(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac).filter(|mac| mac.is_unicast())
}

fn ipv4(address: &NeighbourAddress) -> Option<Ipv4Addr> {
    match address {
        NeighbourAddress::Inet(address) => Some(*address),
        // A row of the bridge family does not say of which family its destination is.
        NeighbourAddress::Other(bytes) => {
            <[u8; 4]>::try_from(bytes.as_slice()).ok().map(Into::into)
        }
        _other => None,
    }
}

fn route_message(device: IfIndex, subnet: Subnet, hop: Hop) -> RouteMessage {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(subnet.base(), subnet.len())
        .output_interface(device.0)
        .protocol(RouteProtocol::Other(ROUTE_PROTOCOL));
    match hop {
        Hop::Device => route.build(),
        Hop::Onlink(gateway) => {
            let mut message = route.gateway(gateway.0).build();
            message.header.flags |= RouteFlags::Onlink;
            message
        }
    }
}

fn route_row(device: IfIndex, message: &RouteMessage) -> Option<(Subnet, Hop)> {
    if !is_ours(device, message) || device_of(message) != Some(device) {
        return None;
    }
    let hop = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => Some(Gateway(*gateway)),
        _other => None,
    });
    Some((destination(message)?, hop.map_or(Hop::Device, Hop::Onlink)))
}

/// Carries our mark, on whatever device, or is flanneld's on `device`.
fn is_ours(device: IfIndex, message: &RouteMessage) -> bool {
    let marked = match message.header.protocol {
        RouteProtocol::Other(ROUTE_PROTOCOL) => true,
        RouteProtocol::Boot => device_of(message) == Some(device),
        _other => false,
    };
    marked && message.header.kind == RouteType::Unicast && has_our_key(message)
}

/// The kernel keys a route by table, prefix, type of service and metric; ours differ in the prefix
/// alone.
fn has_our_key(message: &RouteMessage) -> bool {
    let metric =
        message.attributes.iter().any(|part| matches!(part, RouteAttribute::Priority(1..)));
    message.header.table == RouteHeader::RT_TABLE_MAIN && message.header.tos == 0 && !metric
}

fn takes_place_of(message: &RouteMessage, subnet: Subnet) -> bool {
    has_our_key(message) && destination(message) == Some(subnet)
}

/// `None` for what is not an IPv4 prefix; the default route is 0.0.0.0/0.
pub(super) fn destination(message: &RouteMessage) -> Option<Subnet> {
    let base = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(base)) => Some(*base),
        _other => None,
    });
    let len = message.header.destination_prefix_length;
    Subnet::new(base.unwrap_or(Ipv4Addr::UNSPECIFIED), len)
}

/// The device of a route, or of its first next hop.
pub(super) fn device_of(message: &RouteMessage) -> Option<IfIndex> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(IfIndex(*index)),
        RouteAttribute::MultiPath(hops) => hops.first().map(|hop| IfIndex(hop.interface_index)),
        _other => None,
    })
}
