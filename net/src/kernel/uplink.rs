//! Chooses the interface that reaches the other hosts, as flannel chooses it.

use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt;
use netlink_packet_route::address::AddressFlags;
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use regex::Regex;
use rtnetlink::RouteMessageBuilder;
use twill_core::device::{IfIndex, Uplink};
use twill_core::ids::{Family, Mtu, Underlay};

use super::family::{address_family, route_address};
use super::link::{Address, Link};
use super::tables::{address, destination, device_of};
use super::{Kernel, reason};
use crate::Error;

/// What the administrator said about the interface to use. Nothing at all means: the one of the
/// default route.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Of which family its address has to be.
    pub family: Family,
    /// Names or addresses, of which the first that exists is taken.
    pub interfaces: Vec<String>,
    /// If none of those does, patterns for addresses and then for names.
    pub patterns: Vec<Regex>,
    /// Without any of the above: the interface over which this address is reached.
    pub can_reach: Option<IpAddr>,
    /// Without any of the above: the interface that has this address.
    pub public_ip: Option<IpAddr>,
}

impl Choice {
    /// Nothing was said.
    #[must_use]
    pub fn any(family: Family) -> Self {
        Self {
            family,
            interfaces: Vec::new(),
            patterns: Vec::new(),
            can_reach: None,
            public_ip: None,
        }
    }
}

impl Kernel {
    /// The interface that carries tunnel packets, with its own address there.
    ///
    /// # Errors
    ///
    /// When no interface is what `choice` asks for; the error names what was looked for and what
    /// this host has.
    pub async fn uplink(&self, choice: &Choice) -> Result<Uplink, Error> {
        let family = choice.family;
        let host =
            Host { links: self.links().await?, addresses: self.addresses(family).await?, family };
        if !choice.interfaces.is_empty() || !choice.patterns.is_empty() {
            return host.by_name_or_pattern(choice);
        }
        match (choice.can_reach, choice.public_ip) {
            (Some(destination), _) => self.reaching(&host, destination).await,
            (None, Some(address)) => host.by_address(address),
            (None, None) => host.by_default_route(&self.main_routes(family).await?),
        }
    }

    async fn reaching(&self, host: &Host, destination: IpAddr) -> Result<Uplink, Error> {
        let mut request = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let family = Family::of(destination);
        request.header.address_family = address_family(family);
        request.header.destination_prefix_length = family.bits();
        request.attributes.push(RouteAttribute::Destination(route_address(destination)));
        let route: Result<Vec<RouteMessage>, _> =
            self.handle.route().get(request).execute().try_collect().await;
        let route = route.map_err(|error| Error::RouteTo { destination, source: reason(error) })?;
        let sought = || format!("reaches {destination}");
        let route = route.first().ok_or_else(|| host.none(sought()))?;
        let link = device_of(route).and_then(|index| host.link(index));
        let link = link.ok_or_else(|| host.none(sought()))?;
        let source = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::PrefSource(source) => address(source),
            _other => None,
        });
        match source {
            Some(source) => uplink(link, source),
            None => host.with_best_address(link),
        }
    }
}

/// The interfaces and addresses of this host at one moment.
struct Host {
    links: Vec<Link>,
    addresses: Vec<Address>,
    /// That of all of them.
    family: Family,
}

impl Host {
    fn by_name_or_pattern(&self, choice: &Choice) -> Result<Uplink, Error> {
        let named = choice.interfaces.iter().filter_map(|name| self.by_name(name));
        let matching = choice.patterns.iter().filter_map(|pattern| self.by_pattern(pattern));
        if let Some(uplink) = named.chain(matching).next() {
            return uplink;
        }
        let named = choice.interfaces.iter().map(|name| format!("`{name}`"));
        let matching = choice.patterns.iter().map(|pattern| format!("/{pattern}/"));
        let sought: Vec<String> = named.chain(matching).collect();
        Err(self.none(format!("matches {}", sought.join(" or "))))
    }

    /// `None` if there is no such interface, so that the next name has its turn.
    fn by_name(&self, name: &str) -> Option<Result<Uplink, Error>> {
        if let Ok(address) = name.parse() {
            return self.by_address(address).ok().map(Ok);
        }
        let link = self.links.iter().find(|link| link.name == name)?;
        Some(self.with_best_address(link))
    }

    fn by_pattern(&self, pattern: &Regex) -> Option<Result<Uplink, Error>> {
        let matches = |address: &&Address| pattern.is_match(&address.local.to_string());
        if let Some(address) = self.addresses.iter().find(matches) {
            return Some(uplink(self.link(address.index)?, address.local));
        }
        let link = self.links.iter().find(|link| pattern.is_match(&link.name))?;
        Some(self.with_best_address(link))
    }

    fn by_address(&self, address: IpAddr) -> Result<Uplink, Error> {
        let found = self.addresses.iter().find(|found| found.local == address);
        let link = found.and_then(|found| self.link(found.index));
        uplink(link.ok_or_else(|| self.none(format!("has the address {address}")))?, address)
    }

    fn by_default_route(&self, routes: &[RouteMessage]) -> Result<Uplink, Error> {
        // The kernel lists them by metric, lowest first.
        let default = routes.iter().find(|route| {
            route.header.table == RouteHeader::RT_TABLE_MAIN
                && route.header.kind == RouteType::Unicast
                && destination(route).is_some_and(|block| block.len() == 0)
        });
        let link = default.and_then(device_of).and_then(|index| self.link(index));
        let link = link.ok_or_else(|| self.none("has the default route".to_owned()))?;
        self.with_best_address(link)
    }

    fn link(&self, index: IfIndex) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    fn with_best_address(&self, link: &Link) -> Result<Uplink, Error> {
        let own = self.addresses.iter().filter(|address| address.index == link.index);
        // One of IPv6 that every interface gives itself says nothing to who does not name the link with it.
        let usable = own.filter(|address| {
            let of_link = address.local.is_ipv6() && is_link_local(address.local);
            !of_link && !address.flags.contains(AddressFlags::Deprecated)
        });
        // Of equals the first is taken, in the kernel's order.
        let best = usable.min_by_key(|address| {
            let permanent = address.flags.contains(AddressFlags::Permanent);
            let secondary = address.flags.contains(AddressFlags::Secondary);
            (is_link_local(address.local), !permanent, secondary)
        });
        let best =
            best.ok_or_else(|| Error::NoAddress { name: link.name.clone(), family: self.family })?;
        uplink(link, best.local)
    }

    fn none(&self, sought: String) -> Error {
        let describe = |link: &Link| {
            let own = self.addresses.iter().filter(|address| address.index == link.index);
            let own: Vec<String> = own.map(|address| address.local.to_string()).collect();
            if own.is_empty() {
                link.name.clone()
            } else {
                format!("{} ({})", link.name, own.join(", "))
            }
        };
        let present: Vec<String> = self.links.iter().map(describe).collect();
        Error::NoUplink { sought, present: present.join(", ") }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn uplink(link: &Link, address: IpAddr) -> Result<Uplink, Error> {
    let useless = || Error::UselessMtu { name: link.name.clone(), mtu: link.mtu };
    // Loopback says 65536, one more than an IPv4 packet can have.
    let mtu = Mtu::new(link.mtu.min(u32::from(u16::MAX))).ok_or_else(useless)?;
    Ok(Uplink { index: link.index, name: link.name.clone(), address: Underlay(address), mtu })
}
