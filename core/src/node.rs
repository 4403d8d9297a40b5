//! What a host says about itself under `<prefix>/twill/nodes/<node id>`.
//!
//! flannel has no such record and never looks there.

use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, Subnet, Underlay};

/// One host of the network, for people: nothing depends on it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Which host it is; the last part of the key.
    pub id: NodeId,
    /// Its name.
    pub hostname: String,
    /// Where its end of the tunnel listens.
    pub public_ip: Underlay,
    /// Its block of addresses.
    pub subnet: Subnet,
    /// Its block of IPv6 beside one of IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Subnet>,
    /// The version of its agent.
    pub version: String,
    /// Seconds since 1970 at which its agent started.
    pub started: u64,
}

/// The value is no node record.
#[derive(Debug, thiserror::Error)]
#[error("not a node record")]
pub struct Error(#[from] serde_json::Error);

impl NodeRecord {
    /// The text of the value: compact JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, numbers and addresses always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the value; members of later versions are ignored.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        Ok(serde_json::from_slice(text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn reads_what_it_writes_and_what_comes_later() {
        let record = NodeRecord {
            id: NodeId::from_random([7; 16]),
            hostname: "node1".to_owned(),
            public_ip: Underlay([192, 168, 140, 22].into()),
            subnet: "10.88.86.0/24".parse().expect("a subnet"),
            ipv6: None,
            version: "0.1.0".to_owned(),
            started: 1_764_000_000,
        };
        let text = record.to_json();
        golden::check("node.json", &(text.clone() + "\n"));
        assert_eq!(NodeRecord::parse(text.as_bytes()).expect("ours"), record);
        let later = text.replace('{', r#"{"region":"east","#);
        assert_eq!(NodeRecord::parse(later.as_bytes()).expect("a later version's"), record);
        for text in ["", "{}", "[]", r#"{"id":"short"}"#] {
            assert!(NodeRecord::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
