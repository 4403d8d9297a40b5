//! Takes an address out of the pool, and takes back what the dead have left in it.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use twill_core::ids::Ipv4Subnet;
use twill_core::subnet_env::Ipv4Env;
use twill_net::blocking::{Kernel, Link};
use twill_net::netns::Netns;

use crate::bridge::{self, Wanted};
use crate::error::Error;
use crate::host::Host;
use crate::pool::{
    Entry, NetnsRecord, Pool, Record, Wish, capacity, choose, host_interfaces, is_usable,
};
use crate::request::{Keeper, Owner, Request};

/// Finds an address, makes sure of the bridge, writes the record: under the pool's lock, which is
/// held for nothing else. `preferred` is what the owner had before.
pub(crate) fn reserve(
    of: &Host,
    host: &mut Kernel,
    request: &Request<'_>,
    preferred: Option<Ipv4Addr>,
) -> Result<Reserved, Error> {
    let pool = &of.pool();
    let boot_id = boot_id()?;
    let netns = NetnsRecord::new(request.netns.path().to_owned(), request.netns.identity()?);
    let locked = pool.lock(&boot_id)?;
    // Read under the lock: who moves containers out of a former subnet misses nobody.
    let env = of.read_env()?;
    check(request, env.subnet)?;
    // The bridge keeps the gateways of former subnets only for containers that live.
    sweep(pool, host, |entry| !env.subnet.contains(entry.address))?;
    let wish = Wish { subnet: env.subnet, last_given: locked.last_given()?, preferred };
    let address = match request.address {
        Some(address) => take(pool, host, address).map(|()| address)?,
        None => next(pool, host, &wish)?,
    };
    let entries = pool.entries()?;
    let moving = moving(pool, env.subnet)?;
    let wanted = Wanted { name: &request.bridge, env: &env, moving: &moving };
    let bridge = bridge::ensure(host, &wanted)?;
    let record = Record {
        owner: request.owner.clone(),
        address,
        subnet: env.subnet,
        bridge: request.bridge.clone(),
        host_interface: free_name(&request.owner, &entries)?,
        netns,
        boot_id,
        made_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
        spoof_check: request.spoof_check,
    };
    locked.write(&record)?;
    Ok(Reserved { env, record, bridge })
}

/// An address, and what it was given under.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) env: Ipv4Env,
    pub(crate) record: Record,
    pub(crate) bridge: Link,
}

/// Refuses a request that this host's subnet cannot fulfil, whatever else is in use.
pub(crate) fn check(request: &Request<'_>, subnet: Ipv4Subnet) -> Result<(), Error> {
    if request.netns.identity()? == Netns::current()?.identity()? {
        return Err(Error::SameNamespace { netns: request.netns.path().to_owned() });
    }
    match request.address {
        Some(address) if !subnet.contains(address) => {
            Err(Error::AddressOutside { address, subnet })
        }
        Some(address) if !is_usable(subnet, address) => {
            Err(Error::AddressReserved { address, subnet })
        }
        _usable_or_any => Ok(()),
    }
}

/// A requested address: free, or its owner's name is told.
fn take(pool: &Pool, host: &mut Kernel, address: Ipv4Addr) -> Result<(), Error> {
    sweep(pool, host, |entry| entry.address == address)?;
    for entry in pool.entries()?.iter().filter(|entry| entry.address == address) {
        if let Some(record) = pool.read(entry)? {
            return Err(Error::AddressTaken { address, owner: Box::new(record.owner) });
        }
    }
    Ok(())
}

/// The dead are looked for only when the living have taken all.
fn next(pool: &Pool, host: &mut Kernel, wish: &Wish) -> Result<Ipv4Addr, Error> {
    let subnet = wish.subnet;
    if let Some(address) = choose(wish, &addresses(&pool.entries()?)) {
        return Ok(address);
    }
    sweep(pool, host, |_entry| true)?;
    choose(wish, &addresses(&pool.entries()?))
        .ok_or_else(|| Error::Exhausted { subnet, usable: capacity(subnet) })
}

/// Takes back those of the `suspected` addresses that nobody can use any more.
fn sweep(pool: &Pool, host: &mut Kernel, suspected: impl Fn(&Entry) -> bool) -> Result<(), Error> {
    for entry in pool.entries()?.iter().filter(|entry| suspected(entry)) {
        let Some(record) = pool.read(entry)? else { continue };
        if is_dead(host, &record)? {
            pool.release(entry)?;
        }
    }
    Ok(())
}

/// The interface goes with the namespace, but there is none yet while a container is being joined:
/// both must be gone. A path can lead to another namespace by now, so the number is compared.
fn is_dead(host: &mut Kernel, record: &Record) -> Result<bool, Error> {
    if host.link(&record.host_interface)?.is_some() {
        return Ok(false);
    }
    let there = Netns::open(&record.netns.path).and_then(|netns| netns.identity());
    Ok(!there.is_ok_and(|identity| identity == record.netns.identity()))
}

pub(crate) fn addresses(entries: &[Entry]) -> BTreeSet<Ipv4Addr> {
    entries.iter().map(|entry| entry.address).collect()
}

/// The addresses outside of `subnet` that will be given back: their containers can be moved, and need
/// their gateway until then. Nobody can move those of other runtimes.
pub(crate) fn moving(pool: &Pool, subnet: Ipv4Subnet) -> Result<BTreeSet<Ipv4Addr>, Error> {
    let mut moving = BTreeSet::new();
    for entry in pool.entries()?.iter().filter(|entry| !subnet.contains(entry.address)) {
        let record = pool.read(entry)?;
        moving.extend(
            record.filter(|record| record.owner.keeper == Keeper::Twill).map(|_| entry.address),
        );
    }
    Ok(moving)
}

fn free_name(owner: &Owner, entries: &[Entry]) -> Result<String, Error> {
    let taken = |name: &String| entries.iter().any(|entry| entry.host_interface == *name);
    let name = host_interfaces(owner).find(|name| !taken(name));
    name.ok_or_else(|| Error::NoName { owner: Box::new(owner.clone()) })
}

pub(crate) fn boot_id() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(path);
    let text = text.map_err(|source| Error::ReadBootId { path: path.to_owned(), source })?;
    Ok(text.trim().to_owned())
}
