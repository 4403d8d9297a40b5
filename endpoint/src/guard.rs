//! A container keeps to its own addresses, and to those that nobody on its bridge can have.
//!
//! Both rules are the port's: they are there before the container's interface has an address, and go
//! with the pair.

use std::collections::BTreeSet;

use twill_core::ids::Mac;
use twill_net::blocking::{Kernel, Link, Source};

use crate::error::Error;
use crate::pool::Record;
use crate::request::Place;

/// Lets through what is sent from the addresses of `records`, which are one container's: two while it
/// moves to another subnet. Nothing to do for a container that is not to be kept.
pub(crate) fn keep(host: &mut Kernel, port: &Link, records: &[&Record]) -> Result<(), Error> {
    let kept = records.iter().filter(|record| record.spoof_check);
    let places: BTreeSet<Place> = kept.flat_map(|record| record.places()).collect();
    let sources: Vec<Source> =
        places.into_iter().map(|Place { address, subnet }| Source { address, subnet }).collect();
    if !sources.is_empty() && !host.guard_sources(port.index, &sources)? {
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
