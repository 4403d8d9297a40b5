//! The store on a real etcd, over its v3 API.

mod call;
mod connect;
mod remaining;
mod rpc;
mod watch;

use etcd_client::{PutOptions, Txn, TxnOp};
use twill_core::ids::{LeaseId, Revision};
use twill_core::lease::{Lease, Listing};
use twill_core::node::NodeRecord;
use twill_core::pick::Over;

pub use connect::{Options, Tls, User};
pub use watch::EtcdWatch;

use crate::Written;
use crate::layout::sort_nodes;
use crate::{Bid, Claimed, ConfigText, Error, Expected, Held, Nodes, Operation, Revoked, Store};
use call::Endpoints;
use rpc::{Put, absent, first_row, unchanged};

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
        let put = Put { value: text.to_owned(), lease_id: None };
        match self.swap((Operation::WriteConfig, &key), when, put).await? {
            Some(revision) => Ok(Written::Done(revision)),
            None => Ok(Written::Changed),
        }
    }

    async fn leases(&self) -> Result<Listing, Error> {
        let prefix = self.endpoints.layout.leases();
        let (revision, rows) = self.list(Operation::ListLeases, &prefix).await?;
        let mut listing = Listing { revision, ..Listing::default() };
        for row in &rows {
            match watch::row(&prefix, row).lease() {
                Ok(lease) => listing.leases.push(lease),
                Err(malformed) => listing.malformed.push(malformed),
            }
        }
        Ok(listing)
    }

    async fn claim(&self, bid: &Bid) -> Result<Claimed, Error> {
        let granted = match bid.over {
            Over::Reservation(_) => None,
            Over::Lease(_, id) => Some(self.adopt_or_grant(bid, id).await?),
            Over::Nothing => Some(self.grant(bid).await?),
        };
        let result = self.put_bid(bid, granted).await;
        // Lost, or nobody knows: an etcd lease made for this bid must not outlive it. If the write
        // did happen after all, this takes it back.
        if !matches!(result, Ok(Claimed::Ours(_)))
            && let Some(granted) = granted.filter(|granted| granted.fresh)
        {
            self.end(granted.id).await;
        }
        result
    }

    async fn renew(&self, held: &Held) -> Result<Claimed, Error> {
        let Lease { key, ref value, revision, lease_id } = held.lease;
        let path = self.endpoints.layout.lease(key);
        let ttl = match lease_id {
            None => None,
            Some(id) => match self.keep_alive((Operation::Renew, &path), id).await? {
                None => return Ok(Claimed::Lost),
                alive => alive,
            },
        };
        let put = Put { value: value.to_json(), lease_id };
        let when = vec![unchanged(&path, revision)];
        let revision = self.swap((Operation::Renew, &path), when, put).await?;
        Ok(revision.map_or(Claimed::Lost, |revision| {
            Claimed::Ours(Held { lease: Lease { revision, ..held.lease.clone() }, ttl })
        }))
    }

    async fn revoke(&self, lease: &Lease) -> Result<Revoked, Error> {
        let path = self.endpoints.layout.lease(lease.key);
        let (when, revision) = (unchanged(&path, lease.revision), lease.revision);
        let txn = Txn::new()
            .when(vec![when])
            .and_then(vec![TxnOp::delete(path.as_str(), None)])
            .or_else(vec![TxnOp::get(path.as_str(), None)]);
        let answer = self
            .endpoints
            .call((Operation::Revoke, &path), |mut client| {
                let txn = txn.clone();
                async move { client.txn(txn).await }
            })
            .await?;
        let now = answer.op_responses().into_iter().find_map(first_row);
        if now.is_some_and(|row| row.mod_revision() != revision.0) {
            return Ok(Revoked::Changed);
        }
        if let Some(id) = lease.lease_id {
            self.end(id).await;
        }
        Ok(Revoked::Gone)
    }

    async fn put_node(&self, record: &NodeRecord, lease: Option<LeaseId>) -> Result<(), Error> {
        let key = self.endpoints.layout.node(record.id);
        let options = lease.map(|id| PutOptions::new().with_lease(id.0));
        self.endpoints
            .call((Operation::PutNode, &key), |mut client| {
                let (key, value, options) = (key.clone(), record.to_json(), options.clone());
                async move { client.put(key, value, options).await }
            })
            .await?;
        Ok(())
    }

    async fn nodes(&self) -> Result<Nodes, Error> {
        let prefix = self.endpoints.layout.nodes();
        let (_revision, rows) = self.list(Operation::ListNodes, &prefix).await?;
        let named: Vec<_> =
            rows.iter().map(|row| (watch::row(&prefix, row).key.into_owned(), row)).collect();
        Ok(sort_nodes(named.iter().map(|(name, row)| (name.as_str(), row.value()))))
    }

    async fn watch(&self, after: Revision) -> Result<EtcdWatch, Error> {
        EtcdWatch::start(&self.endpoints, after).await
    }
}
