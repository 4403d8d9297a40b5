//! What `twilld` says about itself on its local socket, as `twillctl status` reads it.

use serde::{Deserialize, Serialize};

use crate::ids::{Mtu, NodeId, Subnet, Underlay};

/// The state of one agent at one moment; the JSON document of `GET /status`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Who this host is.
    pub node: NodeId,
    /// The host's name.
    pub hostname: String,
    /// The backend's name, `udp` or `vxlan`.
    pub backend: String,
    /// The tunnel device.
    pub device: String,
    /// What the device carries, in bytes.
    pub mtu: Mtu,
    /// The whole overlay network.
    pub network: Subnet,
    /// This host's block.
    pub subnet: Subnet,
    /// Where peers send this host's packets.
    pub public_ip: Underlay,
    /// Seconds since 1970 at which the lease ends unless it is renewed; `None` for a reservation.
    pub lease_expires: Option<u64>,
    /// Is etcd answering?
    pub etcd: EtcdState,
    /// The hosts that this one sends to.
    pub peers: Vec<Peer>,
    /// Leases of which this host makes no use, and why.
    pub ignored: Vec<Ignored>,
    /// The writes that the kernel still lacks, in words; empty when converged.
    pub pending: Vec<String>,
    /// The last error of the reconcile loop, until a pass succeeds.
    pub last_error: Option<String>,
}

/// Is etcd answering?
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EtcdState {
    /// The watch stands.
    Connected,
    /// The agent lives from its last good picture.
    Away,
}

/// One other host of the network.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its block.
    pub subnet: Subnet,
    /// Where it listens.
    pub public_ip: Underlay,
}

/// A lease that is in etcd and not in the kernel.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Ignored {
    /// The lease's key, or what there is of it.
    pub key: String,
    /// Why it is not used.
    pub why: String,
}
