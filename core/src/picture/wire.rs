//! The JSON of a picture.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Life, Picture};
use crate::config::NetworkConfig;
use crate::ids::{BootId, LeaseId, NodeId, Revision, Subnet};
use crate::lease::{Key, Lease, LeaseValue, Listing, Malformed};
use crate::validity::Stamp;

/// Configuration and values are texts, as etcd holds them, and are read by the same rules.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    prefix: Cow<'a, str>,
    node: NodeId,
    config: Entry,
    own: Row,
    /// In milliseconds.
    life: Lives,
    kept: Moment,
    /// Of the leases.
    revision: Revision,
    leases: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    text: String,
    revision: Revision,
}

#[derive(Serialize, Deserialize)]
struct Row {
    key: String,
    value: String,
    revision: Revision,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseId>,
}

#[derive(Serialize, Deserialize)]
struct Lives {
    ttl_ms: u64,
    left_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Moment {
    boot: BootId,
    since_boot_ms: u64,
    wall: u64,
    wall_is_sure: bool,
}

/// On one line.
pub(super) fn write(picture: &Picture) -> String {
    let Picture { prefix, node, config, written, own, life, listing, kept } = picture;
    let written = Written {
        prefix: prefix.as_str().into(),
        node: *node,
        config: Entry { text: config.to_json(), revision: *written },
        own: Row::of(own),
        life: Lives { ttl_ms: floor(life.ttl), left_ms: floor(life.left) },
        kept: Moment {
            boot: kept.boot,
            since_boot_ms: floor(kept.since_boot),
            wall: kept.wall,
            wall_is_sure: kept.wall_is_sure,
        },
        revision: listing.revision,
        leases: listing.leases.iter().map(Row::of).collect(),
    };
    // Strings, numbers and addresses always have a JSON form.
    serde_json::to_string(&written).unwrap_or_default()
}

/// The reason is for people.
pub(super) fn read(text: &[u8]) -> Result<Picture, String> {
    let written: Written<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let Written { prefix, node, config: entry, own, life, kept, revision, leases } = written;
    let config = NetworkConfig::parse(entry.text.as_bytes())
        .map_err(|error| format!("the network's configuration: {error}"))?;
    let own = own.read().map_err(|bad| format!("our lease {}: {}", bad.key, bad.why))?;
    if own.value.node != Some(node) {
        return Err(format!("the lease {} is not of host {node}", own.key));
    }
    let (blocks, networks) = (own.key.blocks(), config.networks());
    let holds = |(network, block): (Subnet, Subnet)| network.holds(block);
    if blocks.count() != networks.count() || !config.networks().zip(own.key.blocks()).all(holds) {
        let (subnet, network) = (own.key.words(), config.words());
        return Err(format!("the subnet {subnet} is not part of the network {network}"));
    }
    if life.left_ms > life.ttl_ms {
        return Err(format!("the lease {} would live longer than etcd granted", own.key));
    }
    // One peer that a later version cannot read is left out like one in etcd.
    let mut listing = Listing { revision, ..Listing::default() };
    for row in leases {
        match row.read() {
            Ok(lease) => listing.leases.push(lease),
            Err(malformed) => listing.malformed.push(malformed),
        }
    }
    let millis = Duration::from_millis;
    Ok(Picture {
        prefix: prefix.into_owned(),
        node,
        config,
        written: entry.revision,
        own,
        life: Life { ttl: millis(life.ttl_ms), left: millis(life.left_ms) },
        listing,
        kept: Stamp {
            boot: kept.boot,
            since_boot: millis(kept.since_boot_ms),
            wall: kept.wall,
            wall_is_sure: kept.wall_is_sure,
        },
    })
}

impl Row {
    fn of(lease: &Lease) -> Self {
        let Lease { key, value, revision, lease_id } = lease;
        Self { key: key.to_string(), value: value.to_json(), revision: *revision, lease: *lease_id }
    }

    fn read(self) -> Result<Lease, Malformed> {
        let Self { key: text, value, revision, lease: lease_id } = self;
        // Keys end up on terminals.
        let key = text.escape_debug().to_string();
        let malformed = |lease, why| Malformed { key: key.clone(), lease, why, revision };
        let read: Key = text
            .parse()
            .map_err(|error: crate::lease::KeyError| malformed(None, error.to_string()))?;
        let value = LeaseValue::parse(value.as_bytes())
            .map_err(|error| malformed(Some(read), error.to_string()))?;
        Ok(Lease { key: read, value, revision, lease_id })
    }
}

/// A clock that is a little slow, or a lease that ends a little early, harms nobody.
fn floor(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
