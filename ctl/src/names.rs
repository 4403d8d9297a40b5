//! Which host a person means, and how a host is called.

use std::collections::BTreeSet;

use twill_core::ids::NodeId;
use twill_core::lease::Lease;
use twill_core::node::NodeRecord;

use crate::failure::{Failure, Kind};
use crate::leases;

/// A node id in full, the beginning of one, or a host's name, if only one host is meant. An id in
/// full may be of a host that is still to come.
pub(crate) fn resolve(
    text: &str,
    nodes: &[NodeRecord],
    leases: &[Lease],
) -> Result<NodeId, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let start = text.to_ascii_lowercase();
    let begins = |id: &NodeId| !start.is_empty() && id.to_string().starts_with(&start);
    let named = nodes.iter().filter(|record| record.hostname == text).map(|record| record.id);
    let recorded = nodes.iter().map(|record| record.id);
    let owners = leases.iter().filter_map(|lease| lease.value.node);
    let meant: BTreeSet<NodeId> = named.chain(recorded.chain(owners).filter(begins)).collect();
    let mut meant = meant.into_iter();
    match (meant.next(), meant.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => {
            let failure = Failure::new(Kind::NotFound, format!("no host is called `{text}`"));
            Err(failure.hint("see `twillctl node list`, or give the host's whole node id"))
        }
        (Some(first), Some(second)) => {
            let [first, second] = [first, second].map(|id| known_as(id, nodes));
            let message = format!("`{text}` may be {first} or {second}");
            Err(Failure::new(Kind::Failed, message).hint("give more of the node id"))
        }
    }
}

/// `5a5a…5a (node1)`, or the id alone.
pub(crate) fn known_as(id: NodeId, nodes: &[NodeRecord]) -> String {
    hostname(id, nodes).map_or_else(|| id.to_string(), |name| format!("{id} ({name})"))
}

/// What the host calls itself.
pub(crate) fn hostname(id: NodeId, nodes: &[NodeRecord]) -> Option<&str> {
    nodes.iter().find(|record| record.id == id).map(|record| record.hostname.as_str())
}

/// Who has a lease: `192.168.140.22 (node1, vxlan, reserved)`.
pub(crate) fn owner(lease: &Lease, nodes: &[NodeRecord]) -> String {
    let name = lease.value.node.and_then(|id| hostname(id, nodes));
    let backend = leases::backend(&lease.value.backend);
    let reserved = lease.lease_id.is_none().then_some("reserved");
    let traits: Vec<&str> = name.into_iter().chain([backend]).chain(reserved).collect();
    let text = format!("{} ({})", lease.value.public_ip, traits.join(", "));
    // Host names are what other hosts say: none of them steers this terminal.
    text.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use twill_core::ids::{Revision, Underlay};
    use twill_core::lease::LeaseValue;

    use super::*;

    #[test]
    fn a_host_is_meant_by_name_by_id_and_by_the_beginning_of_one() {
        let nodes = [node(0x5a, "node1"), node(0x5b, "node2"), node(0xca, "5b"), node(1, "twin")];
        let nodes = [&nodes[..], &[node(2, "twin")]].concat();
        let leases =
            [lease(r#"{"PublicIP":"192.0.2.9","TwillNodeID":"99999999999999999999999999999999"}"#)];
        let of = |byte| Some(NodeId::from_random([byte; 16]));
        let rows = [
            ("by name", "node1", of(0x5a)),
            ("by the beginning", "5a", of(0x5a)),
            ("in capitals", "CAC", of(0xca)),
            ("in full, and unknown", "77777777777777777777777777777777", of(0x77)),
            ("without a record", "99", of(0x99)),
            ("the beginning of two", "5", None),
            ("the name of one, the beginning of another", "5b", None),
            ("the name of two", "twin", None),
            ("nobody", "node3", None),
            ("nothing", "", None),
        ];
        for (name, text, want) in rows {
            assert_eq!(resolve(text, &nodes, &leases).ok(), want, "{name}");
        }
        let failure = resolve("twin", &nodes, &[]).unwrap_err().to_string();
        assert!(failure.contains("0202 (twin)\nhint: "), "{failure}");
    }

    #[test]
    fn an_owner_is_called_by_all_that_is_known() {
        let nodes = [node(0x5a, "no\u{1b}de")];
        let value = r#"{"PublicIP":"192.0.2.9","TwillNodeID":"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"}"#;
        assert_eq!(owner(&lease(value), &nodes), "192.0.2.9 (no\\u{1b}de, udp, reserved)");
        assert_eq!(owner(&lease("{}"), &nodes), "0.0.0.0 (udp, reserved)");
    }

    fn node(byte: u8, hostname: &str) -> NodeRecord {
        NodeRecord {
            id: NodeId::from_random([byte; 16]),
            hostname: hostname.to_owned(),
            public_ip: Underlay([192, 0, 2, byte].into()),
            subnet: "10.88.34.0/24".parse().unwrap(),
            ipv6: None,
            version: "0.1.0".to_owned(),
            started: 1_700_000_000,
        }
    }

    fn lease(value: &str) -> Lease {
        Lease {
            key: "10.88.34.0-24".parse().unwrap(),
            value: LeaseValue::parse(value.as_bytes()).unwrap(),
            revision: Revision(12),
            lease_id: None,
        }
    }
}
