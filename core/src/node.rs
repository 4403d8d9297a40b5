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
