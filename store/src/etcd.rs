//! The store on a real etcd, over its v3 API.

mod call;
mod connect;
mod discover;
mod files;
mod inspect;
mod members;
mod networks;
mod picture;
mod question;
mod reserve;
mod rpc;
mod slot;
mod tenure;
mod times;
mod watch;

use std::time::Duration;

use etcd_client::{Txn, TxnOp};
use twill_core::ids::{LeaseId, NodeId, Revision};
use twill_core::lease::{Key, Lease, Listing};
use twill_core::ownership::Challenge;
use twill_core::pick::Over;

pub use connect::{Options, Password, Tls, User};
pub use discover::Discovery;
pub use inspect::Raw;
pub use watch::EtcdWatch;

use crate::Written;
use crate::layout::sort_nodes;
use crate::{
    Alive, Asked, Bid, Claimed, ConfigText, Error, Expected, Held, Nodes, Operation, Picture,
    Question, Renewal, Reserve, Revoked, Rewritten, Scope, Store,
};
use call::Endpoints;
use rpc::{Put, absent, as_read, first_row, unchanged};

/// The store on a real etcd. Connects with the first call, and again whenever it has to.
#[derive(Clone, Debug)]
pub struct Etcd {
    endpoints: Endpoints,
}

impl Etcd {
    /// Checks the options and reads the certificate files; makes no connection.
    pub fn new(options: &Options) -> Result<Self, Error> {
        Ok(Self { endpoints: Endpoints::new(options)? })
    }
}

impl Store for Etcd {
    type Watch = EtcdWatch;

    fn reconnect(&self) {
        self.endpoints.reconnect();
    }

    async fn config(&self) -> Result<Option<ConfigText>, Error> {
        let key = self.endpoints.layout.config();
        let call = (Operation::ReadConfig, key.as_str());
        let found = self
            .endpoints
            .call(call, |mut client| {
                let key = key.clone();
                async move { client.get(key, None).await }
            })
            .await?;
        Ok(found.kvs().first().map(|row| ConfigText {
            text: row.value().to_vec(),
            revision: Revision(row.mod_revision()),
        }))
    }

    async fn write_config(&self, text: &str, expected: Expected) -> Result<Written, Error> {
        let key = self.endpoints.layout.config();
        let when = match expected {
            Expected::Nothing => vec![absent(&key)],
            Expected::At(revision) => vec![unchanged(&key, revision)],
            Expected::Anything => Vec::new(),
        };
        let put = Put { key: key.clone(), value: text.to_owned(), lease_id: None };
        match self.swap(Operation::WriteConfig, when, vec![put]).await? {
            Some(revision) => Ok(Written::Done(revision)),
            None => Ok(Written::Changed),
        }
    }

    async fn leases(&self) -> Result<Listing, Error> {
        let prefix = self.endpoints.layout.leases();
        let (revision, rows) = self.list(Operation::ListLeases, &prefix).await?;
        Ok(picture::listing(&prefix, revision, &rows))
    }

    async fn picture(&self, node: NodeId) -> Result<Picture, Error> {
        self.read_picture(node).await
    }

    async fn claim(&self, bid: &Bid) -> Result<Claimed, Error> {
        let path = self.endpoints.layout.lease(bid.key);
        let granted = match bid.standing() {
            Some(id) => Some(self.adopt_or_grant(bid, id).await?),
            None if bid.is_reservation() && bid.record.is_none() => None,
            None => Some(self.grant((Operation::Claim, &path), bid.ttl).await?),
        };
        let result = self.put_bid(bid, granted).await;
        // An etcd lease made for a bid that is lost must not outlive it. When nobody knows, this takes a
        // new key back; one that was there before stays, whichever of the two it hangs on.
        let needless = match result {
            Ok(Claimed::Ours(_)) => false,
            Ok(Claimed::Lost | Claimed::Outdated) => true,
            Err(_) => bid.over == Over::Nothing,
        };
        if let Some(granted) = granted.filter(|granted| granted.fresh && needless) {
            self.end(granted.id).await;
        }
        result
    }

    async fn renew(&self, renewal: Renewal<'_>) -> Result<Claimed, Error> {
        self.write_again(renewal).await
    }

    async fn keep_alive(&self, held: &Held) -> Result<Alive, Error> {
        self.stay_alive(held).await
    }

    async fn ask(
        &self,
        node: NodeId,
        challenge: &Challenge,
        ttl: Duration,
    ) -> Result<Asked, Error> {
        self.place_question(node, (challenge, ttl)).await
    }

    async fn unask(&self, placed: LeaseId) {
        self.end(placed).await;
    }

    async fn answer(&self, node: NodeId, answered: &Question) -> Result<(), Error> {
        self.write_answer(node, answered).await
    }

    async fn revoke(&self, lease: &Lease) -> Result<Revoked, Error> {
        let path = self.endpoints.layout.lease(lease.key);
        let txn = Txn::new()
            .when(as_read(&path, (lease.revision, lease.lease_id)))
            .and_then(vec![TxnOp::delete(path.as_str(), None)])
            .or_else(vec![TxnOp::get(path.as_str(), None)]);
        let answer = self
            .endpoints
            .call((Operation::Revoke, &path), |mut client| {
                let txn = txn.clone();
                async move { client.txn(txn).await }
            })
            .await?;
        if !answer.succeeded() && answer.op_responses().into_iter().find_map(first_row).is_some() {
            return Ok(Revoked::Changed);
        }
        if let Some(id) = lease.lease_id {
            self.end(id).await;
        }
        Ok(Revoked::Gone)
    }

    async fn nodes(&self) -> Result<Nodes, Error> {
        let prefix = self.endpoints.layout.nodes();
        let (_revision, rows) = self.list(Operation::ListNodes, &prefix).await?;
        let named: Vec<_> =
            rows.iter().map(|row| (watch::row(&prefix, row).key.into_owned(), row)).collect();
        Ok(sort_nodes(named.iter().map(|(name, row)| (name.as_str(), row.value()))))
    }

    async fn watch(&self, after: Revision, scope: Scope) -> Result<EtcdWatch, Error> {
        EtcdWatch::start(&self.endpoints, (after, scope)).await
    }

    async fn reserve(&self, wish: Reserve<'_>) -> Result<Rewritten, Error> {
        self.write_reservation(wish).await
    }

    async fn release(&self, lease: &Lease, ttl: Duration) -> Result<Rewritten, Error> {
        self.write_release(lease, ttl).await
    }

    async fn discard(&self, key: Key, revision: Revision) -> Result<Revoked, Error> {
        self.delete_unread(key, revision).await
    }
}
