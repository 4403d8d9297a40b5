//! Follows the host into another subnet, or to another MTU, with containers that run.

use std::net::IpAddr;

use twill_endpoint::{Keeper, Owner, Place, Placement};

use super::links;
use super::reap::{self, host};
use super::record::{Network, Record};
use super::state::{Address, Ip, State, Status};
use super::store::{Container, Store};
use crate::Paths;
use crate::bundle::files;
use crate::error::{Error, Result};
use crate::process::Process;

/// A container that was moved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Moved {
    /// Where it was.
    pub before: Address,
    /// Where it is.
    pub after: Address,
}

/// Brings one container to where the host is now; `None` if it was there, or does not run.
///
/// The books of the endpoint are right first, then the hosts file, then the state: whoever comes
/// after a crash sees the old address in the state, and does the rest again.
pub fn renumber(store: &Store<'_>, id: &str) -> Result<Option<Moved>> {
    // Nobody starts it, or writes down its end, in between.
    let Some(_lock) = store.lock_container(id)? else { return Ok(None) };
    let Container { record, state } = store.read(id)?;
    let alive = state.process.and_then(Process::open).is_some();
    let (Network::Bridge, Status::Running, true) = (record.network, state.status, alive) else {
        return Ok(None);
    };
    let Some(before) = state.address.clone() else { return Ok(None) };
    let placed = host(store.paths()).renumber(&reap::owner(&record));
    let Some(placed) = placed.map_err(|source| failed("move to", source))? else {
        return Ok(None);
    };
    let Some(after) = address(&before, &placed) else { return Ok(None) };
    if after == before {
        return Ok(None);
    }
    let directory = store.paths().container(&record.id);
    files::move_resolver(&directory, &before, &after)?;
    files::write_hosts(&directory, (&record, &links::entries(store, &record)), &after)?;
    store.write_state(&record, &State { address: Some(after.clone()), ..state })?;
    links::renew(store, &record.id);
    Ok(Some(Moved { before, after }))
}

/// For the monitor: the host may have got another subnet between the joining and the moment from
/// which others see that the container runs.
pub fn catch_up(store: &Store<'_>, record: &Record, address: Option<&Address>) -> Result<()> {
    let Some(address) = address else { return Ok(()) };
    let env = host(store.paths()).read_env().map_err(|source| failed("join", source))?;
    let mut ips = address.all();
    let here =
        env.blocks().all(|blocks| ips.next().is_some_and(|ip| blocks.subnet.contains(ip.ip)));
    if here && ips.next().is_none() && env.mtu.bytes() == address.mtu {
        return Ok(());
    }
    renumber(store, &record.id).map(drop)
}

/// The gateways of bridges, after the containers: a former one goes with its last container.
pub fn bridges(paths: &Paths) -> Result<()> {
    host(paths).renumber_bridges().map_err(|source| failed("move to", source))
}

/// Whom others keep in subnets that are not this host's any more: they have to be made again.
pub fn stranded(paths: &Paths) -> Result<Vec<(Owner, IpAddr)>> {
    let here = host(paths);
    let found = here.read_env().and_then(|env| Ok((env, here.records()?)));
    let (env, records) = found.map_err(|source| failed("look at", source))?;
    let here = |place: &Place| env.blocks().any(|blocks| blocks.subnet == place.subnet);
    let others = records.into_iter().filter(|record| record.owner.keeper != Keeper::Twill);
    let found = others.flat_map(|record| {
        let former: Vec<Place> = record.places().filter(|place| !here(place)).collect();
        former.into_iter().map(move |place| (record.owner.clone(), place.address))
    });
    Ok(found.collect())
}

/// `None` if it is nowhere, which does not happen.
fn address(before: &Address, placed: &Placement) -> Option<Address> {
    let mut ips = placed.places.iter().copied().map(Ip::from);
    Some(Address {
        first: ips.next()?,
        ipv6: ips.next(),
        mac: placed.mac.to_string(),
        mtu: placed.mtu.bytes(),
        ..before.clone()
    })
}

fn failed(operation: &'static str, source: twill_endpoint::Error) -> Error {
    Error::Network { operation, source }
}
