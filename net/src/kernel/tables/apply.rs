//! Writes and drops rows, many in one exchange with the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use nix::libc;
use rtnetlink::RouteMessageBuilder;
use twill_core::device::IfIndex;
use twill_core::ids::{Family, Gateway, Mac, Subnet, Underlay};
use twill_core::plan::{Change, Hop, Route};
use twill_core::serving::is_tunnel;

use super::super::Kernel;
use super::super::family::{address_family, route_address};
use super::rows::{destination, device_of, gateway_of, has_our_key};
use crate::{Error, ROUTE_PROTOCOL};

/// So many requests go to the kernel at once: more make little difference, and all of them may fail.
const BATCH: usize = 64;

/// Makes a row, or takes the place of the one with its key.
pub(super) const PUT: u16 = NLM_F_CREATE | NLM_F_REPLACE;

impl Kernel {
    /// Writes and drops rows, in this order; the answer has those that could not be, which keep none
    /// of the others away. A row that is there is replaced, one that is gone is a success.
    ///
    /// A route that somebody else has to the same block is an error and stays as it is.
    ///
    /// # Errors
    ///
    /// When there is no talking with the kernel at all: some of the rows may be written.
    pub async fn apply(&self, changes: &[Change]) -> Result<BTreeMap<Change, Error>, Error> {
        let mut refused = BTreeMap::new();
        // A route that takes another's place does so before anything goes that the other points at.
        for changes in changes.chunk_by(|one, next| is_drop(one) == is_drop(next)) {
            let (mut taken, mut stones) = (Vec::new(), Vec::new());
            for (change, source) in self.write_alike(changes).await? {
                match change {
                    Change::PutRoute(subnet, route)
                        if source.raw_os_error() == Some(libc::EEXIST) =>
                    {
                        taken.push((subnet, route));
                    }
                    Change::PutRoute(subnet, route) if leads_elsewhere(route.hop, &source) => {
                        taken.push((subnet, route));
                        stones.extend(stepping_stone(change, route.hop));
                    }
                    change => _ = refused.insert(change, unwritten(change, source)),
                }
            }
            refused.extend(self.take_over(taken, &stones).await?);
        }
        Ok(refused)
    }

    /// Writes those of the changes that are puts, or those that are drops: peers of `WireGuard` before the routes
    /// that lead to them, and after those have gone.
    async fn write_alike(&self, changes: &[Change]) -> Result<Vec<(Change, io::Error)>, Error> {
        let (wires, rows): (Vec<Change>, Vec<Change>) = changes
            .iter()
            .partition(|change| matches!(change, Change::PutWire(..) | Change::DropWire(..)));
        let rows = rows.iter().flat_map(|change| requests(*change)).collect();
        let mut refused = Vec::new();
        if wires.first().is_some_and(is_drop) {
            refused.extend(self.write(rows).await?);
            refused.extend(self.write_wires(wires).await?);
        } else {
            refused.extend(self.write_wires(wires).await?);
            refused.extend(self.write(rows).await?);
        }
        Ok(refused)
    }

    /// Routes to blocks that have one: it is replaced if it is ours.
    async fn take_over(
        &self,
        taken: Vec<(Subnet, Route)>,
        stones: &[(Change, RouteMessage)],
    ) -> Result<Vec<(Change, Error)>, Error> {
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        let mut held: BTreeMap<Subnet, Vec<RouteMessage>> = BTreeMap::new();
        let families: BTreeSet<Family> =
            taken.iter().map(|(subnet, _route)| subnet.family()).collect();
        for family in families {
            for route in self.main_routes(family).await? {
                if let (Some(block), true) = (destination(&route), has_our_key(&route)) {
                    held.entry(block).or_default().push(route);
                }
            }
        }
        let links = self.links().await?.into_iter();
        let names: BTreeMap<_, _> = links.map(|link| (link.index, link.name)).collect();
        let name_of = |route| {
            let name = device_of(route).and_then(|index| names.get(&index));
            name.map_or("nowhere", String::as_str)
        };
        let (mut requests, mut refused) = (Vec::new(), Vec::new());
        for (subnet, wanted) in taken {
            let change = Change::PutRoute(subnet, wanted);
            let mut others = held.get(&subnet).into_iter().flatten();
            match others.find(|route| !gives_way((route, name_of(route)), wanted.hop)) {
                Some(route) => {
                    let through = name_of(route).to_owned();
                    refused.push((change, Error::ForeignRoute { subnet, through }));
                }
                None => requests.push((change, Message::NewRoute(route(subnet, wanted)), PUT)),
            }
        }
        let stones = |message: fn(RouteMessage) -> Message, flags| {
            let of =
                |(change, stone): &(Change, RouteMessage)| (*change, message(stone.clone()), flags);
            stones.iter().map(of).collect()
        };
        // What cannot be written shows in the route that needs it.
        self.write(stones(Message::NewRoute, NLM_F_CREATE | NLM_F_EXCL)).await?;
        let failed = self.write(requests).await?.into_iter();
        refused.extend(failed.map(|(change, source)| (change, unwritten(change, source))));
        // If we die before this, they are routes on our device that nobody wants.
        self.write(stones(Message::DelRoute, 0)).await?;
        Ok(refused)
    }

    /// What the kernel refused, and in which words, but for what it says is so already.
    pub(super) async fn write(
        &self,
        requests: Vec<Request>,
    ) -> Result<Vec<(Change, io::Error)>, Error> {
        let written = self.converse(move |conversation| {
            let mut refused = Vec::new();
            for batch in requests.chunks(BATCH) {
                let messages = batch.iter().map(|(_, message, flags)| (message.clone(), *flags));
                for ((change, ..), answer) in batch.iter().zip(conversation.ask(messages)?) {
                    match answer {
                        Err(error) if !is_gone(change, &error) => refused.push((*change, error)),
                        _done_or_already_so => {}
                    }
                }
            }
            Ok(refused)
        });
        written.await.map_err(|source| Error::WriteRows { source })
    }
}

/// Does another route lead to the gateway by another device, though we say that it is on the link? With
/// IPv6 the kernel asks (`ip6_route_check_nh_onlink`).
fn leads_elsewhere(hop: Hop, error: &io::Error) -> bool {
    matches!(hop, Hop::Onlink(_, Gateway(IpAddr::V6(_))))
        && error.raw_os_error() == Some(libc::EINVAL)
}

/// The route by which it finds the gateway where we say that it is, while the block still has a route to
/// another device: to drop that one first would send packets astray.
fn stepping_stone(change: Change, hop: Hop) -> Option<(Change, RouteMessage)> {
    let Hop::Onlink(device, Gateway(gateway)) = hop else { return None };
    let block = Subnet::new(gateway, 128)?;
    Some((change, route(block, Hop::Device(device).into())))
}

fn unwritten(change: Change, source: io::Error) -> Error {
    Error::Apply { change: Box::new(change), source }
}

/// A message, its flags, and what it is for.
pub(super) type Request = (Change, Message, u16);

fn requests(change: Change) -> Vec<Request> {
    let messages = match change {
        // Those are no rows of rtnetlink.
        Change::PutWire(..) | Change::DropWire(..) => Vec::new(),
        Change::PutForwarding(device, mac, host) => {
            vec![(Message::NewNeighbour(forwarding(device, mac, host)), PUT)]
        }
        Change::PutNeighbour(device, gateway, mac) => {
            vec![(Message::NewNeighbour(neighbour(device, gateway, Some(mac))), PUT)]
        }
        // To replace would be to take the place of anybody's route: first without, to see whose it is.
        Change::PutRoute(subnet, wanted) => {
            vec![(Message::NewRoute(route(subnet, wanted)), NLM_F_CREATE | NLM_F_EXCL)]
        }
        Change::DropRoute(subnet, unwanted) => {
            let dropped = dropped_routes(subnet, unwanted).into_iter();
            dropped.map(|route| (Message::DelRoute(route), 0)).collect()
        }
        Change::DropNeighbour(device, gateway) => {
            vec![(Message::DelNeighbour(neighbour(device, gateway, None)), 0)]
        }
        // That one destination: frames may go to another one by the same address.
        Change::DropForwarding(device, mac, host) => {
            vec![(Message::DelNeighbour(forwarding(device, mac, host)), 0)]
        }
    };
    messages.into_iter().map(|(message, flags)| (change, message, flags)).collect()
}

fn is_drop(change: &Change) -> bool {
    match change {
        Change::PutWire(..)
        | Change::PutForwarding(..)
        | Change::PutNeighbour(..)
        | Change::PutRoute(..) => false,
        Change::DropRoute(..)
        | Change::DropNeighbour(..)
        | Change::DropForwarding(..)
        | Change::DropWire(..) => true,
    }
}

/// Is that a row to drop which is not there?
fn is_gone(change: &Change, error: &io::Error) -> bool {
    let missing = match change {
        Change::DropRoute(..) => libc::ESRCH,
        Change::DropNeighbour(..) | Change::DropForwarding(..) => libc::ENOENT,
        Change::PutWire(..)
        | Change::DropWire(..)
        | Change::PutForwarding(..)
        | Change::PutNeighbour(..)
        | Change::PutRoute(..) => {
            return false;
        }
    };
    error.raw_os_error() == Some(missing)
}

fn forwarding(device: IfIndex, mac: Mac, host: Underlay) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = device.0;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes = vec![
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
        NeighbourAttribute::Destination(neighbour_address(host.0)),
    ];
    message
}

fn neighbour(device: IfIndex, gateway: Gateway, mac: Option<Mac>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = address_family(Family::of(gateway.0));
    message.header.ifindex = device.0;
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::Destination(neighbour_address(gateway.0)));
    let mac = mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message.attributes.extend(mac);
    message
}

fn neighbour_address(address: IpAddr) -> NeighbourAddress {
    match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    }
}

pub(super) fn route(subnet: Subnet, Route { hop, mtu }: Route) -> RouteMessage {
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
    let mtu = mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu.bytes())]));
    message.attributes.extend(mtu);
    if matches!(hop, Hop::Onlink(..)) {
        message.header.flags |= RouteFlags::Onlink;
    }
    message
}

/// The row with our mark and, on a tunnel device, the one that flanneld wrote.
fn dropped_routes(subnet: Subnet, unwanted: Route) -> Vec<RouteMessage> {
    let ours = [RouteProtocol::Other(ROUTE_PROTOCOL)];
    let and_flannels = [RouteProtocol::Other(ROUTE_PROTOCOL), RouteProtocol::Boot];
    let protocols: &[RouteProtocol] = match unwanted.hop {
        Hop::Via(..) => &ours,
        Hop::Device(_) | Hop::Onlink(..) => &and_flannels,
    };
    protocols.iter().map(|protocol| dropped_route(subnet, unwanted, *protocol)).collect()
}

pub(super) fn dropped_route(
    subnet: Subnet,
    unwanted: Route,
    protocol: RouteProtocol,
) -> RouteMessage {
    let mut message = route(subnet, unwanted);
    message.header.protocol = protocol;
    // The kernel takes this for "of any scope", and a missing metric for any metric.
    message.header.scope = RouteScope::NoWhere;
    message
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
