//! Takes an address out of the pool, and takes back what the dead have left in it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use twill_core::ids::{Family, Mtu, Subnet};
use twill_core::subnet_env::SubnetEnv;
use twill_net::blocking::{Kernel, Link};
use twill_net::netns::Netns;

use crate::boot::boot_id;
use crate::bridge::{self, Wanted};
use crate::error::Error;
use crate::host::Host;
use crate::pool::{
    Entry, Locked, NetnsRecord, Pool, Record, Wish, capacity, choose, host_interfaces, is_usable,
};
use crate::ports::are_one;
use crate::request::{Keeper, Owner, Place, Request};

/// Finds an address of each family, makes sure of the bridge, writes the record: under the pool's lock, which is
/// held for nothing else. `preferred` are those that the owner had before.
pub(crate) fn reserve(
    of: &Host,
    host: &mut Kernel,
    request: &Request<'_>,
    preferred: &[IpAddr],
) -> Result<Reserved, Error> {
    let pool = &of.pool();
    let boot_id = boot_id()?;
    let netns = NetnsRecord::new(request.netns.path().to_owned(), request.netns.identity()?);
    let locked = pool.lock(&boot_id)?;
    // Read under the lock: who moves containers out of a former subnet misses nobody.
    let env = of.read_env()?;
    check(request, &env)?;
    // The bridge keeps the gateways of former subnets only for containers that live.
    sweep(pool, host, |entry| former(entry, &env).next().is_some())?;
    take_ports(of, host, request)?;
    let mut give = |subnet: Subnet| {
        let own = |of: &[IpAddr]| of.iter().copied().find(|it| Family::of(*it) == subnet.family());
        let address = match own(&request.addresses) {
            Some(address) => take(pool, host, address).map(|()| address)?,
            None => next((pool, &locked), host, (subnet, own(preferred)))?,
        };
        Ok::<_, Error>(Place { address, subnet })
    };
    let first = give(env.subnet)?;
    let ipv6 = env.blocks().nth(1).map(|blocks| give(blocks.subnet)).transpose()?;
    let entries = pool.entries()?;
    let moving = moving(pool, &env)?;
    let given = locked.all_last_given()?;
    let wanted = Wanted { name: &request.bridge, env: &env, moving: &moving, given: &given };
    let bridge = bridge::ensure(host, &wanted)?;
    let record = Record {
        owner: request.owner.clone(),
        address: first.address,
        subnet: first.subnet,
        ipv6,
        bridge: request.bridge.clone(),
        host_interface: free_name(&request.owner, &entries)?,
        netns,
        boot_id,
        made_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
        spoof_check: request.spoof_check,
        ports: request.ports.clone(),
        aliases: request.aliases.clone(),
        limits: request.limits,
    };
    locked.write(&record, None)?;
    Ok(Reserved { env, record, bridge })
}

/// What a link that carries IPv6 must carry (RFC 8200 section 5); below it Linux takes IPv6 off.
const LEAST_IPV6: u32 = 1280;

/// An address, and what it was given under.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) env: SubnetEnv,
    pub(crate) record: Record,
    pub(crate) bridge: Link,
}

/// Refuses an MTU that a family of the subnet cannot live with.
pub(crate) fn check_mtu(mtu: Option<Mtu>, env: &SubnetEnv) -> Result<(), Error> {
    let ipv6 = env.blocks().any(|blocks| blocks.subnet.family() == Family::V6);
    match mtu.filter(|mtu| ipv6 && mtu.bytes() < LEAST_IPV6) {
        Some(mtu) => Err(Error::TooSmallForIpv6 { mtu }),
        None => Ok(()),
    }
}

/// Refuses a request that this host's subnet cannot fulfil, whatever else is in use.
pub(crate) fn check(request: &Request<'_>, env: &SubnetEnv) -> Result<(), Error> {
    if request.netns.identity()? == Netns::current()?.identity()? {
        return Err(Error::SameNamespace { netns: request.netns.path().to_owned() });
    }
    check_mtu(request.mtu, env)?;
    for (index, address) in request.addresses.iter().copied().enumerate() {
        let family = Family::of(address);
        let same = |other: &&IpAddr| Family::of(**other) == family;
        if let Some(other) = request.addresses.iter().take(index).find(same) {
            return Err(Error::TwoOfAFamily { addresses: [*other, address] });
        }
        let mut subnets = env.blocks().map(|blocks| blocks.subnet);
        match subnets.find(|subnet| subnet.family() == family) {
            None => return Err(Error::NoSuchFamily { address }),
            Some(subnet) if !subnet.contains(address) => {
                return Err(Error::AddressOutside { address, subnet });
            }
            Some(subnet) if !is_usable(subnet, address) => {
                return Err(Error::AddressReserved { address, subnet });
            }
            Some(_usable) => {}
        }
    }
    Ok(())
}

/// A requested address: free, or its owner's name is told.
fn take(pool: &Pool, host: &mut Kernel, address: IpAddr) -> Result<(), Error> {
    let has = |entry: &Entry| entry.addresses.contains(&address);
    sweep(pool, host, has)?;
    for entry in pool.entries()?.iter().filter(|entry| has(entry)) {
        if let Some(record) = pool.read(entry)? {
            return Err(Error::AddressTaken { address, owner: Box::new(record.owner) });
        }
    }
    Ok(())
}

/// Requested ports: free in all pools of the host, or their owner's name is told.
fn take_ports(of: &Host, host: &mut Kernel, request: &Request<'_>) -> Result<(), Error> {
    if request.ports.is_empty() {
        return Ok(());
    }
    let pool = of.pool();
    for entry in pool.entries()? {
        let Some(record) = pool.read(&entry)?.filter(|it| !are_one(&it.owner, &request.owner))
        else {
            continue;
        };
        let taken =
            request.ports.iter().find(|port| record.ports.iter().any(|it| it.clashes(port)));
        let Some(port) = taken else { continue };
        if is_dead(host, &record)? {
            pool.release(&entry)?;
            continue;
        }
        return Err(Error::PortTaken { port: port.clone(), owner: Box::new(record.owner) });
    }
    let published = of.published_beside()?;
    let others = || published.iter().filter(|(owner, _port)| !are_one(owner, &request.owner));
    for port in &request.ports {
        if let Some((owner, _theirs)) = others().find(|(_owner, theirs)| theirs.clashes(port)) {
            let owner = Box::new(owner.clone());
            return Err(Error::PortTaken { port: port.clone(), owner });
        }
    }
    Ok(())
}

/// The dead are looked for only when the living have taken all.
fn next(
    (pool, locked): (&Pool, &Locked<'_>),
    host: &mut Kernel,
    (subnet, preferred): (Subnet, Option<IpAddr>),
) -> Result<IpAddr, Error> {
    let wish = Wish { subnet, last_given: locked.last_given(subnet.family())?, preferred };
    let rested = || {
        let resting = locked.resting()?;
        let in_use = addresses(&pool.entries()?);
        let others = resting.iter().copied().filter(|it| Some(*it) != preferred);
        let avoided = in_use.iter().copied().chain(others).collect();
        let longest =
            || resting.iter().copied().find(|it| is_usable(subnet, *it) && !in_use.contains(it));
        Ok::<_, Error>(choose(&wish, &avoided).or_else(longest))
    };
    if let Some(address) = rested()? {
        return Ok(address);
    }
    sweep(pool, host, |_entry| true)?;
    rested()?.ok_or_else(|| Error::Exhausted { subnet, usable: capacity(subnet) })
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
pub(crate) fn is_dead(host: &mut Kernel, record: &Record) -> Result<bool, Error> {
    if host.link(&record.host_interface)?.is_some() {
        return Ok(false);
    }
    let there = Netns::open(&record.netns.path).and_then(|netns| netns.identity());
    Ok(!there.is_ok_and(|identity| identity == record.netns.identity()))
}

pub(crate) fn addresses(entries: &[Entry]) -> BTreeSet<IpAddr> {
    entries.iter().flat_map(|entry| &entry.addresses).copied().collect()
}

/// The addresses of an entry that are in none of the host's blocks of now.
fn former(entry: &Entry, env: &SubnetEnv) -> impl Iterator<Item = IpAddr> {
    let blocks: Vec<Subnet> = env.blocks().map(|blocks| blocks.subnet).collect();
    let here = move |address: &IpAddr| blocks.iter().any(|block| block.contains(*address));
    entry.addresses.clone().into_iter().filter(move |address| !here(address))
}

/// The addresses of former subnets that will be given back: their containers can be moved, and need
/// their gateway until then. Nobody can move those of other runtimes.
pub(crate) fn moving(pool: &Pool, env: &SubnetEnv) -> Result<BTreeSet<IpAddr>, Error> {
    let mut moving = BTreeSet::new();
    for entry in pool.entries()? {
        let mut former = former(&entry, env).peekable();
        if former.peek().is_none() {
            continue;
        }
        let record = pool.read(&entry)?;
        if record.is_some_and(|record| record.owner.keeper == Keeper::Twill) {
            moving.extend(former);
        }
    }
    Ok(moving)
}

fn free_name(owner: &Owner, entries: &[Entry]) -> Result<String, Error> {
    let taken = |name: &String| entries.iter().any(|entry| entry.host_interface == *name);
    let name = host_interfaces(owner).find(|name| !taken(name));
    name.ok_or_else(|| Error::NoName { owner: Box::new(owner.clone()) })
}
