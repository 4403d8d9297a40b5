//! The bridge that a host's containers share.

use std::collections::BTreeSet;
use std::net::IpAddr;

use twill_core::ids::{Family, Subnet};
use twill_core::subnet_env::{Blocks, SubnetEnv};
use twill_net::blocking::{Address, Bridge, Kernel, Link, LinkChange, Route};
use twill_net::sysctl;

use crate::error::Error;
use crate::mac::mac_of;
use crate::overlap;
use crate::pool::Record;
use crate::request::Interface;

/// What the bridge has to be.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a Interface,
    pub(crate) env: &'a SubnetEnv,
    /// The addresses of containers that are still to be moved out of a subnet that the host had before.
    pub(crate) moving: &'a BTreeSet<IpAddr>,
    /// The addresses that were given last, one of each family that the host has or had.
    pub(crate) given: &'a [IpAddr],
}

/// Makes the bridge, or mends it: up, with the subnet's MTU and a gateway address of each
/// family, on a host that forwards. Refuses to take over what belongs to somebody else.
///
/// The caller holds the pool's lock: two subnets do not fight over the addresses.
pub(crate) fn ensure(kernel: &mut Kernel, wanted: &Wanted<'_>) -> Result<Link, Error> {
    let addresses = kernel.addresses()?;
    let found = look(kernel, (wanted.name, wanted.env), &addresses)?;
    let bridge = match &found {
        Some(bridge) => bridge.clone(),
        None => make(kernel, wanted)?,
    };
    let mended = mend(kernel, wanted, &bridge, &addresses);
    if let (Err(_), None) = (&mended, &found) {
        // The first cause is the one to tell; a bridge that stays is mended next time.
        drop(kernel.drop_link(bridge.index));
    }
    mended.map(|()| bridge)
}

/// The bridge of that name, if it is there; an error if something stands in its way.
pub(crate) fn look(
    kernel: &mut Kernel,
    (name, env): (&Interface, &SubnetEnv),
    addresses: &[Address],
) -> Result<Option<Link>, Error> {
    let found = kernel.link(name.as_str())?;
    let not_a_bridge = |link: &Link| link.kind.as_deref() != Some("bridge");
    if let Some(other) = found.as_ref().filter(|link| not_a_bridge(link)) {
        return Err(Error::NotABridge { name: other.name.clone() });
    }
    let index = found.as_ref().map(|bridge| bridge.index);
    let routes = kernel.routes()?;
    for subnet in env.blocks().map(|blocks| blocks.subnet) {
        let gateway = subnet.first_host();
        let elsewhere = |row: &&Address| row.address == gateway && Some(row.link) != index;
        if let Some(row) = addresses.iter().find(elsewhere) {
            let interface = kernel.link_at(row.link)?.map(|link| link.name).unwrap_or_default();
            return Err(Error::GatewayElsewhere { address: gateway, interface });
        }
        for route in overlap::suspects(subnet, index, &routes) {
            let interface = name_of(kernel, route)?;
            if !overlap::is_tunnel(&interface) {
                return Err(Error::Overlap { subnet, route: route.destination, interface });
            }
        }
    }
    Ok(found)
}

fn name_of(kernel: &mut Kernel, route: &Route) -> Result<String, Error> {
    let link = route.link.map(|index| kernel.link_at(index)).transpose()?.flatten();
    Ok(link.map_or_else(|| "unknown".to_owned(), |link| link.name))
}

fn make(kernel: &mut Kernel, wanted: &Wanted<'_>) -> Result<Link, Error> {
    let name = wanted.name.as_str();
    let mac = mac_of(wanted.env.subnet.first_host());
    kernel.ensure_bridge(&Bridge { name: name.to_owned(), mac, mtu: wanted.env.mtu })?;
    kernel.link(name)?.ok_or_else(|| Error::Vanished { name: name.to_owned() })
}

fn mend(
    kernel: &mut Kernel,
    wanted: &Wanted<'_>,
    bridge: &Link,
    addresses: &[Address],
) -> Result<(), Error> {
    let mtu = wanted.env.mtu;
    if !bridge.up || bridge.mtu != mtu.bytes() {
        let change = LinkChange { up: true, mtu: Some(mtu), ..LinkChange::default() };
        kernel.change_link(bridge.index, &change)?;
    }
    for subnet in wanted.env.blocks().map(|blocks| blocks.subnet) {
        if subnet.family() == Family::V6 {
            sysctl::ensure_ipv6_of_containers(&bridge.name)?;
        }
        let (address, prefix_length) = (subnet.first_host(), subnet.len());
        let gateway = Address { link: bridge.index, address, prefix_length };
        if !addresses.contains(&gateway) {
            // IPv6 has one row for an address, whatever the length.
            let other = |row: &&Address| row.link == bridge.index && row.address == address;
            for row in addresses.iter().filter(other) {
                kernel.drop_address(*row)?;
            }
            kernel.ensure_address(gateway)?;
        }
    }
    for row in addresses.iter().filter(|row| row.link == bridge.index && is_stale(row, wanted)) {
        kernel.drop_address(*row)?;
    }
    for Blocks { subnet, .. } in wanted.env.blocks() {
        match subnet.family() {
            Family::V4 => drop(sysctl::ensure_forwarding()?),
            Family::V6 => forward_ipv6(kernel)?,
        }
    }
    Ok(())
}

/// The interfaces that have a default route from a router's advertisement are to keep it.
fn forward_ipv6(kernel: &mut Kernel) -> Result<(), Error> {
    /// `RTPROT_RA`.
    const ADVERTISED: u8 = 9;
    let mut believing = Vec::new();
    for route in kernel.routes()? {
        if route.destination.len() == 0 && route.protocol == ADVERTISED {
            believing.push(name_of(kernel, &route)?);
        }
    }
    let believing: Vec<&str> = believing.iter().map(String::as_str).collect();
    sysctl::ensure_ipv6_forwarding(&believing)?;
    Ok(())
}

/// A container that moved has left these: where nobody else is to be moved from, the gateway goes, as
/// nothing but its record said that there was such a subnet.
pub(crate) fn leave(
    kernel: &mut Kernel,
    target: &Record,
    old: &[Record],
    moving: &BTreeSet<IpAddr>,
) -> Result<(), Error> {
    let Some(bridge) = kernel.link(target.bridge.as_str())? else { return Ok(()) };
    let kept = |subnet: &Subnet| {
        target.places().any(|place| place.subnet.overlaps(*subnet))
            || moving.iter().any(|address| subnet.contains(*address))
    };
    let left: BTreeSet<Subnet> =
        old.iter().flat_map(Record::places).map(|place| place.subnet).collect();
    let addresses = kernel.addresses()?;
    for subnet in left.into_iter().filter(|subnet| !kept(subnet)) {
        let gateway = Address {
            link: bridge.index,
            address: subnet.first_host(),
            prefix_length: subnet.len(),
        };
        if addresses.contains(&gateway) {
            kernel.drop_address(gateway)?;
        }
    }
    Ok(())
}

/// Was this the gateway of a subnet that the host had before, and does nobody need it to be moved? The
/// subnet may be another host's by now, and its containers are not reached as long as this is here.
/// Other addresses on the bridge are the administrator's.
fn is_stale(row: &Address, wanted: &Wanted<'_>) -> bool {
    let Some(block) = Subnet::containing(row.address, row.prefix_length) else { return false };
    let was_gateway = row.address == block.first_host();
    let mut blocks = wanted.env.blocks();
    let mut networks = wanted.env.blocks().map(|blocks| blocks.network);
    let of_the_overlay = match networks.find(|network| network.overlaps(block)) {
        Some(network) => network.holds(block),
        // Of a network that was.
        None => wanted.given.iter().any(|address| block.contains(*address)),
    };
    let needed = wanted.moving.iter().any(|address| block.contains(*address));
    blocks.all(|blocks| blocks.subnet != block) && was_gateway && of_the_overlay && !needed
}
