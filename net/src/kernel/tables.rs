//! The rows towards peers: what there is of ours, and changes.

mod adopt;
mod apply;
mod rows;

use std::collections::BTreeSet;

use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{RouteHeader, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use nix::libc;
use twill_core::device::IfIndex;
use twill_core::ids::{Family, Subnet};
use twill_core::plan::{Change, Link, Tables};
use twill_core::trace::SESSION;
use twill_core::wireguard::PublicKey;

use super::Kernel;
use super::family::address_family;
use crate::Error;
use rows::{forwarding_row, has_our_key, lead, neighbour_row, route_row};

pub(super) use rows::{address, destination, device_of, gateway_of, is_like_flannels, is_marked};

/// Where rows of ours can be.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The tunnel devices.
    pub devices: &'a [IfIndex],
    /// Those of them that are of `WireGuard`.
    pub keyed: &'a [IfIndex],
    /// The interface to the other hosts.
    pub uplink: IfIndex,
    /// The overlay networks: on the uplink a route of ours leads into one of them. Rows of a family
    /// that none of them is of are not looked at; without any, those of IPv4 are.
    pub networks: &'a [Subnet],
}

/// The kernel's rows at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dump {
    /// Those that are ours, and no others.
    pub tables: Tables,
    /// Whom the uplink reaches without a router, and what the ways carry, by the routes that others
    /// made.
    pub link: Link,
    /// Which peers of `WireGuard` have a session.
    pub alive: BTreeSet<(IfIndex, PublicKey)>,
}

impl Kernel {
    /// The rows on this ground.
    ///
    /// Ours are: permanent entries of a tunnel device's own forwarding database and permanent
    /// neighbours on it, and routes of the main table, without metric, that carry [`ROUTE_PROTOCOL`]
    /// or, on a tunnel device, as flanneld writes them, the protocol `boot`. One before which the
    /// kernel goes by somebody else's counts as missing: whoever puts it is told whose that is.
    ///
    /// [`ROUTE_PROTOCOL`]: crate::ROUTE_PROTOCOL
    pub async fn dump(&self, ground: Ground<'_>) -> Result<Dump, Error> {
        let (mut tables, mut alive) = (Tables::default(), BTreeSet::new());
        let mut families: BTreeSet<Family> =
            ground.networks.iter().map(|network| network.family()).collect();
        if families.is_empty() {
            families.insert(Family::V4);
        }
        for device in ground.devices {
            if ground.keyed.contains(device) {
                for (key, met) in self.wireguard(*device).await?.unwrap_or_default().peers {
                    tables.wires.insert((*device, key), met.wire);
                    if met.ago().is_some_and(|ago| ago.as_secs() <= SESSION) {
                        alive.insert((*device, key));
                    }
                }
                continue;
            }
            for message in self.neighbours((*device, AddressFamily::Bridge)).await? {
                tables.forwarding.extend(forwarding_row(ground, &message));
            }
            for family in &families {
                for message in self.neighbours((*device, address_family(*family))).await? {
                    tables.neighbours.extend(neighbour_row(ground, &message));
                }
            }
        }
        let mut routes = Vec::new();
        for family in families {
            routes.extend(self.main_routes(family).await?);
        }
        let mut foreign = BTreeSet::new();
        for message in &routes {
            match route_row(ground, message) {
                Some((subnet, route)) if !foreign.contains(&subnet) => {
                    tables.routes.insert((subnet, route));
                }
                Some(_overruled) => {}
                None if has_our_key(message) => foreign.extend(destination(message)),
                None => {}
            }
        }
        let link = Link::new(routes.iter().filter_map(|route| lead(ground.uplink, route)));
        Ok(Dump { tables, link, alive })
    }

    /// Drops our forwarding entries of a device whose address is about to change, and says how to write them
    /// again. Each entry keeps, for each core, the way that packets took with the source address of then,
    /// whatever the device's is now: peers refuse what comes from there.
    pub(super) async fn take_forwarding(&self, device: IfIndex) -> Result<Vec<Change>, Error> {
        let ground = Ground { devices: &[device], keyed: &[], uplink: device, networks: &[] };
        let rows = self.neighbours((device, AddressFamily::Bridge)).await?;
        let rows: Vec<_> = rows.iter().filter_map(|row| forwarding_row(ground, row)).collect();
        let drops = rows.iter().map(|(on, mac, host)| Change::DropForwarding(*on, *mac, *host));
        self.put_forwarding(&drops.collect::<Vec<_>>()).await?;
        let puts = rows.iter().map(|(on, mac, host)| Change::PutForwarding(*on, *mac, *host));
        Ok(puts.collect())
    }

    /// Applies such changes, all of them.
    pub(super) async fn put_forwarding(&self, changes: &[Change]) -> Result<(), Error> {
        let mut refused = self.apply(changes).await?;
        refused.pop_first().map_or(Ok(()), |(_change, error)| Err(error))
    }

    /// The neighbours on a device, or the rows of its forwarding database.
    async fn neighbours(
        &self,
        (device, family): (IfIndex, AddressFamily),
    ) -> Result<Vec<NeighbourMessage>, Error> {
        let mut question = NeighbourMessage::default();
        question.header.family = family;
        question.attributes.push(NeighbourAttribute::IfIndex(device.0));
        let bridge = family == AddressFamily::Bridge;
        let table = if bridge { "forwarding databases" } else { "neighbours" };
        let rows = self.rows((table, Message::GetNeighbour(question))).await?.into_iter();
        let neighbour = |row| if let Message::NewNeighbour(row) = row { Some(row) } else { None };
        Ok(rows.filter_map(neighbour).collect())
    }

    /// The routes of the main table, of one family.
    pub(super) async fn main_routes(&self, family: Family) -> Result<Vec<RouteMessage>, Error> {
        self.routes((family, RouteHeader::RT_TABLE_MAIN)).await
    }

    /// The routes of all tables, of one family.
    pub(super) async fn all_routes(&self, family: Family) -> Result<Vec<RouteMessage>, Error> {
        self.routes((family, RouteHeader::RT_TABLE_UNSPEC)).await
    }

    async fn routes(&self, (family, table): (Family, u8)) -> Result<Vec<RouteMessage>, Error> {
        let mut question = RouteMessage::default();
        question.header.address_family = address_family(family);
        question.header.table = table;
        let rows = match self.rows(("routes", Message::GetRoute(question))).await {
            // A table begins with its first route.
            Err(Error::List { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {
                Vec::new()
            }
            rows => rows?,
        };
        let route = |row| if let Message::NewRoute(row) = row { Some(row) } else { None };
        Ok(rows.into_iter().filter_map(route).collect())
    }

    async fn rows(
        &self,
        (table, question): (&'static str, Message),
    ) -> Result<Vec<Message>, Error> {
        let rows = self.converse(move |conversation| conversation.dump(&question)).await;
        rows.map_err(|source| Error::List { table, source })
    }
}
