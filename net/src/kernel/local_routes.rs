//! What this host already has in its routing table, to find a network that would clash with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netlink_packet_route::route::RouteHeader;
use twill_core::device::IfIndex;
use twill_core::ids::{Family, Subnet};

use super::Kernel;
use super::tables::{destination, device_of, gateway_of, is_like_flannels, is_marked};
use crate::Error;

/// A block of addresses that leads to an interface of this host.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct LocalRoute {
    /// The block.
    pub block: Subnet,
    /// The interface; `None` for a route without one, such as a blackhole.
    pub device: Option<IfIndex>,
    /// The interface's name, `-` without one.
    pub name: String,
    /// The gateway, if there is one.
    pub via: Option<IpAddr>,
    /// Is it as a flanneld writes those to hosts on the link? So are those that people write by hand.
    pub like_flannels: bool,
}

impl Kernel {
    /// The routes of the main table that do not carry our mark, and the ranges of the interfaces'
    /// addresses, of one family. The default route is left out: it overlaps with everything and clashes
    /// with nothing.
    pub async fn local_routes(&self, family: Family) -> Result<Vec<LocalRoute>, Error> {
        let links = self.links().await?.into_iter();
        let names: BTreeMap<_, _> = links.map(|link| (link.index, link.name)).collect();
        let mut found = BTreeSet::new();
        for route in self.main_routes(family).await? {
            if route.header.table == RouteHeader::RT_TABLE_MAIN && !is_marked(&route) {
                let (block, like) = (destination(&route), is_like_flannels(&route));
                let row = |block| (block, device_of(&route), gateway_of(&route), like);
                found.extend(block.map(row));
            }
        }
        for address in self.addresses(family).await? {
            let block = Subnet::containing(address.local, address.prefix_len);
            found.extend(block.map(|block| (block, Some(address.index), None, false)));
        }
        let found = found.into_iter().filter(|(block, ..)| block.len() > 0);
        Ok(found
            .map(|(block, device, via, like_flannels)| {
                let name = device.and_then(|device| names.get(&device));
                let name = name.map_or_else(|| "-".to_owned(), Clone::clone);
                LocalRoute { block, device, name, via, like_flannels }
            })
            .collect())
    }
}
