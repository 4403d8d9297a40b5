//! What there is, for whoever looks for a fault: interfaces with their addresses, and where the kernel
//! would send a packet. Changes nothing.

use std::io;
use std::net::IpAddr;

use futures::TryStreamExt;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia,
};
use nix::libc;
use rtnetlink::RouteMessageBuilder;
use twill_core::device::{IfIndex, Keyed, Seen, Sort, Tunnelled};
use twill_core::ids::Family;
use twill_core::trace::Lookup;

use super::family::{address_family, route_address};
use super::link::{Kind, Link, Shape};
use super::tables::device_of;
use super::{Kernel, reason};
use crate::Error;

/// A packet that is not there, of which the kernel is asked where it would go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    /// Where it goes.
    pub to: IpAddr,
    /// Whose it is and where it comes in; one of this host's own has neither.
    pub from: Option<(IpAddr, IfIndex)>,
}

impl Kernel {
    /// All interfaces, with their addresses.
    pub async fn interfaces(&self) -> Result<Vec<Seen>, Error> {
        let links = self.list("interfaces", |handle| handle.link().get().execute()).await?;
        let addresses = self.every_address().await?;
        let mut all: Vec<Seen> = links.iter().map(seen).collect();
        for interface in &mut all {
            if let Sort::Wireguard(keyed) = &mut interface.sort {
                let device = self.wireguard(interface.index).await?;
                *keyed = device.map(|device| device.keyed).unwrap_or_default();
            }
        }
        for interface in &mut all {
            let own = addresses.iter().filter(|(index, ..)| *index == interface.index);
            interface.addresses = own.map(|(_, address, len)| (*address, *len)).collect();
        }
        Ok(all)
    }

    /// Where the kernel would send that packet, by its own word: rules, all tables, its checks of where
    /// packets come from. `all` gives interfaces their names.
    pub async fn lookup(&self, packet: Packet, all: &[Seen]) -> Result<Lookup, Error> {
        let request = self.handle.route().get(question(packet)).execute();
        let answer: Result<Vec<RouteMessage>, _> = request.try_collect().await;
        match answer.map_err(reason) {
            Ok(routes) => Ok(routes.first().map_or_else(nobody_knows, |route| told(route, all))),
            Err(error) => refusal(packet, &error)
                .map(Lookup::Refuses)
                .ok_or(Error::LookUp { destination: packet.to, source: error }),
        }
    }

    async fn every_address(&self) -> Result<Vec<(IfIndex, IpAddr, u8)>, Error> {
        use netlink_packet_route::address::AddressAttribute::{Address, Local};
        let ask = |handle: &rtnetlink::Handle| handle.address().get().execute();
        let messages = self.list("addresses", ask).await?;
        let address = messages.iter().filter_map(|message| {
            // On a link with two ends the other one is `Address`, and ours `Local`.
            let parts = &message.attributes;
            let local = parts.iter().find_map(|part| match part {
                Local(address) => Some(*address),
                _other => None,
            });
            let other = parts.iter().find_map(|part| match part {
                Address(address) => Some(*address),
                _other => None,
            });
            let header = &message.header;
            Some((IfIndex(header.index), local.or(other)?, header.prefix_len))
        });
        Ok(address.collect())
    }
}

fn seen(message: &LinkMessage) -> Seen {
    let link = Link::from(message);
    let bridge = message.attributes.iter().find_map(|part| match part {
        LinkAttribute::Controller(index) => Some(IfIndex(*index)),
        _other => None,
    });
    let sort = match link.kind {
        Kind::Vxlan(shape) => Sort::Vxlan(tunnelled(&shape)),
        Kind::Tun => Sort::Tun,
        Kind::Wireguard => Sort::Wireguard(Keyed::default()),
        Kind::Other => Sort::Other,
    };
    Seen {
        index: link.index,
        name: link.name,
        sort,
        mtu: link.mtu,
        up: link.up,
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        mac: link.mac,
        bridge,
        addresses: Vec::new(),
    }
}

fn tunnelled(shape: &Shape) -> Tunnelled {
    let Shape { vni, link, local, port, learning, gbp, df, alien, .. } = *shape;
    let alien = alien || df != 0;
    Tunnelled { vni, port, local, link, learning, gbp, alien }
}

fn question(packet: Packet) -> RouteMessage {
    let whole = |address: IpAddr| Family::of(address).bits();
    let mut message = RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
    message.header.address_family = address_family(Family::of(packet.to));
    message.header.destination_prefix_length = whole(packet.to);
    message.attributes.push(RouteAttribute::Destination(route_address(packet.to)));
    if let Some((source, IfIndex(index))) = packet.from {
        message.header.source_prefix_length = whole(source);
        message.attributes.push(RouteAttribute::Source(route_address(source)));
        message.attributes.push(RouteAttribute::Iif(index));
    }
    message
}

fn told(route: &RouteMessage, all: &[Seen]) -> Lookup {
    match route.header.kind {
        RouteType::Local => return Lookup::Local,
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => {
            return Lookup::Refuses("a route says that nothing is to be sent there".to_owned());
        }
        _other => {}
    }
    let Some(index) = device_of(route) else { return nobody_knows() };
    let known = all.iter().find(|seen| seen.index == index);
    let interface = known.map_or_else(|| format!("interface {}", index.0), |it| it.name.clone());
    Lookup::Sends { index, interface, gateway: gateway(route) }
}

fn gateway(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|part| match part {
        RouteAttribute::Gateway(RouteAddress::Inet(address))
        | RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        RouteAttribute::Gateway(RouteAddress::Inet6(address))
        | RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        _other => None,
    })
}

fn nobody_knows() -> Lookup {
    Lookup::Refuses("the kernel names no interface".to_owned())
}

/// What its error number says about the packet (`ip_route_input_slow`, `fib_validate_source`); `None`
/// if it is about the question.
fn refusal(packet: Packet, error: &io::Error) -> Option<String> {
    let why = match error.raw_os_error()? {
        libc::ENETUNREACH => "there is no route".to_owned(),
        libc::EHOSTUNREACH if packet.from.is_some() => {
            "there is no route, or what comes in there is not passed on".to_owned()
        }
        libc::EHOSTUNREACH => "a route says that it cannot be reached".to_owned(),
        libc::EXDEV => {
            "the source check (rp_filter) of that interface: its way back leads elsewhere"
                .to_owned()
        }
        libc::EACCES => "a route or rule prohibits it".to_owned(),
        // Martians: an address of this host as the source, for one.
        libc::EINVAL => "a route or rule drops it, or its source cannot come from there".to_owned(),
        libc::ENODEV => "that interface is gone".to_owned(),
        libc::ENETDOWN => "that interface is down".to_owned(),
        _other => return None,
    };
    Some(why)
}
