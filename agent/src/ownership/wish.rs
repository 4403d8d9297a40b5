//! What a host wants to be in the network.

use std::time::Duration;

use twill_core::config::NetworkConfig;
use twill_core::ids::{NodeId, Revision, Subnet, Underlay};
use twill_core::lease::{Key, LeaseValue, Listing};
use twill_core::node::NodeRecord;
use twill_core::pick::{Choice, Over, Situation};
use twill_store::Bid;

/// What a host wants to be in the network.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The network.
    pub config: NetworkConfig,
    /// When its configuration was written.
    pub written: Revision,
    /// Which host this is.
    pub node: NodeId,
    /// What peers are told.
    pub value: LeaseValue,
    /// The host's name, for people.
    pub hostname: String,
    /// Seconds since 1970 at which its agent started.
    pub started: u64,
    /// The subnet it had last.
    pub previous: Option<Key>,
    /// Blocks that this host reaches without us.
    pub local_routes: Vec<Subnet>,
    /// How long a lease lives without renewal.
    pub ttl: Duration,
    /// Does this machine look like the one that the state directory was made on?
    pub anchored: bool,
}

impl Wish {
    /// Where peers send this host's packets.
    #[must_use]
    pub fn public_ip(&self) -> Underlay {
        self.value.public_ip
    }

    pub(super) fn situation<'a>(
        &'a self,
        config: &'a NetworkConfig,
        listing: &'a Listing,
    ) -> Situation<'a> {
        Situation {
            config,
            node: self.node,
            public_ip: self.value.public_ip,
            listing,
            previous: self.previous,
            local_routes: &self.local_routes,
        }
    }

    /// A new key must be made under the configuration that it was chosen under: hosts with another
    /// length of subnets would not meet in one key. Who has a subnet keeps it under a later one.
    pub(super) fn bid(
        &self,
        choice: &Choice,
        (written, seen): (Option<Revision>, Revision),
    ) -> Bid {
        Bid {
            key: choice.key,
            value: self.value.clone(),
            over: choice.over,
            beside: choice.key.ipv6.map(|_beside| seen).filter(|_| choice.over == Over::Nothing),
            config: written.filter(|_| choice.over == Over::Nothing),
            ttl: self.ttl,
            record: Some(self.record(choice.key)),
        }
    }

    pub(super) fn record(&self, key: Key) -> NodeRecord {
        NodeRecord {
            id: self.node,
            hostname: self.hostname.clone(),
            public_ip: self.value.public_ip,
            subnet: key.subnet,
            ipv6: key.ipv6,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
        }
    }
}
