//! A container keeps to its own addresses, and to those that nobody on its bridge can have.
//!
//! Both rules are the port's: they are there before the container's interface has an address, and go
//! with the pair.

use std::collections::{BTreeMap, BTreeSet};

use twill_core::ids::{Mac, Subnet};
use twill_core::subnet_env::SubnetEnv;
use twill_net::blocking::{Kernel, Link, Source};

use crate::error::Error;
use crate::pool::Record;
use crate::request::Place;

/// Lets through what is sent from the addresses of `records`, which are one container's: two while it
/// moves to another subnet. Nothing to do for a container that is not to be kept.
pub(crate) fn keep(host: &mut Kernel, port: &Link, records: &[&Record]) -> Result<(), Error> {
    let kept = records.iter().filter(|record| record.spoof_check);
    let places: BTreeSet<Place> = kept.flat_map(|record| record.places()).collect();
    let own = |Place { address, subnet }| Source { address: Some(address), subnet };
    limit(host, port, &places.into_iter().map(own).collect::<Vec<_>>())
}

/// Of containers that did not follow the host into its blocks of now, or not yet: there they have nothing.
pub(crate) fn keep_out(
    host: &mut Kernel,
    records: &[Record],
    env: &SubnetEnv,
) -> Result<(), Error> {
    let mut ports: BTreeMap<&str, BTreeSet<Place>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.spoof_check) {
        ports.entry(&record.host_interface).or_default().extend(record.places());
    }
    for (name, places) in ports {
        let lacks = |subnet: &Subnet| places.iter().all(|place| place.subnet != *subnet);
        let lacking: Vec<Subnet> = env.blocks().map(|blocks| blocks.subnet).filter(lacks).collect();
        // Who is gone, or goes, takes the filter along.
        let Some(port) = host.link(name)?.filter(|_port| !lacking.is_empty()) else { continue };
        let own = places.iter().map(|place| (Some(place.address), place.subnet));
        let sources = own.chain(lacking.into_iter().map(|subnet| (None, subnet)));
        let sources = sources.map(|(address, subnet)| Source { address, subnet });
        limit(host, &port, &sources.collect::<Vec<_>>())?;
    }
    Ok(())
}

fn limit(host: &mut Kernel, port: &Link, sources: &[Source]) -> Result<(), Error> {
    if !sources.is_empty() && !host.guard_sources(port.index, sources)? {
        tracing::warn!(
            port = %port.name,
            "what the container sends is not filtered by its source: the kernel lacks \
             CONFIG_NET_CLS_BPF or CONFIG_NET_SCH_INGRESS"
        );
    }
    Ok(())
}

/// Keeps the container's hardware address at its port, and no longer `former` ones: their addresses
/// may be other containers' one day.
pub(crate) fn hold(
    host: &mut Kernel,
    port: &Link,
    (record, mac): (&Record, Mac),
    former: impl IntoIterator<Item = Mac>,
) -> Result<(), Error> {
    if !record.spoof_check {
        return Ok(());
    }
    for former in former.into_iter().filter(|former| *former != mac) {
        host.release_mac(port.index, former)?;
    }
    Ok(host.hold_mac(port.index, mac)?)
}
