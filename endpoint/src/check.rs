//! Looks whether a container is joined as it should be. Nothing is changed.

use std::net::IpAddr;

use twill_core::ids::Subnet;
use twill_core::subnet_env::SubnetEnv;
use twill_net::blocking::{Address, Kernel, Route};
use twill_net::netns::Netns;

use crate::error::Error;
use crate::host::Host;
use crate::pool::{Record, host_interfaces};
use crate::request::{Owner, Place, StaticRoute};

impl Host {
    /// The record of a container that is in the host's subnet of now, with the pair, the bridge and the
    /// address that belong to it, limits, and the rules of its published ports. What is inside the container besides is its
    /// own affair.
    pub fn check(&self, owner: &Owner, netns: &Netns) -> Result<Record, Error> {
        let env = self.read_env()?;
        let pool = self.pool();
        let entry = pool.find(owner)?;
        let record = entry.map(|entry| pool.read(&entry)).transpose()?.flatten();
        let Some(record) = record else { return Err(unknown(owner)?) };
        if let Some(stranded) = stranded(&record, &env) {
            return Err(stranded);
        }
        let spoilt = |what| Error::Spoilt { owner: Box::new(owner.clone()), what };
        if netns.identity()? != record.netns.identity() {
            return Err(spoilt("the network namespace is another one"));
        }
        let mut host = Kernel::here()?;
        let bridge = host.link(record.bridge.as_str())?;
        let bridge = bridge.ok_or_else(|| spoilt("the bridge is gone"))?.index;
        let port = host.link(&record.host_interface)?;
        let Some(port) = port.filter(|port| port.up && port.bridge == Some(bridge)) else {
            return Err(spoilt("the host's end of its pair is gone, down or not on the bridge"));
        };
        let there = host.addresses()?;
        for place in record.places() {
            let (address, prefix_length) = (place.gateway(), place.subnet.len());
            if !there.contains(&Address { link: bridge, address, prefix_length }) {
                return Err(spoilt("the bridge does not have the gateway's address"));
            }
        }
        let mut inside = Kernel::of(netns)?;
        let link = inside.link(owner.interface.as_str())?.filter(|link| link.up);
        let link = link.ok_or_else(|| spoilt("its interface is gone or down"))?;
        if let Some(what) = record.limits.lacks((&mut host, &port), (&mut inside, &link))? {
            return Err(spoilt(what));
        }
        let link = link.index;
        let there = inside.addresses()?;
        for Place { address, subnet } in record.places() {
            if !there.contains(&Address { link, address, prefix_length: subnet.len() }) {
                return Err(spoilt("its interface does not have its address"));
            }
        }
        if let Some(what) = self.lacks_ports(&record)? {
            return Err(spoilt(what));
        }
        Ok(record)
    }

    /// Of routes that a container was given, those by its way out have to be there; the others are its own affair.
    pub fn check_routes(
        &self,
        record: &Record,
        netns: &Netns,
        routes: &[StaticRoute],
    ) -> Result<(), Error> {
        let gateways: Vec<IpAddr> = record.places().map(|place| place.gateway()).collect();
        let by_us =
            |route: &&StaticRoute| route.gateway.is_some_and(|gateway| gateways.contains(&gateway));
        let wanted: Vec<&StaticRoute> = routes.iter().filter(by_us).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let there = Kernel::of(netns)?.routes()?;
        let stands = |wanted: &&StaticRoute| {
            let same = |route: &Route| {
                route.destination == wanted.destination && route.gateway == wanted.gateway
            };
            there.iter().any(same)
        };
        if wanted.iter().all(stands) {
            return Ok(());
        }
        let owner = Box::new(record.owner.clone());
        Err(Error::Spoilt { owner, what: "a route that it was given is gone" })
    }
}

/// Nothing of it is here; or the state directory was lost, and its interface is still to be removed.
fn unknown(owner: &Owner) -> Result<Error, Error> {
    let mut host = Kernel::here()?;
    let names = host_interfaces(owner);
    let owner = Box::new(owner.clone());
    for name in names {
        if host.link(&name)?.is_some() {
            let what =
                "the address pool has no record of it, though the host's end of its pair is here";
            return Ok(Error::Spoilt { owner, what });
        }
    }
    Ok(Error::NotJoined { owner })
}

/// An address that is not of the host's blocks of now, or a block in which there is none.
fn stranded(record: &Record, env: &SubnetEnv) -> Option<Error> {
    let owner = Box::new(record.owner.clone());
    let now: Vec<Subnet> = env.blocks().map(|blocks| blocks.subnet).collect();
    if let Some(Place { address, subnet }) = record.places().find(|it| !now.contains(&it.subnet)) {
        let same = now.iter().find(|block| block.family() == subnet.family());
        let subnet = *same.unwrap_or(&env.subnet);
        return Some(Error::Stranded { owner, address, subnet });
    }
    let subnet = now.into_iter().find(|now| record.places().all(|place| place.subnet != *now))?;
    Some(Error::Lacking { owner, subnet })
}
