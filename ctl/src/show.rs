//! `twillctl lease show`: one key as etcd holds it, and what it means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use twill_core::config::NetworkConfig;
use twill_core::ids::{Family, LeaseId, Mac, NodeId, Revision, Subnet, Underlay, Vni};
use twill_core::lease::{Event, Key, Lease, LeaseBackend, Listing, Malformed, Vtep};
use twill_core::node::NodeRecord;
use twill_core::peers::{Home, Known, Own};
use twill_core::serving::Serving;
use twill_store::{Etcd, Life, Raw, Store as _, Times as _};

use crate::args::Output;
use crate::failure::Failure;
use crate::report::{self, Report};
use crate::run::store_failure;
use crate::{leases, table};

/// All that was read.
#[derive(Debug)]
struct Read {
    raw: Raw,
    listing: Listing,
    config: Option<NetworkConfig>,
    record: Option<NodeRecord>,
    life: Option<Life>,
    /// The time of the node record.
    presence: Option<Life>,
}

/// The lease as `-o json` shows it.
#[derive(Debug, Serialize)]
struct Shown {
    key: String,
    /// As it stands in etcd; what is no text is replaced.
    value: String,
    subnet: Subnet,
    malformed: Option<String>,
    #[serde(flatten)]
    read: Option<Meaning>,
    reserved: bool,
    /// As `etcdctl lease` writes it.
    lease_id: Option<String>,
    granted: Option<u64>,
    expires_in: Option<u64>,
    created: Revision,
    revision: Revision,
    writes: i64,
    /// What the owner says about itself, and how many seconds ago it last made that live on.
    record: Option<NodeRecord>,
    seen: Option<u64>,
    /// Do hosts of the network send to the owner? `null` when the configuration cannot be read.
    used: Option<bool>,
    unused_because: Option<String>,
}

/// What the value says.
#[derive(Debug, Serialize)]
struct Meaning {
    public_ip: Underlay,
    backend: String,
    vni: Option<Vni>,
    mac: Option<Mac>,
    node: Option<NodeId>,
}

/// Reads it and tells it.
pub(crate) async fn show(etcd: &Etcd, subnet: Subnet, output: Output) -> Result<Report, Failure> {
    let failure = |error| store_failure(&error);
    let (listing, nodes) = leases::read(etcd).await?;
    let key = key_of(&listing, subnet).ok_or_else(|| leases::nobody(subnet))?;
    // The key itself once more, unread; it may have gone in between.
    let raw = etcd.inspect(key).await.map_err(failure)?.ok_or_else(|| leases::nobody(subnet))?;
    let config = etcd.config().await.map_err(failure)?;
    let owner = listing.leases.iter().find(|lease| lease.key == key);
    let node = owner.and_then(|lease| lease.value.node);
    let presences = etcd.presences().await.map_err(failure)?;
    let presence = node.and_then(|id| presences.get(&id).copied().flatten());
    let ids: Vec<LeaseId> = raw.lease_id.into_iter().chain(presence).collect();
    let lives = etcd.lives(&ids).await.map_err(failure)?;
    let life = |id: Option<LeaseId>| id.and_then(|id| lives.get(&id).copied());
    let read = Read {
        life: life(raw.lease_id),
        presence: life(presence),
        record: nodes.records.into_iter().find(|record| Some(record.id) == node),
        config: config.and_then(|found| NetworkConfig::parse(&found.text).ok()),
        raw,
        listing,
    };
    let shown = shown(&read, key);
    Ok(Report::of(match output {
        Output::Table => text(&shown),
        Output::Json => report::json(&shown),
    }))
}

fn key_of(listing: &Listing, subnet: Subnet) -> Option<Key> {
    let spoilt = listing.malformed.iter().filter_map(|entry| entry.lease);
    let mut keys = listing.leases.iter().map(|lease| lease.key).chain(spoilt);
    keys.find(|key| key.blocks().any(|block| block == subnet))
}

fn shown(read: &Read, key: Key) -> Shown {
    let Read { raw, listing, config, record, life, presence } = read;
    let lease = listing.leases.iter().find(|lease| lease.key == key);
    let spoilt = listing.malformed.iter().find(|entry| entry.lease == Some(key));
    let verdict = config.as_ref().and_then(|config| verdict(listing, key, config));
    let (used, unused_because) = match verdict {
        None => (None, None),
        Some(Verdict::Used) => (Some(true), None),
        Some(Verdict::Unused(why)) => (Some(false), Some(why)),
    };
    let lives = life.filter(|_| raw.lease_id.is_some());
    Shown {
        key: raw.path.clone(),
        value: String::from_utf8_lossy(&raw.value).into_owned(),
        subnet: key.subnet,
        malformed: spoilt.map(|Malformed { why, .. }| why.clone()),
        read: lease.map(meaning),
        reserved: raw.lease_id.is_none(),
        lease_id: raw.lease_id.map(|id| id.to_string()),
        granted: lives.map(|life| life.granted),
        expires_in: lives.map(|life| life.remaining),
        created: raw.created,
        revision: raw.revision,
        writes: raw.writes,
        record: record.clone(),
        seen: presence.map(Life::idle),
        used,
        unused_because,
    }
}

fn meaning(lease: &Lease) -> Meaning {
    let (vni, mac) = match lease.value.backend {
        LeaseBackend::Vxlan(Vtep { vni, mac }) => (vni, Some(mac)),
        _ => (None, None),
    };
    let backend = leases::backend(&lease.value.backend).to_owned();
    Meaning { public_ip: lease.value.public_ip, backend, vni, mac, node: lease.value.node }
}

/// What hosts make of a lease.
enum Verdict {
    /// They send to its owner.
    Used,
    /// They do not, for this reason.
    Unused(String),
}

/// What a host makes of the lease that is none of those there and shares nothing with them.
fn verdict(listing: &Listing, key: Key, config: &NetworkConfig) -> Option<Verdict> {
    let home = |network: Subnet| {
        let nowhere = match network.family() {
            Family::V4 => IpAddr::V4(Ipv4Addr::BROADCAST),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
        };
        let subnet = Subnet::new(nowhere, network.family().bits())?;
        Some(Home { network, subnet, public_ip: Underlay(nowhere) })
    };
    let observer = Own {
        node: NodeId::from_random([0xff; 16]),
        home: home(config.network)?,
        ipv6: config.ipv6.and_then(|range| home(range.network)),
        mac: None,
        key: None,
        // The same for all of them, and of no consequence with one backend alone.
        serving: Serving::new(config.backend.clone(), Revision::default()),
    };
    let mut known = Known::default();
    known.fold(Event::Snapshot(listing.clone()));
    let view = known.view(&observer);
    let name = key.to_string();
    let ignored = view.ignored.into_iter().find(|entry| entry.key == name);
    Some(ignored.map_or(Verdict::Used, |entry| Verdict::Unused(entry.why)))
}

fn text(shown: &Shown) -> String {
    let mut rows = vec![("Key", shown.key.clone()), ("Value", shown.value.clone())];
    if let Some(why) = &shown.malformed {
        rows.push(("Malformed", why.clone()));
    }
    if let Some(read) = &shown.read {
        rows.extend(owner(read, shown.record.as_ref()));
    }
    rows.push(("Ends", ends(shown)));
    let written = match shown.writes {
        1 => format!("once, at revision {}", shown.revision),
        times => format!("{times} times, from revision {} to {}", shown.created, shown.revision),
    };
    rows.push(("Written", written));
    if let Some(record) = &shown.record {
        let seen = shown.seen.map_or_else(
            || "nobody knows when it was last seen".to_owned(),
            |ago| format!("seen {} ago", table::span(ago)),
        );
        let NodeRecord { subnet, version, started, .. } = record;
        let started = started_at(*started);
        let text = format!("{seen}; twilld {version}, started {started}, says it has {subnet}");
        rows.push(("Host", text));
    }
    let peers = match (shown.used, &shown.unused_because) {
        (Some(true), _) => "send to it".to_owned(),
        (Some(false), why) => format!("make no use of it: {}", why.as_deref().unwrap_or("?")),
        (None, _) => "unknown: the network's configuration cannot be read".to_owned(),
    };
    rows.push(("Peers", peers));
    table::pairs(rows)
}

fn owner(read: &Meaning, record: Option<&NodeRecord>) -> Vec<(&'static str, String)> {
    let node = match (read.node, record) {
        (Some(id), Some(record)) => format!("{} ({id})", record.hostname),
        (Some(id), None) => format!("{id}, which left no record"),
        (None, _) => "without a node id: flanneld, or reserved by address".to_owned(),
    };
    let mut backend = read.backend.clone();
    backend.extend(read.vni.map(|vni| format!(", VNI {vni}")));
    backend.extend(read.mac.map(|mac| format!(", {mac}")));
    vec![("Node", node), ("Public IP", read.public_ip.to_string()), ("Backend", backend)]
}

fn ends(shown: &Shown) -> String {
    let Some(id) = &shown.lease_id else {
        let what =
            if shown.malformed.is_some() { "it has no etcd lease" } else { "it is a reservation" };
        return format!("never: {what}");
    };
    match (shown.expires_in, shown.granted) {
        (Some(left), Some(granted)) => format!(
            "in {} unless renewed; etcd lease {id} of {}",
            table::span(left),
            table::span(granted)
        ),
        _ => format!("now: etcd lease {id} is over"),
    }
}

fn started_at(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use twill_core::lease::LeaseValue;

    use super::*;
    use crate::golden;

    #[test]
    fn a_lease_with_all_that_belongs_to_it() {
        let read = read(VXLAN, Some(LeaseId(0x6f1)));
        check("lease-show", &read);
    }

    #[test]
    fn a_reservation_by_address_that_nobody_took() {
        let mut read = read(r#"{"PublicIP":"192.168.140.24"}"#, None);
        (read.record, read.life, read.presence, read.raw.writes) = (None, None, None, 1);
        check("lease-show-reserved", &read);
    }

    #[test]
    fn a_key_that_is_no_lease() {
        let mut read = read(VXLAN, None);
        read.raw.value = b"/coreos.com\x1b[31m".to_vec();
        let key = read.listing.leases.remove(0).key;
        read.listing.malformed.push(Malformed {
            key: key.to_string(),
            lease: Some(key),
            why: "the value is not a JSON object".to_owned(),
            revision: read.raw.revision,
        });
        (read.record, read.presence, read.config) = (None, None, None);
        check("lease-show-malformed", &read);
    }

    #[track_caller]
    fn check(name: &str, read: &Read) {
        let shown = shown(read, "10.88.34.0-24".parse().unwrap());
        golden::check(&format!("{name}.txt"), &text(&shown));
        golden::check(&format!("{name}.json"), &report::json(&shown));
    }

    const VXLAN: &str = "{\"PublicIP\":\"192.168.140.22\",\"PublicIPv6\":null,\
        \"BackendType\":\"vxlan\",\"BackendData\":{\"VNI\":1,\"VtepMAC\":\"02:00:00:00:00:01\"},\
        \"TwillNodeID\":\"00000000000000000000000000000001\"}";

    fn read(value: &str, lease_id: Option<LeaseId>) -> Read {
        let key: Key = "10.88.34.0-24".parse().unwrap();
        let config = br#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan"}}"#;
        let mut node = [0; 16];
        node[15] = 1;
        let lease = Lease {
            key,
            value: LeaseValue::parse(value.as_bytes()).unwrap(),
            revision: Revision(45),
            lease_id,
        };
        Read {
            raw: Raw {
                path: format!("/coreos.com/network/subnets/{key}"),
                value: value.as_bytes().to_vec(),
                created: Revision(12),
                revision: Revision(45),
                writes: 9,
                lease_id,
            },
            listing: Listing { leases: vec![lease], ..Listing::default() },
            config: NetworkConfig::parse(config).ok(),
            record: Some(NodeRecord {
                id: NodeId::from_random(node),
                hostname: "node1".to_owned(),
                public_ip: Underlay([192, 168, 140, 22].into()),
                subnet: key.subnet,
                ipv6: None,
                version: "0.1.0".to_owned(),
                started: 1_700_000_000,
            }),
            life: Some(Life { granted: 86_400, remaining: 86_200 }),
            presence: Some(Life { granted: 86_400, remaining: 86_200 }),
        }
    }
}
