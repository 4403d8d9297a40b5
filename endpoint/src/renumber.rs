//! Follows the host into another subnet: a container that stays gets an address there.
//!
//! The new record first, then what is inside the container, then the old record. So a pair always
//! has a record, both addresses belong to the container while it has both, and whoever repeats this
//! after a crash finds two records and goes on where the other died. The pool's lock is held
//! throughout: two of these do not meet.

use std::collections::BTreeSet;

use twill_core::device::IfIndex;
use twill_core::ids::{Family, Mac, Mtu, Subnet};
use twill_core::subnet_env::SubnetEnv;
use twill_net::blocking::{Address, Kernel, Link, LinkChange, Route};
use twill_net::netns::Netns;

use crate::boot::boot_id;
use crate::bridge::{self, Wanted};
use crate::error::Error;
use crate::guard;
use crate::host::Host;
use crate::join::{ROUTE_PROTOCOL, default_route, open_ipv6};
use crate::mac::mac_of;
use crate::pool::{Entry, Locked, Pool, Record, Wish, capacity, choose};
use crate::request::{Interface, Owner, Place};
use crate::reserve::{addresses, moving};

/// Where a container is on its host's subnet of now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placement {
    /// Its addresses, one for each family of the network, IPv4 first.
    pub places: Vec<Place>,
    /// Of its interface.
    pub mac: Mac,
    /// What its interface carries.
    pub mtu: Mtu,
}

impl Host {
    /// Brings a container that has been joined to the subnet that the host has now, with the MTU
    /// of now; one that is right is left alone. `None` if the container is not joined, or left in
    /// the meantime. Nobody may attach the same owner at the same time.
    pub fn renumber(&self, owner: &Owner) -> Result<Option<Placement>, Error> {
        let pool = self.pool();
        let locked = pool.lock(&boot_id()?)?;
        // Read under the lock: of two who hold different texts, the later has the newer one.
        let env = self.read_env()?;
        let records = of_owner(&pool, owner)?;
        let (new, old): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| is_of(record, &env));
        let Some(any) = new.first().or(old.first()).cloned() else { return Ok(None) };
        let mut host = Kernel::here()?;
        let Some(mut inside) = enter(&any)? else { return Ok(None) };
        let target = match new.into_iter().next() {
            Some(record) => record,
            None => take(&locked, &pool, &mut host, (&any, &env))?,
        };
        let moved = settle(&mut host, &mut inside, (&target, &old), env.mtu);
        // Who leaves takes the pair away first and looks for records after that.
        if host.link(&target.host_interface)?.is_none() {
            pool.release(&Entry::of(&target))?;
            self.follow_ports(false)?;
            return Ok(None);
        }
        let mac = moved?;
        for record in &old {
            pool.release(&Entry::of(record))?;
        }
        bridge::leave(&mut host, &target, &old, &moving(&pool, &env)?)?;
        self.follow_ports(!target.ports.is_empty())?;
        Ok(Some(Placement { places: target.places().collect(), mac, mtu: env.mtu }))
    }

    /// Gives the bridges of all containers the gateway address and the MTU of now, and takes away
    /// the gateways of former subnets, with the routes there, whoever is left in them: another host
    /// may have them by now. Containers that are kept to their addresses and did not follow may use none
    /// of the host's blocks of now.
    pub fn renumber_bridges(&self) -> Result<(), Error> {
        let pool = self.pool();
        let locked = pool.lock(&boot_id()?)?;
        let given = locked.all_last_given()?;
        let env = self.read_env()?;
        let mut host = Kernel::here()?;
        let records = self.records()?;
        guard::keep_out(&mut host, &records, &env)?;
        let used: BTreeSet<Interface> = records.into_iter().map(|record| record.bridge).collect();
        let usual = Interface::usual();
        for name in used.into_iter().chain([usual]).collect::<BTreeSet<_>>() {
            // A bridge that is not there is made for the next container.
            if host.link(name.as_str())?.is_some() {
                let moving = BTreeSet::new();
                let wanted = Wanted { name: &name, env: &env, moving: &moving, given: &given };
                bridge::ensure(&mut host, &wanted)?;
            }
        }
        self.follow_ports(false)
    }
}

pub(crate) fn of_owner(pool: &Pool, owner: &Owner) -> Result<Vec<Record>, Error> {
    let mut found = Vec::new();
    for entry in pool.entries_of(owner)? {
        found.extend(pool.read(&entry)?);
    }
    Ok(found)
}

/// Is it of the host's blocks of now, of all of them and no others?
fn is_of(record: &Record, env: &SubnetEnv) -> bool {
    record.places().map(|place| place.subnet).eq(env.blocks().map(|blocks| blocks.subnet))
}

/// The container's namespace, and what is in it.
struct Inside {
    netns: Netns,
    kernel: Kernel,
}

/// `None` if the namespace is gone, or another one is at its place.
fn enter(record: &Record) -> Result<Option<Inside>, Error> {
    let Ok(netns) = Netns::open(&record.netns.path) else { return Ok(None) };
    if netns.identity()? != record.netns.identity() {
        return Ok(None);
    }
    let kernel = Kernel::of(&netns)?;
    Ok(Some(Inside { netns, kernel }))
}

/// Writes a record of an address in each of the host's blocks, beside the old one. In a block that has not
/// changed the address stays.
fn take(
    locked: &Locked<'_>,
    pool: &Pool,
    host: &mut Kernel,
    (old, env): (&Record, &SubnetEnv),
) -> Result<Record, Error> {
    let in_use = addresses(&pool.entries()?);
    let give = |subnet: Subnet| {
        if let Some(same) = old.places().find(|place| place.subnet == subnet) {
            return Ok(same);
        }
        let wish =
            Wish { subnet, last_given: locked.last_given(subnet.family())?, preferred: None };
        let address = choose(&wish, &in_use)
            .ok_or_else(|| Error::Exhausted { subnet, usable: capacity(subnet) })?;
        Ok::<_, Error>(Place { address, subnet })
    };
    let Place { address, subnet } = give(env.subnet)?;
    let ipv6 = env.blocks().nth(1).map(|blocks| give(blocks.subnet)).transpose()?;
    let moving = moving(pool, env)?;
    let given = locked.all_last_given()?;
    bridge::ensure(host, &Wanted { name: &old.bridge, env, moving: &moving, given: &given })?;
    let record = Record { address, subnet, ipv6, ..old.clone() };
    locked.write(&record, Some(old))?;
    Ok(record)
}

/// Makes the container's interface what `target` says. Its way out is never without a gateway: the
/// new addresses, the new routes, and only then the old addresses go.
fn settle(
    host: &mut Kernel,
    inside: &mut Inside,
    (target, old): (&Record, &[Record]),
    mtu: Mtu,
) -> Result<Mac, Error> {
    let port = find(host, &target.host_interface)?;
    let link = find(&mut inside.kernel, target.owner.interface.as_str())?;
    fit((host, &port), (&mut inside.kernel, &link), mtu)?;
    let both: Vec<&Record> = old.iter().chain([target]).collect();
    guard::keep(host, &port, &both)?;
    if target.places().any(|place| place.family() == Family::V6) {
        open_ipv6(&inside.netns, &target.owner.interface)?;
    }
    let inside = &mut inside.kernel;
    let row = |Place { address, subnet }: Place| Address {
        link: link.index,
        address,
        prefix_length: subnet.len(),
    };
    let rows = inside.addresses()?;
    for wanted in target.places().map(row).filter(|wanted| !rows.contains(wanted)) {
        inside.ensure_address(wanted)?;
    }
    lead_out(inside, link.index, target)?;
    let kept: Vec<Place> = target.places().collect();
    let former: BTreeSet<Place> =
        old.iter().flat_map(Record::places).filter(|place| !kept.contains(place)).collect();
    for row in former.into_iter().map(row).filter(|row| rows.contains(row)) {
        inside.drop_address(row)?;
    }
    let mut mac = link.mac.ok_or_else(|| Error::Vanished { name: link.name.clone() })?;
    let former: Vec<Mac> = old
        .iter()
        .map(|record| mac_of(record.address))
        .filter(|former| *former != mac_of(target.address))
        .collect();
    // Made from an address that may belong to another container one day.
    if former.contains(&mac) {
        mac = mac_of(target.address);
        inside.change_link(link.index, &LinkChange { mac: Some(mac), ..LinkChange::default() })?;
    }
    guard::hold(host, &port, (target, mac), former)?;
    guard::keep(host, &port, &[target])?;
    Ok(mac)
}

/// The end that receives carries as much as the one that sends, at every moment.
fn fit(
    (host, port): (&mut Kernel, &Link),
    (inside, link): (&mut Kernel, &Link),
    mtu: Mtu,
) -> Result<(), Error> {
    let change = LinkChange { mtu: Some(mtu), ..LinkChange::default() };
    if port.mtu < mtu.bytes() {
        host.change_link(port.index, &change)?;
    }
    if link.mtu != mtu.bytes() {
        inside.change_link(link.index, &change)?;
    }
    if port.mtu > mtu.bytes() {
        host.change_link(port.index, &change)?;
    }
    Ok(())
}

/// A default route of each family by the bridge; a container that was given none gets none.
fn lead_out(inside: &mut Kernel, link: IfIndex, target: &Record) -> Result<(), Error> {
    let routes = inside.routes()?;
    let found: Vec<Route> = routes
        .into_iter()
        .filter(|row| row.destination.len() == 0 && row.link == Some(link))
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    let wanted: Vec<_> = target.places().filter_map(default_route).collect();
    for route in &wanted {
        let same = |row: &&Route| row.destination == route.destination;
        if found.iter().find(same).is_none_or(|row| row.gateway != route.gateway) {
            let (destination, gateway) = (route.destination, route.gateway);
            let link = Some(link);
            inside.put_route(Route { destination, gateway, link, protocol: ROUTE_PROTOCOL })?;
        }
    }
    // Of a family that the network had before.
    let is_former = |row: &&Route| wanted.iter().all(|route| route.destination != row.destination);
    for route in found.iter().filter(is_former) {
        inside.drop_route(*route)?;
    }
    Ok(())
}

fn find(kernel: &mut Kernel, name: &str) -> Result<Link, Error> {
    kernel.link(name)?.ok_or_else(|| Error::Vanished { name: name.to_owned() })
}
