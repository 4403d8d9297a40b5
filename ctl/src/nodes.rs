//! `twillctl node`: the hosts of the network, from what they say about themselves and what they own.

use serde::Serialize;
use twill_core::ids::{NodeId, Subnet, Underlay};
use twill_core::lease::Lease;
use twill_core::node::NodeRecord;
use twill_store::Store;

use crate::args::Output;
use crate::failure::Failure;
use crate::report::{self, Report};
use crate::{leases, table};

/// One host as `-o json` shows it.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Row {
    /// Which host; `null` for one that runs flanneld.
    node: Option<NodeId>,
    /// Its name.
    hostname: Option<String>,
    /// Where it listens.
    public_ip: Underlay,
    /// The subnet it owns now; `null` when its lease is gone.
    subnet: Option<Subnet>,
    /// How packets reach it.
    backend: Option<String>,
    /// The version of its agent.
    version: Option<String>,
    /// Seconds since 1970 at which its agent started.
    started: Option<u64>,
}

/// What `node list` says.
pub(crate) async fn list<S: Store>(store: &S, output: Output) -> Result<Report, Failure> {
    let (listing, nodes) = leases::read(store).await?;
    let rows = rows(&listing.leases, &nodes.records);
    let data = match output {
        Output::Table => text(&rows),
        Output::Json => report::json(&rows),
    };
    let mut remarks = leases::notes(&listing.malformed);
    remarks.extend(
        nodes.unreadable.iter().map(|node| format!("{} is no node: {}", node.key, node.why)),
    );
    Ok(Report { data, notes: remarks, code: 0 })
}

/// Every lease with its owner's record, then every record without a lease.
fn rows(leases: &[Lease], nodes: &[NodeRecord]) -> Vec<Row> {
    let mut leases: Vec<&Lease> = leases.iter().collect();
    leases.sort_by_key(|lease| lease.key);
    let owns = |record: &NodeRecord| leases.iter().any(|lease| lease.value.node == Some(record.id));
    let gone: Vec<&NodeRecord> = nodes.iter().filter(|record| !owns(record)).collect();
    let with_lease = leases.iter().map(|lease| {
        let record = nodes.iter().find(|record| lease.value.node == Some(record.id));
        Row {
            node: lease.value.node,
            hostname: record.map(|record| record.hostname.clone()),
            public_ip: lease.value.public_ip,
            subnet: Some(lease.subnet()),
            backend: Some(leases::backend(&lease.value.backend).to_owned()),
            version: record.map(|record| record.version.clone()),
            started: record.map(|record| record.started),
        }
    });
    let without = gone.into_iter().map(|record| Row {
        node: Some(record.id),
        hostname: Some(record.hostname.clone()),
        public_ip: record.public_ip,
        subnet: None,
        backend: None,
        version: Some(record.version.clone()),
        started: Some(record.started),
    });
    with_lease.chain(without).collect()
}

/// The same for people.
fn text(rows: &[Row]) -> String {
    fn or_dash<T: ToString>(cell: Option<&T>) -> String {
        cell.map_or_else(|| "-".to_owned(), ToString::to_string)
    }
    let cells = |row: &Row| {
        [
            or_dash(row.hostname.as_ref()),
            row.public_ip.to_string(),
            row.subnet.map_or_else(|| "no lease".to_owned(), |subnet| subnet.to_string()),
            or_dash(row.backend.as_ref()),
            or_dash(row.version.as_ref()),
            or_dash(row.node.as_ref()),
        ]
    };
    let header = ["NAME", "PUBLIC-IP", "SUBNET", "BACKEND", "VERSION", "NODE"];
    table::columns(header, rows.iter().map(cells).collect())
}

#[cfg(test)]
mod tests {
    use twill_core::ids::{LeaseId, Revision};
    use twill_core::lease::LeaseValue;

    use super::*;
    use crate::golden;

    #[test]
    fn hosts_of_twill_of_flannel_and_one_that_lost_its_lease() {
        let leases = [
            lease(
                "10.88.34.0-24",
                r#"{"PublicIP":"192.168.140.22","TwillNodeID":"11111111111111111111111111111111"}"#,
            ),
            lease("10.88.2.0-24", r#"{"PublicIP":"192.168.140.23"}"#),
        ];
        let rows = rows(&leases, &[node(0x22, "node3"), node(0x11, "node1")]);
        golden::check("node-list.txt", &text(&rows));
        golden::check("node-list.json", &report::json(&rows));
    }

    fn lease(key: &str, value: &str) -> Lease {
        Lease {
            key: key.parse().unwrap(),
            value: LeaseValue::parse(value.as_bytes()).unwrap(),
            revision: Revision(12),
            lease_id: Some(LeaseId(1)),
        }
    }

    fn node(id: u8, hostname: &str) -> NodeRecord {
        NodeRecord {
            id: NodeId::from_random([id; 16]),
            hostname: hostname.to_owned(),
            public_ip: Underlay([192, 168, 140, 24].into()),
            subnet: "10.88.34.0/24".parse().unwrap(),
            ipv6: None,
            version: "0.1.0".to_owned(),
            started: 1_700_000_000,
        }
    }
}
