//! Follows the host into another subnet: a container that stays gets an address there.
//!
//! The new record first, then what is inside the container, then the old record. So a pair always
//! has a record, both addresses belong to the container while it has both, and whoever repeats this
//! after a crash finds two records and goes on where the other died. The pool's lock is held
//! throughout: two of these do not meet.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use twill_core::device::IfIndex;
use twill_core::ids::{Ipv4Subnet, Mac, Mtu};
use twill_core::subnet_env::Ipv4Env;
use twill_net::blocking::{Address, Kernel, Link, LinkChange, Route};
use twill_net::netns::Netns;

use crate::bridge::{self, Wanted, mac_of};
use crate::error::Error;
use crate::guard;
use crate::host::Host;
use crate::join::ROUTE_PROTOCOL;
use crate::pool::{Entry, Locked, Pool, Record, Wish, capacity, choose};
use crate::request::{Interface, Owner};
use crate::reserve::{addresses, boot_id, moving};

/// Where a container is on its host's subnet of now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placement {
    /// Its address.
    pub address: Ipv4Addr,
    /// The host's block.
    pub subnet: Ipv4Subnet,
    /// The bridge's address.
    pub gateway: Ipv4Addr,
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
            records.into_iter().partition(|record| record.subnet == env.subnet);
        let Some(any) = new.first().or(old.first()).cloned() else { return Ok(None) };
        let mut host = Kernel::here()?;
        let Some(mut inside) = enter(&any)? else { return Ok(None) };
        let target = match new.into_iter().next() {
            Some(record) => record,
            None => take(&locked, &pool, &mut host, (&any, &env))?,
        };
        let moved = settle(&mut host, &mut inside, (&target, &old), &env);
        // Who leaves takes the pair away first and looks for records after that.
        if host.link(&target.host_interface)?.is_none() {
            pool.release(&Entry::of(&target))?;
            return Ok(None);
        }
        let mac = moved?;
        for record in &old {
            pool.release(&Entry::of(record))?;
        }
        let Ipv4Env { subnet, mtu, .. } = env;
        Ok(Some(Placement {
            address: target.address,
            subnet,
            gateway: subnet.first_host(),
            mac,
            mtu,
        }))
    }

    /// Gives the bridges of all containers the gateway address and the MTU of now, and takes away
    /// the gateways of former subnets, with the routes there, whoever is left in them: another host
    /// may have them by now.
    pub fn renumber_bridges(&self) -> Result<(), Error> {
        let pool = self.pool();
        let _locked = pool.lock(&boot_id()?)?;
        let env = self.read_env()?;
        let mut host = Kernel::here()?;
        let used: BTreeSet<Interface> =
            self.records()?.into_iter().map(|record| record.bridge).collect();
        let usual = Interface::usual();
        for name in used.into_iter().chain([usual]).collect::<BTreeSet<_>>() {
            // A bridge that is not there is made for the next container.
            if host.link(name.as_str())?.is_some() {
                let moving = BTreeSet::new();
                bridge::ensure(&mut host, &Wanted { name: &name, env: &env, moving: &moving })?;
            }
        }
        Ok(())
    }
}

fn of_owner(pool: &Pool, owner: &Owner) -> Result<Vec<Record>, Error> {
    let mut found = Vec::new();
    for entry in pool.entries_of(owner)? {
        found.extend(pool.read(&entry)?);
    }
    Ok(found)
}

/// `None` if the namespace is gone, or another one is at its place.
fn enter(record: &Record) -> Result<Option<Kernel>, Error> {
    let Ok(netns) = Netns::open(&record.netns.path) else { return Ok(None) };
    if netns.identity()? != record.netns.identity() {
        return Ok(None);
    }
    Ok(Some(Kernel::of(&netns)?))
}

/// Writes a record of an address in the subnet of now, beside the old one.
fn take(
    locked: &Locked<'_>,
    pool: &Pool,
    host: &mut Kernel,
    (old, env): (&Record, &Ipv4Env),
) -> Result<Record, Error> {
    let subnet = env.subnet;
    let wish = Wish { subnet, last_given: locked.last_given()?, preferred: None };
    let in_use = addresses(&pool.entries()?);
    let address = choose(&wish, &in_use)
        .ok_or_else(|| Error::Exhausted { subnet, usable: capacity(subnet) })?;
    let moving = moving(pool, subnet)?;
    bridge::ensure(host, &Wanted { name: &old.bridge, env, moving: &moving })?;
    let record = Record { address, subnet, ..old.clone() };
    locked.write(&record)?;
    Ok(record)
}

/// Makes the container's interface what `target` says. Its way out is never without a gateway: the
/// new address, the new route, and only then the old address goes.
fn settle(
    host: &mut Kernel,
    inside: &mut Kernel,
    (target, old): (&Record, &[Record]),
    env: &Ipv4Env,
) -> Result<Mac, Error> {
    let port = find(host, &target.host_interface)?;
    let link = find(inside, target.owner.interface.as_str())?;
    fit((host, &port), (inside, &link), env.mtu)?;
    let own = |address, prefix_length| Address { link: link.index, address, prefix_length };
    let both: Vec<&Record> = old.iter().chain([target]).collect();
    guard::keep(host, &port, &both)?;
    let rows = inside.addresses()?;
    let wanted = own(target.address, env.subnet.len());
    if !rows.contains(&wanted) {
        inside.ensure_address(wanted)?;
    }
    lead_out(inside, link.index, env.subnet)?;
    for former in old {
        let row = own(former.address, former.subnet.len());
        if rows.contains(&row) {
            inside.drop_address(row)?;
        }
    }
    let mut mac = link.mac.ok_or_else(|| Error::Vanished { name: link.name.clone() })?;
    let former = || old.iter().map(|record| mac_of(record.address));
    // Made from an address that may belong to another container one day.
    if former().any(|former| mac == former) {
        mac = mac_of(target.address);
        inside.change_link(link.index, &LinkChange { mac: Some(mac), ..LinkChange::default() })?;
    }
    guard::hold(host, &port, (target, mac), former())?;
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

fn lead_out(inside: &mut Kernel, link: IfIndex, subnet: Ipv4Subnet) -> Result<(), Error> {
    let gateway = Some(subnet.first_host());
    let default = |row: &&Route| row.destination.len() == 0 && row.link == Some(link);
    let routes = inside.routes()?;
    let found = routes.iter().find(default);
    // A container that was given none gets none.
    if let Some(route) = found.filter(|route| route.gateway != gateway) {
        inside.put_route(Route { gateway, protocol: ROUTE_PROTOCOL, ..*route })?;
    }
    Ok(())
}

fn find(kernel: &mut Kernel, name: &str) -> Result<Link, Error> {
    kernel.link(name)?.ok_or_else(|| Error::Vanished { name: name.to_owned() })
}
