//! The store on a real etcd, over its v3 API.

mod call;
mod connect;
mod remaining;
mod watch;

use std::time::Duration;

use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse,
};
use twill_core::ids::{LeaseId, Revision};
use twill_core::lease::{Lease, LeaseValue, Listing};
use twill_core::node::NodeRecord;
use twill_core::pick::Over;

pub use connect::{Options, Tls, User};
pub use watch::EtcdWatch;

use crate::Written;
use crate::layout::sort_nodes;
use crate::{Bid, Claimed, ConfigText, Error, Expected, Held, Nodes, Operation, Revoked, Store};
use call::Endpoints;

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

/// An etcd lease for a bid.
#[derive(Clone, Copy, Debug)]
struct Granted {
    id: LeaseId,
    ttl: Duration,
    /// Made for this bid, and not the one that was under the key already.
    fresh: bool,
}

/// What a transaction writes.
struct Put {
    value: String,
    lease_id: Option<LeaseId>,
}

impl Etcd {
    /// One range read, whole.
    async fn list(
        &self,
        operation: Operation,
        prefix: &str,
    ) -> Result<(Revision, Vec<KeyValue>), Error> {
        let mut answer = self
            .endpoints
            .call((operation, prefix), |client| {
                // The default of 4 MiB would be reached by some twenty thousand leases.
                let mut client = client.kv_client().max_decoding_message_size(64 << 20);
                async move { client.get(prefix, Some(GetOptions::new().with_prefix())).await }
            })
            .await?;
        let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
        Ok((Revision(revision), answer.take_kvs()))
    }

    async fn put_bid(&self, bid: &Bid, granted: Option<Granted>) -> Result<Claimed, Error> {
        let key = bid.subnet.into();
        let path = self.endpoints.layout.lease(key);
        let when = match bid.over {
            Over::Nothing => absent(&path),
            Over::Lease(revision, _) | Over::Reservation(revision) => unchanged(&path, revision),
        };
        let lease_id = granted.map(|granted| granted.id);
        let put = Put { value: bid.value.to_json(), lease_id };
        let revision = self.swap((Operation::Claim, &path), vec![when], put).await?;
        Ok(revision.map_or(Claimed::Lost, |revision| {
            let value: LeaseValue = bid.value.clone();
            let lease = Lease { key, value, revision, lease_id };
            Claimed::Ours(Held { lease, ttl: granted.map(|granted| granted.ttl) })
        }))
    }

    /// Writes if the conditions hold. `None` when they do not, unless what we wanted to write is
    /// there already: then an earlier try got through whose answer did not.
    async fn swap(
        &self,
        call: (Operation, &str),
        when: Vec<Compare>,
        put: Put,
    ) -> Result<Option<Revision>, Error> {
        let (_operation, key) = call;
        let lease = put.lease_id.map_or(0, |id| id.0);
        let options = PutOptions::new().with_lease(lease);
        let txn = Txn::new()
            .when(when)
            .and_then(vec![TxnOp::put(key, put.value.as_str(), Some(options))])
            .or_else(vec![TxnOp::get(key, None)]);
        let answer = self
            .endpoints
            .try_call(call, |mut client| {
                let txn = txn.clone();
                async move { client.txn(txn).await }
            })
            .await;
        let answer = match answer {
            // The etcd lease ended under us, and the key with it.
            Err((_place, cause)) if cause.is_lease_not_found() => return Ok(None),
            other => other.map_err(|(place, cause)| Error::new(place, cause))?,
        };
        if answer.succeeded() {
            return Ok(answer.header().map(|header| Revision(header.revision())));
        }
        let now = answer.op_responses().into_iter().find_map(first_row);
        let ours = now.filter(|row| row.value() == put.value.as_bytes() && row.lease() == lease);
        Ok(ours.map(|row| Revision(row.mod_revision())))
    }

    async fn grant(&self, bid: &Bid) -> Result<Granted, Error> {
        let path = self.endpoints.layout.lease(bid.subnet.into());
        let seconds = seconds(bid.ttl);
        let answer = self
            .endpoints
            .call((Operation::Claim, &path), |mut client| async move {
                client.lease_grant(seconds, None).await
            })
            .await?;
        let ttl = Duration::from_secs(u64::try_from(answer.ttl()).unwrap_or(0));
        Ok(Granted { id: LeaseId(answer.id()), ttl, fresh: true })
    }

    /// Lives on with the etcd lease that is under the key, so that restarts do not leave a trail of
    /// empty ones; makes a new one when that has ended or has another length.
    async fn adopt_or_grant(&self, bid: &Bid, id: LeaseId) -> Result<Granted, Error> {
        let path = self.endpoints.layout.lease(bid.subnet.into());
        match self.keep_alive((Operation::Claim, &path), id).await? {
            Some(ttl) if ttl.as_secs() == bid.ttl.as_secs() => {
                Ok(Granted { id, ttl, fresh: false })
            }
            _ => self.grant(bid).await,
        }
    }

    /// `None` when etcd has no such lease any more.
    async fn keep_alive(
        &self,
        call: (Operation, &str),
        id: LeaseId,
    ) -> Result<Option<Duration>, Error> {
        let answer = self
            .endpoints
            .try_call(call, |mut client| async move {
                client.lease_keep_alive(id.0).await?;
                client.lease_time_to_live(id.0, None).await
            })
            .await;
        match answer {
            Ok(alive) => Ok(u64::try_from(alive.granted_ttl())
                .ok()
                .filter(|_| alive.ttl() > 0)
                .map(Duration::from_secs)),
            Err((_place, cause)) if cause.is_lease_not_found() => Ok(None),
            Err((place, cause)) => Err(Error::new(place, cause)),
        }
    }

    /// Ends an etcd lease with whatever hangs on it. If that fails, it runs out by itself.
    async fn end(&self, id: LeaseId) {
        let call = (Operation::Revoke, "an unused etcd lease");
        let ended = self
            .endpoints
            .try_call(call, |mut client| async move { client.lease_revoke(id.0).await })
            .await;
        match ended {
            Ok(_) => {}
            Err((_place, cause)) if cause.is_lease_not_found() => {}
            Err((place, cause)) => {
                tracing::debug!(lease = %id, %place, %cause, "an etcd lease is left to run out");
            }
        }
    }
}

fn absent(key: &str) -> Compare {
    Compare::version(key, CompareOp::Equal, 0)
}

fn unchanged(key: &str, revision: Revision) -> Compare {
    Compare::mod_revision(key, CompareOp::Equal, revision.0)
}

fn first_row(answer: TxnOpResponse) -> Option<KeyValue> {
    match answer {
        TxnOpResponse::Get(mut found) => found.take_kvs().into_iter().next(),
        _ => None,
    }
}

/// etcd counts in whole seconds, and takes zero for its own minimum.
fn seconds(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX)
}
