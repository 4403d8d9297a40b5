//! What `twilld` says about itself on its local socket, as `twillctl status` reads it.

use serde::{Deserialize, Serialize};

use crate::ids::{Mtu, NetworkName, NodeId, Subnet, Underlay};

/// The form of the document. It grows when a member goes or changes its meaning; new members come
/// without that.
pub const SCHEMA: u32 = 1;

/// The state of one agent at one moment; the JSON document of `GET /status`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`] of the agent; 0 of one that does not tell.
    #[serde(default)]
    pub schema: u32,
    /// The program's version.
    pub version: String,
    /// Who this host is.
    pub node: NodeId,
    /// The host's name.
    pub hostname: String,
    /// The backend's name: `udp`, `vxlan` or `host-gw`.
    pub backend: String,
    /// The tunnel device, or without one the interface to the other hosts.
    pub device: String,
    /// What the device carries, in bytes.
    pub mtu: Mtu,
    /// The whole overlay network.
    pub network: Subnet,
    /// This host's block.
    pub subnet: Subnet,
    /// Where peers send this host's packets.
    pub public_ip: Underlay,
    /// The same for IPv6, beside IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<InIpv6>,
    /// Seconds since 1970 at which the lease ends unless it is renewed; `None` for a reservation.
    pub lease_expires: Option<u64>,
    /// Is etcd answering?
    pub etcd: EtcdState,
    /// What the network is known from, and what is wrong with that.
    #[serde(flatten)]
    pub standing: Standing,
    /// The hosts that this one sends to.
    pub peers: Vec<Peer>,
    /// Leases of which this host makes no use, and why.
    pub ignored: Vec<Ignored>,
    /// The writes that the kernel still lacks, in words; empty when converged.
    pub pending: Vec<String>,
    /// The last error of the reconcile loop, until a pass succeeds.
    pub last_error: Option<String>,
    /// Backends of earlier configurations that some host still uses, in words.
    #[serde(default)]
    pub earlier: Vec<String>,
    /// Why the host does not go by the newest configuration but by the one before, if so.
    #[serde(default)]
    pub config_error: Option<String>,
    /// What the firewall's rules are written with, as the log names it.
    #[serde(default)]
    pub firewall: Option<String>,
}

/// What a host in a network of both families is among the addresses of IPv6.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct InIpv6 {
    /// The whole overlay network.
    pub network: Subnet,
    /// This host's block.
    pub subnet: Subnet,
    /// Where peers send this host's packets.
    pub public_ip: Underlay,
    /// The tunnel device, or without one the interface to the other hosts.
    pub device: String,
}

/// The state of the agent of a host in several networks; there it is the JSON document of `GET /status`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// [`SCHEMA`] of the agent.
    pub schema: u32,
    /// Each network, in the order of the agent's option, or in that in which they came.
    pub networks: Vec<NetworkStatus>,
    /// How it learns of them, if it follows all that lie under a prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watched>,
}

/// What a host that follows all networks under a prefix knows of them.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    /// The prefix.
    pub prefix: String,
    /// Does the watch stand?
    pub etcd: EtcdState,
    /// Why not.
    pub error: Option<String>,
    /// Names there that no network can have, in words.
    pub refused: Vec<String>,
    /// Why it is not known which networks those are; `None` if it is, from etcd or from the host's own disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unready: Option<String>,
}

/// One of several networks.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// Its name.
    pub name: NetworkName,
    /// Can its containers rely on this host?
    pub ready: bool,
    /// Why not, in words.
    pub unready: Vec<String>,
    /// As of a host in this network alone; `None` before the host has a subnet there.
    pub status: Option<Status>,
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

/// What the agent stands on. An agent that does not tell stands on etcd.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Who told it of its network.
    #[serde(default)]
    pub source: Source,
    /// Seconds since 1970 at which the picture was kept that the network is known from, by the clock of
    /// that time.
    #[serde(default)]
    pub picture_kept: Option<u64>,
    /// Seconds since 1970 at which etcd came or went.
    #[serde(default)]
    pub etcd_since: Option<u64>,
    /// Seconds for which the lease is certainly valid; `None` for a reservation. It takes off what two
    /// hosts' clocks may differ by.
    #[serde(default)]
    pub lease_left: Option<u64>,
    /// Why the host is worse off than it should be though it is ready; empty when it is not.
    #[serde(default)]
    pub degraded: Vec<String>,
}

/// Who told an agent of its network.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// etcd.
    #[default]
    Etcd,
    /// What the host kept on disk when etcd was there.
    Picture,
}

/// One other host of the network.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its block.
    pub subnet: Subnet,
    /// Where it listens.
    pub public_ip: Underlay,
    /// How it is sent to, in words; empty if the agent does not tell.
    #[serde(default)]
    pub backend: String,
    /// Seconds since 1970 at which this agent learned of it as it is now.
    #[serde(default)]
    pub since: Option<u64>,
    /// The writes that the kernel still lacks for it, in words; empty when all is in place.
    #[serde(default)]
    pub pending: Vec<String>,
}

/// A lease that is in etcd and not in the kernel.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Ignored {
    /// The lease's key, or what there is of it.
    pub key: String,
    /// Why it is not used.
    pub why: String,
    /// The same as one of a few words.
    #[serde(default)]
    pub reason: Reason,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a lease is not used, as one of a few words, for programs that count.
        #[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
            /// One that this version does not know.
            #[default]
            #[serde(other, rename = "other")]
            Other,
        }

        impl Reason {
            /// All of them.
            pub const ALL: [Self; [$($name),*].len() + 1] = [$(Self::$variant,)* Self::Other];

            /// The word.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other => "other",
                }
            }
        }
    };
}

reasons! {
    /// The key or its value cannot be read.
    Malformed = "malformed",
    /// Its host sends in a way that this one does not serve.
    OtherBackend = "other-backend",
    /// Its host is in another VXLAN segment.
    OtherVni = "other-vni",
    /// It says that it is this very host.
    ThisHost = "this-host",
    /// Nothing can be sent to its public address.
    PublicAddress = "public-address",
    /// Its public key is somebody else's.
    PublicKey = "public-key",
    /// Its hardware address is not one device's, or is somebody else's.
    HardwareAddress = "hardware-address",
    /// Its block overlaps another one.
    Overlap = "overlap",
    /// Its block is not part of the network.
    OutsideNetwork = "outside-network",
    /// Its host has a newer lease.
    Superseded = "superseded",
    /// A router is in between, which its backend cannot do with.
    OutOfReach = "out-of-reach",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_same_word_in_the_document_and_elsewhere() {
        for reason in Reason::ALL {
            let written = serde_json::to_string(&reason).unwrap();
            assert_eq!(written, format!("{:?}", reason.name()));
            assert_eq!(serde_json::from_str::<Reason>(&written).unwrap(), reason);
        }
        let later = serde_json::from_str::<Reason>("\"of-a-later-version\"").unwrap();
        assert_eq!(later, Reason::Other);
    }

    #[test]
    fn the_document_of_an_earlier_agent_is_read() {
        let text = r#"{"subnet":"10.88.1.0/24","public_ip":"192.0.2.1"}"#;
        let peer: Peer = serde_json::from_str(text).unwrap();
        assert_eq!((peer.backend.as_str(), peer.since, peer.pending.len()), ("", None, 0));
        let ignored: Ignored = serde_json::from_str(r#"{"key":"x","why":"y"}"#).unwrap();
        assert_eq!(ignored.reason, Reason::Other);
    }
}
