//! The rows towards peers: what there is of ours, and one change at a time.

mod apply;
mod rows;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;
use rtnetlink::RouteMessageBuilder;
use twill_core::device::IfIndex;
use twill_core::ids::{Family, Subnet};
use twill_core::plan::{Link, Tables};

use super::Kernel;
use super::family::address_family;
use crate::Error;
use rows::{forwarding_row, has_our_key, lead, neighbour_row, route_row};

pub(super) use rows::{address, destination, device_of, gateway_of, is_marked};

/// Where rows of ours can be.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The tunnel devices.
    pub devices: &'a [IfIndex],
    /// The interface to the other hosts.
    pub uplink: IfIndex,
    /// The overlay networks: on the uplink a route of ours leads into one of them.
    pub networks: &'a [Subnet],
}

/// The kernel's rows at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dump {
    /// Those that are ours, and no others.
    pub tables: Tables,
    /// Whom the uplink reaches without a router, by the routes that others made.
    pub link: Link,
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
        let mut tables = Tables::default();
        for message in self.neighbours(AddressFamily::Bridge, "forwarding databases").await? {
            tables.forwarding.extend(forwarding_row(ground, &message));
        }
        for message in self.neighbours(AddressFamily::Inet, "neighbours").await? {
            tables.neighbours.extend(neighbour_row(ground, &message));
        }
        let routes = self.routes(Family::V4).await?;
        let mut foreign = BTreeSet::new();
        for message in &routes {
            match route_row(ground, message) {
                Some((subnet, hop)) if !foreign.contains(&subnet) => {
                    tables.routes.insert((subnet, hop));
                }
                Some(_overruled) => {}
                None if has_our_key(message) => foreign.extend(destination(message)),
                None => {}
            }
        }
        let link = Link::new(routes.iter().filter_map(|route| lead(ground.uplink, route)));
        Ok(Dump { tables, link })
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

    /// The routes of all tables, of one family.
    pub(super) async fn routes(&self, family: Family) -> Result<Vec<RouteMessage>, Error> {
        let mut all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        all.header.address_family = address_family(family);
        self.list("routes", |handle| handle.route().get(all).execute()).await
    }
}
