//! Writes and drops rows, one at a time.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use nix::libc;
use rtnetlink::RouteMessageBuilder;
use twill_core::device::IfIndex;
use twill_core::ids::{Family, Gateway, Mac, Subnet, Underlay};
use twill_core::plan::{Change, Hop};
use twill_core::serving::is_tunnel;

use super::super::family::{address_family, route_address};
use super::super::{Kernel, reason, unless};
use super::rows::{destination, device_of, gateway_of, has_our_key};
use crate::{Error, ROUTE_PROTOCOL};

impl Kernel {
    /// Writes or drops one row. A row that is there is replaced, one that is gone is a success.
    ///
    /// A route that somebody else has to the same block is an error and stays as it is.
    pub async fn apply(&self, change: Change) -> Result<(), Error> {
        let applied = match change {
            Change::PutForwarding(device, mac, host) => {
                self.put_forwarding(device, mac, host).await
            }
            Change::PutNeighbour(device, gateway, mac) => {
                self.put_neighbour(device, gateway, mac).await
            }
            Change::PutRoute(subnet, hop) => return self.put_route(subnet, hop).await,
            Change::DropRoute(subnet, hop) => self.drop_route(subnet, hop).await,
            Change::DropNeighbour(device, gateway) => self.drop_neighbour(device, gateway).await,
            Change::DropForwarding(device, mac, host) => {
                self.drop_forwarding(device, mac, host).await
            }
        };
        applied.map_err(|source| Error::Apply { change, source })
    }

    async fn put_forwarding(&self, device: IfIndex, mac: Mac, host: Underlay) -> io::Result<()> {
        let request = self.handle.neighbours().add_bridge(device.0, &mac.0);
        let request = request.destination(host.0).flags(NeighbourFlags::Own);
        request.replace().execute().await.map_err(reason)
    }

    async fn put_neighbour(&self, device: IfIndex, gateway: Gateway, mac: Mac) -> io::Result<()> {
        let request = self.handle.neighbours().add(device.0, gateway.0);
        request.link_layer_address(&mac.0).replace().execute().await.map_err(reason)
    }

    async fn put_route(&self, subnet: Subnet, hop: Hop) -> Result<(), Error> {
        let failed = |source| Error::Apply { change: Change::PutRoute(subnet, hop), source };
        let message = route_message(subnet, hop);
        // `replace` would take the place of anybody's route: first without, to see whose it is.
        let added = self.handle.route().add(message.clone()).execute().await;
        match added.map_err(reason) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            other => return other.map_err(failed),
        }
        for route in
            self.routes(subnet.family()).await?.iter().filter(|route| takes_place_of(route, subnet))
        {
            let through = self.name_of(route).await?;
            if !gives_way((route, &through), hop) {
                return Err(Error::ForeignRoute { subnet, through });
            }
        }
        let replaced = self.handle.route().add(message).replace().execute().await;
        replaced.map_err(|error| failed(reason(error)))
    }

    async fn drop_route(&self, subnet: Subnet, hop: Hop) -> io::Result<()> {
        let ours = [RouteProtocol::Other(ROUTE_PROTOCOL)];
        let and_flannels = [RouteProtocol::Other(ROUTE_PROTOCOL), RouteProtocol::Boot];
        let protocols: &[RouteProtocol] = match hop {
            Hop::Via(..) => &ours,
            Hop::Device(_) | Hop::Onlink(..) => &and_flannels,
        };
        for protocol in protocols {
            let mut message = route_message(subnet, hop);
            message.header.protocol = *protocol;
            // The kernel takes this for "of any scope", and a missing metric for any metric.
            message.header.scope = RouteScope::NoWhere;
            let dropped = self.handle.route().del(message).execute().await;
            unless(dropped, &[libc::ESRCH])?;
        }
        Ok(())
    }

    async fn drop_neighbour(&self, device: IfIndex, gateway: Gateway) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = address_family(Family::of(gateway.0));
        message.header.ifindex = device.0;
        message.attributes.push(NeighbourAttribute::Destination(neighbour_address(gateway.0)));
        let dropped = self.handle.neighbours().del(message).execute().await;
        unless(dropped, &[libc::ENOENT])
    }

    /// That one destination: frames may go to another one by the same address.
    async fn drop_forwarding(&self, device: IfIndex, mac: Mac, host: Underlay) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = device.0;
        message.header.flags = NeighbourFlags::Own;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        message.attributes.push(NeighbourAttribute::Destination(neighbour_address(host.0)));
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

fn route_message(subnet: Subnet, hop: Hop) -> RouteMessage {
    let (device, gateway) = match hop {
        Hop::Device(device) => (device, None),
        Hop::Via(uplink, host) => (uplink, Some(host.0)),
        Hop::Onlink(device, gateway) => (device, Some(gateway.0)),
    };
    let mut message = RouteMessageBuilder::<Ipv4Addr>::new()
        .protocol(RouteProtocol::Other(ROUTE_PROTOCOL))
        .output_interface(device.0)
        .build();
    message.header.address_family = address_family(subnet.family());
    message.header.destination_prefix_length = subnet.len();
    message.attributes.push(RouteAttribute::Destination(route_address(subnet.base())));
    let gateway = gateway.map(|gateway| RouteAttribute::Gateway(route_address(gateway)));
    message.attributes.extend(gateway);
    if matches!(hop, Hop::Onlink(..)) {
        message.header.flags |= RouteFlags::Onlink;
    }
    message
}

fn neighbour_address(address: IpAddr) -> NeighbourAddress {
    match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    }
}

/// May `hop` take the place of that route? If it carries our mark, on whatever device, or is what a
/// flanneld wrote for the same: on a tunnel device, or to the same host.
fn gives_way((message, device): (&RouteMessage, &str), hop: Hop) -> bool {
    let marked = match message.header.protocol {
        RouteProtocol::Other(ROUTE_PROTOCOL) => true,
        RouteProtocol::Boot => {
            let same = |(uplink, host): (IfIndex, Underlay)| {
                device_of(message) == Some(uplink) && gateway_of(message) == Some(host.0)
            };
            is_tunnel(device) || matches!(hop, Hop::Via(uplink, host) if same((uplink, host)))
        }
        _other => false,
    };
    marked && message.header.kind == RouteType::Unicast && has_our_key(message)
}

fn takes_place_of(message: &RouteMessage, subnet: Subnet) -> bool {
    has_our_key(message) && destination(message) == Some(subnet)
}
