//! Makes a subnet ours: choose, bid, and choose again when another host was faster.

use std::time::Duration;

use twill_core::config::{Backend, NetworkConfig};
use twill_core::ids::{Mac, NodeId, Revision, Subnet, Underlay};
use twill_core::lease::{LeaseBackend, LeaseValue, Listing};
use twill_core::pick::{self, Choice, Situation, pick};
use twill_store::{Backoff, Bid, Claimed, Held, Store};

/// flannel's: its peers believe a lease for a day.
pub(crate) const TTL: Duration = Duration::from_hours(24);

/// What this host wants to be in the network.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) config: NetworkConfig,
    /// When the configuration was written, if a claim must be made under that one and no other.
    pub(crate) written: Option<Revision>,
    pub(crate) node: NodeId,
    pub(crate) public_ip: Underlay,
    /// Of the tunnel device; `udp` has none.
    pub(crate) mac: Option<Mac>,
    /// The subnet it had last.
    pub(crate) previous: Option<Subnet>,
    /// Blocks that this host reaches without us.
    pub(crate) local_routes: Vec<Subnet>,
}

/// What came of one try.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The subnet is ours.
    Won(Choice, Held),
    /// Another host was faster: list again.
    Lost,
    /// The network has another configuration now.
    Outdated,
    /// There is nothing to bid for.
    Nothing(pick::Error),
    /// A host at this address has our node id, and took our lease: one is a copy of the other.
    Copied(Underlay),
    /// The choice is another subnet than the caller accepts; no bid was made.
    Elsewhere,
}

impl Wish {
    /// What to bid for, given everybody's leases.
    pub(crate) fn choose(&self, listing: &Listing) -> Result<Choice, pick::Error> {
        let situation = Situation {
            config: &self.config,
            node: self.node,
            public_ip: self.public_ip,
            listing,
            previous: self.previous,
            local_routes: &self.local_routes,
        };
        pick(&situation, rand::random())
    }

    /// One bid. With `only`, none for any other subnet.
    pub(crate) async fn attempt<S: Store>(
        &self,
        store: &S,
        (listing, only): (&Listing, Option<Subnet>),
    ) -> Result<Attempt, twill_store::Error> {
        let choice = match self.choose(listing) {
            Ok(choice) => choice,
            Err(error) => return Ok(Attempt::Nothing(error)),
        };
        if only.is_some_and(|only| only != choice.subnet) {
            return Ok(Attempt::Elsewhere);
        }
        self.bid(store, choice).await
    }

    /// One bid for what was chosen.
    pub(crate) async fn bid<S: Store>(
        &self,
        store: &S,
        choice: Choice,
    ) -> Result<Attempt, twill_store::Error> {
        let bid = Bid {
            subnet: choice.subnet,
            value: self.value(),
            over: choice.over,
            config: self.written,
            ttl: TTL,
        };
        Ok(match store.claim(&bid).await? {
            Claimed::Ours(held) => Attempt::Won(choice, held),
            Claimed::Lost => Attempt::Lost,
            Claimed::Outdated => Attempt::Outdated,
        })
    }

    /// Bids until a subnet is ours. Hosts that start together meet on one subnet now and then, so
    /// each waits for a time of its own before it looks again.
    pub(crate) async fn claim<S: Store>(
        &self,
        store: &S,
        mut listing: Listing,
    ) -> Result<(Choice, Held, Listing), ClaimError> {
        let mut backoff = Backoff::default();
        loop {
            match self.attempt(store, (&listing, None)).await? {
                Attempt::Won(choice, held) => return Ok((choice, held, listing)),
                Attempt::Nothing(error) => return Err(error.into()),
                Attempt::Outdated => return Err(ClaimError::Outdated),
                Attempt::Lost | Attempt::Elsewhere | Attempt::Copied(_) => {}
            }
            tracing::debug!("another host was faster, looking again");
            tokio::time::sleep(backoff.next_wait()).await;
            listing = store.leases().await?;
        }
    }

    fn value(&self) -> LeaseValue {
        let backend = match (&self.config.backend, self.mac) {
            (Backend::Vxlan(vxlan), Some(mac)) => LeaseBackend::Vxlan { vni: Some(vxlan.vni), mac },
            (Backend::Vxlan(_), None) | (Backend::Udp(_), _) => LeaseBackend::Unnamed,
        };
        let Self { public_ip, node, .. } = *self;
        LeaseValue { public_ip, public_ipv6: None, backend, node: Some(node) }
    }
}

/// Why no subnet is ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    /// None is left.
    #[error("no subnet for this host")]
    Pick(#[from] pick::Error),
    /// The network has another configuration than the one that the subnet was chosen under.
    #[error("the network configuration has changed")]
    Outdated,
    /// etcd failed.
    #[error("cannot claim a subnet")]
    Store(#[from] twill_store::Error),
}

#[cfg(test)]
pub(crate) mod tests;
