//! `twillctl lease`: which host owns which subnet.

use std::collections::BTreeMap;

use serde::Serialize;
use twill_core::ids::{LeaseId, NodeId, Revision, Subnet, Underlay};
use twill_core::lease::{Key, Lease, LeaseBackend, Listing, Malformed};
use twill_core::node::NodeRecord;
use twill_store::{Nodes, Store};

use crate::args::Output;
use crate::failure::{Failure, Kind};
use crate::report::{self, Report};
use crate::run::store_failure;
use crate::{names, table};

/// Seconds until each etcd lease ends.
pub(crate) type Ends = BTreeMap<LeaseId, u64>;

/// One lease as `-o json` shows it.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Row {
    /// The last part of the key.
    key: String,
    /// The subnet.
    subnet: Subnet,
    /// That of IPv6 beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<Subnet>,
    /// Where the owner listens.
    public_ip: Underlay,
    /// The backend; `udp` when the owner did not name one.
    backend: String,
    /// The owner, unless it runs flanneld.
    node: Option<NodeId>,
    /// The owner's name, if it left a record.
    hostname: Option<String>,
    /// Without an end?
    reserved: bool,
    /// Seconds until it ends; `null` for a reservation, or when etcd did not say.
    expires_in: Option<u64>,
    /// When it was last written.
    revision: Revision,
}

/// The leases and the node records, unless there is no network at all.
pub(crate) async fn read<S: Store>(store: &S) -> Result<(Listing, Nodes), Failure> {
    let failure = |error| store_failure(&error);
    let listing = store.leases().await.map_err(failure)?;
    let nodes = store.nodes().await.map_err(failure)?;
    let empty = listing.leases.is_empty() && listing.malformed.is_empty();
    // An empty list under a mistyped prefix would look like a network that is down.
    if empty && store.config().await.map_err(failure)?.is_none() {
        return Err(no_network());
    }
    Ok((listing, nodes))
}

/// The lease of that subnet.
pub(crate) fn find(listing: &Listing, subnet: Subnet) -> Result<&Lease, Failure> {
    let found = listing.leases.iter().find(|lease| is_at(lease.key, subnet));
    found.ok_or_else(|| {
        let spoilt = listing.malformed.iter().find(|entry| is_of(entry, subnet));
        match spoilt {
            None => nobody(subnet),
            Some(entry) => {
                let message = format!("{} is no lease: {}", entry.key, entry.why);
                let hint = format!("delete the key: twillctl lease revoke {subnet}");
                Failure::new(Kind::Failed, message).hint(hint)
            }
        }
    })
}

/// It ends by itself, and there is nothing to release.
pub(crate) fn not_reserved(lease: &Lease, nodes: &[NodeRecord]) -> Failure {
    let (subnet, owner) = (lease.subnet(), names::owner(lease, nodes));
    let message = format!("{subnet} is no reservation: {owner} has a lease that ends");
    let failure = Failure::new(Kind::Failed, message);
    failure.hint(format!("to free it now: twillctl lease revoke {subnet}"))
}

/// Nobody has that subnet.
pub(crate) fn nobody(subnet: Subnet) -> Failure {
    let failure = Failure::new(Kind::NotFound, format!("nobody has a lease of {subnet}"));
    failure.hint("see which there are: twillctl lease list")
}

/// Is it the key of that subnet, or of a pair with it?
pub(crate) fn is_at(key: Key, subnet: Subnet) -> bool {
    key.blocks().any(|block| block == subnet)
}

/// Does that key hold the subnet, although nobody can read for whom?
pub(crate) fn is_of(entry: &Malformed, subnet: Subnet) -> bool {
    entry.lease.is_some_and(|key| is_at(key, subnet))
}

/// Nobody configured a network under this prefix.
pub(crate) fn no_network() -> Failure {
    let failure = Failure::new(Kind::NotFound, "there is no network under this prefix of etcd");
    failure.hint("check --etcd-prefix, or make one: twillctl network init --network 10.88.0.0/16")
}

/// What `lease list` says.
pub(crate) fn report(listing: &Listing, nodes: &Nodes, ends: &Ends, output: Output) -> Report {
    let rows = rows(&listing.leases, &nodes.records, ends);
    let data = match output {
        Output::Table => text(&rows),
        Output::Json => report::json(&rows),
    };
    Report { data, notes: notes(&listing.malformed), code: 0 }
}

/// One lease, for a program that changed it; words tell a person.
pub(crate) fn one(lease: &Lease, nodes: &[NodeRecord], ends: &Ends, output: Output) -> String {
    match output {
        Output::Table => String::new(),
        Output::Json => report::json(&row(lease, nodes, ends)),
    }
}

/// The leases by subnet.
fn rows(leases: &[Lease], nodes: &[NodeRecord], ends: &Ends) -> Vec<Row> {
    let mut rows: Vec<Row> = leases.iter().map(|lease| row(lease, nodes, ends)).collect();
    rows.sort_by_key(|row| row.subnet);
    rows
}

fn row(lease: &Lease, nodes: &[NodeRecord], ends: &Ends) -> Row {
    let node = lease.value.node;
    let record = node.and_then(|id| nodes.iter().find(|record| record.id == id));
    Row {
        key: lease.key.to_string(),
        subnet: lease.subnet(),
        ipv6: lease.key.ipv6,
        public_ip: lease.value.public_ip,
        backend: backend(&lease.value.backend).to_owned(),
        node,
        hostname: record.map(|record| record.hostname.clone()),
        reserved: lease.lease_id.is_none(),
        expires_in: lease.lease_id.and_then(|id| ends.get(&id).copied()),
        revision: lease.revision,
    }
}

/// flannel's `udp` and `alloc` write no name, and only `udp` moves packets.
pub(crate) fn backend(backend: &LeaseBackend) -> &str {
    match backend {
        LeaseBackend::Unnamed => "udp",
        named => named.name(),
    }
}

/// The same for people.
fn text(rows: &[Row]) -> String {
    let cells = |row: &Row| {
        let node = match (&row.hostname, row.node) {
            (Some(hostname), _) => hostname.clone(),
            (None, Some(id)) => id.to_string(),
            (None, None) => "-".to_owned(),
        };
        let expires = match row.expires_in {
            _ if row.reserved => "reserved".to_owned(),
            Some(seconds) => table::span(seconds),
            None => "?".to_owned(),
        };
        let subnet = Key { subnet: row.subnet, ipv6: row.ipv6 }.words();
        [subnet, row.public_ip.to_string(), row.backend.clone(), node, expires]
    };
    let header = ["SUBNET", "PUBLIC-IP", "BACKEND", "NODE", "EXPIRES"];
    table::columns(header, rows.iter().map(cells).collect())
}

/// One note for each key that is no lease.
pub(crate) fn notes(malformed: &[Malformed]) -> Vec<String> {
    let note = |entry: &Malformed| format!("{} is no lease: {}", entry.key, entry.why);
    malformed.iter().map(note).collect()
}

#[cfg(test)]
mod tests {
    use twill_core::lease::LeaseValue;

    use super::*;
    use crate::golden;

    #[test]
    fn leases_of_twill_of_flannel_and_reservations() {
        let nodes = [node(1, "node1")];
        let leases = [
            lease("10.88.9.0-24", None, r#"{"PublicIP":"192.168.140.24","PublicIPv6":null}"#),
            lease("10.88.34.0-24", Some(7), VXLAN),
            lease(
                "10.88.35.0-24&fd00:88:0:23::-64",
                Some(7),
                r#"{"PublicIP":"192.168.140.25","PublicIPv6":"fd00:140::25","BackendType":"host-gw"}"#,
            ),
            lease("10.88.40.0-24", Some(8), &VXLAN.replace("01\"", "02\"")),
            lease("10.88.2.0-24", Some(9), r#"{"PublicIP":"192.168.140.23","PublicIPv6":null}"#),
        ];
        let ends = Ends::from([(LeaseId(7), 86_340), (LeaseId(9), 4)]);
        let rows = rows(&leases, &nodes, &ends);
        golden::check("lease-list.txt", &text(&rows));
        golden::check("lease-list.json", &report::json(&rows));
    }

    #[test]
    fn no_leases_are_a_header() {
        assert_eq!(text(&[]).lines().count(), 1);
    }

    const VXLAN: &str = "{\"PublicIP\":\"192.168.140.22\",\"PublicIPv6\":null,\
        \"BackendType\":\"vxlan\",\"BackendData\":{\"VNI\":1,\"VtepMAC\":\"02:00:00:00:00:01\"},\
        \"TwillNodeID\":\"00000000000000000000000000000001\"}";

    fn lease(key: &str, lease_id: Option<i64>, value: &str) -> Lease {
        Lease {
            key: key.parse::<Key>().unwrap(),
            value: LeaseValue::parse(value.as_bytes()).unwrap(),
            revision: Revision(12),
            lease_id: lease_id.map(LeaseId),
        }
    }

    fn node(id: u8, hostname: &str) -> NodeRecord {
        let mut bytes = [0; 16];
        bytes[15] = id;
        NodeRecord {
            id: NodeId::from_random(bytes),
            hostname: hostname.to_owned(),
            public_ip: Underlay([192, 168, 140, 22].into()),
            subnet: "10.88.34.0/24".parse().unwrap(),
            ipv6: None,
            version: "0.1.0".to_owned(),
            started: 1_700_000_000,
        }
    }
}
