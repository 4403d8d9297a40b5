//! A store that counts what it is asked.

use std::time::Duration;

use tokio::time::Instant;
use twill_core::ids::{LeaseId, NetworkName, NodeId, Revision};
use twill_core::lease::{Key, Lease, Listing};
use twill_core::networks::catalogue::Catalogue;
use twill_core::ownership::Challenge;
use twill_store::{
    Alive, Asked, Bid, Claimed, ConfigText, Directory, Error, Expected, Held, Nodes, Past, Picture,
    Question, Renewal, Reserve, Revoked, Rewritten, Scope, Store, Written,
};

use super::Meters;

/// The calls that an agent makes, in the words of [`Store`].
pub(super) const METHODS: [&str; 18] = [
    "answer",
    "ask",
    "claim",
    "config",
    "discard",
    "keep_alive",
    "leases",
    "networks",
    "nodes",
    "past",
    "picture",
    "release",
    "renew",
    "reserve",
    "revoke",
    "unask",
    "watch",
    "write_config",
];

/// Another store, and how often it was asked for what.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    store: S,
    meters: Meters,
}

impl<S: Store> Counted<S> {
    pub(crate) fn new(store: S, meters: &Meters) -> Self {
        Self { store, meters: meters.clone() }
    }

    async fn count<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let answer = call.await;
        self.meters.asked(method, answer.is_err(), begun.elapsed());
        answer
    }
}

impl<S: Store> Store for Counted<S> {
    type Watch = S::Watch;

    fn reconnect(&self) {
        self.store.reconnect();
    }

    async fn config(&self) -> Result<Option<ConfigText>, Error> {
        self.count("config", self.store.config()).await
    }

    async fn write_config(&self, text: &str, expected: Expected) -> Result<Written, Error> {
        self.count("write_config", self.store.write_config(text, expected)).await
    }

    async fn leases(&self) -> Result<Listing, Error> {
        self.count("leases", self.store.leases()).await
    }

    async fn picture(&self, node: NodeId) -> Result<Picture, Error> {
        self.count("picture", self.store.picture(node)).await
    }

    async fn claim(&self, bid: &Bid) -> Result<Claimed, Error> {
        self.count("claim", self.store.claim(bid)).await
    }

    async fn renew(&self, renewal: Renewal<'_>) -> Result<Claimed, Error> {
        self.count("renew", self.store.renew(renewal)).await
    }

    async fn keep_alive(&self, held: &Held) -> Result<Alive, Error> {
        self.count("keep_alive", self.store.keep_alive(held)).await
    }

    async fn ask(
        &self,
        node: NodeId,
        challenge: &Challenge,
        ttl: Duration,
    ) -> Result<Asked, Error> {
        self.count("ask", self.store.ask(node, challenge, ttl)).await
    }

    async fn unask(&self, placed: LeaseId) {
        let call = async {
            self.store.unask(placed).await;
            Ok(())
        };
        // It has no other answer.
        drop(self.count("unask", call).await);
    }

    async fn answer(&self, node: NodeId, answered: &Question) -> Result<(), Error> {
        self.count("answer", self.store.answer(node, answered)).await
    }

    async fn revoke(&self, lease: &Lease) -> Result<Revoked, Error> {
        self.count("revoke", self.store.revoke(lease)).await
    }

    async fn nodes(&self) -> Result<Nodes, Error> {
        self.count("nodes", self.store.nodes()).await
    }

    async fn watch(&self, after: Revision, scope: Scope) -> Result<Self::Watch, Error> {
        self.count("watch", self.store.watch(after, scope)).await
    }

    async fn reserve(&self, wish: Reserve<'_>) -> Result<Rewritten, Error> {
        self.count("reserve", self.store.reserve(wish)).await
    }

    async fn release(&self, lease: &Lease, ttl: Duration) -> Result<Rewritten, Error> {
        self.count("release", self.store.release(lease, ttl)).await
    }

    async fn discard(&self, key: Key, revision: Revision) -> Result<Revoked, Error> {
        self.count("discard", self.store.discard(key, revision)).await
    }
}

impl<S: Directory> Directory for Counted<S> {
    async fn networks(&self) -> Result<Catalogue, Error> {
        self.count("networks", self.store.networks()).await
    }

    async fn past(&self, name: &NetworkName, written: Revision) -> Result<Past, Error> {
        self.count("past", self.store.past(name, written)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_that_is_counted_has_its_series() {
        let source = include_str!("etcd.rs");
        let mut counted: Vec<&str> = source
            .split("self.count(\"")
            .skip(1)
            .filter_map(|rest| rest.split_once('"').map(|(method, _rest)| method))
            .collect();
        // This very line is one of them.
        counted.retain(|method| *method != ")");
        counted.sort_unstable();
        assert_eq!(counted, METHODS);
    }
}
