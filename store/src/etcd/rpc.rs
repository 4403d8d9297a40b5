//! The few calls and transactions that the store is made of.

use std::time::Duration;

use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, LeaseGrantOptions, PutOptions, Txn, TxnOp,
    TxnOpResponse,
};
use twill_core::ids::{LeaseId, Revision};
use twill_core::lease::{Lease, LeaseValue};
use twill_core::node::NodeRecord;
use twill_core::pick::Over;

use super::Etcd;
use super::call::LARGEST_ANSWER;
use crate::{Bid, Claimed, Error, Held, Operation, Store as _};

/// An etcd lease for a bid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granted {
    pub(super) id: LeaseId,
    pub(super) ttl: Duration,
    /// Made for this bid, and not the one that was under the key already.
    pub(super) fresh: bool,
}

/// What a transaction writes.
pub(super) struct Put {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) lease_id: Option<LeaseId>,
}

impl Etcd {
    /// One range read, whole.
    pub(super) async fn list(
        &self,
        operation: Operation,
        prefix: &str,
    ) -> Result<(Revision, Vec<KeyValue>), Error> {
        let mut answer = self
            .endpoints
            .call((operation, prefix), |client| {
                let mut client = client.kv_client().max_decoding_message_size(LARGEST_ANSWER);
                async move { client.get(prefix, Some(GetOptions::new().with_prefix())).await }
            })
            .await?;
        let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
        Ok((Revision(revision), answer.take_kvs()))
    }

    pub(super) async fn put_bid(
        &self,
        bid: &Bid,
        granted: Option<Granted>,
    ) -> Result<Claimed, Error> {
        let key = bid.key;
        let path = self.endpoints.layout.lease(key);
        let mut when = match bid.over {
            Over::Nothing => vec![absent(&path)],
            Over::Lease(revision, id) => as_read(&path, (revision, Some(id))),
            Over::Reservation(revision) => as_read(&path, (revision, None)),
            Over::Unreadable(revision, _) => vec![unchanged(&path, revision)],
        };
        let config = self.endpoints.layout.config();
        let read = bid.config.map(|revision| unchanged(&config, revision));
        when.extend(read);
        let half = self.endpoints.layout.lease(key.subnet.into());
        when.extend(bid.beside.map(|revision| none_since(&half, revision)));
        let presence = granted.map(|granted| granted.id);
        let ends = granted.filter(|_| !bid.is_reservation());
        let lease_id = ends.map(|granted| granted.id);
        let mut puts = vec![Put { key: path, value: bid.value.to_json(), lease_id }];
        puts.extend(bid.record.as_ref().map(|record| self.record(record, presence)));
        let Some(revision) = self.swap(Operation::Claim, when, puts).await? else {
            return self.why_lost(bid).await;
        };
        let value: LeaseValue = bid.value.clone();
        let lease = Lease { key, value, revision, lease_id };
        let ttl = ends.map(|granted| granted.ttl);
        Ok(Claimed::Ours(Held { lease, ttl, presence }))
    }

    pub(super) fn record(&self, record: &NodeRecord, presence: Option<LeaseId>) -> Put {
        let key = self.endpoints.layout.node(record.id);
        Put { key, value: record.to_json(), lease_id: presence }
    }

    async fn why_lost(&self, bid: &Bid) -> Result<Claimed, Error> {
        let Some(read) = bid.config else { return Ok(Claimed::Lost) };
        let now = self.config().await?.map(|config| config.revision);
        Ok(if now == Some(read) { Claimed::Lost } else { Claimed::Outdated })
    }

    /// Writes if the conditions hold. `None` when they do not, unless what we wanted to write first
    /// is there already: then an earlier try got through whose answer did not.
    pub(super) async fn swap(
        &self,
        operation: Operation,
        when: Vec<Compare>,
        puts: Vec<Put>,
    ) -> Result<Option<Revision>, Error> {
        let Some(first) = puts.first() else { return Ok(None) };
        let (key, wanted) = (first.key.as_str(), first.value.as_bytes());
        let lease = first.lease_id.map_or(0, |id| id.0);
        let write = |put: &Put| {
            let options = PutOptions::new().with_lease(put.lease_id.map_or(0, |id| id.0));
            TxnOp::put(put.key.as_str(), put.value.as_str(), Some(options))
        };
        let txn = Txn::new()
            .when(when)
            .and_then(puts.iter().map(write).collect::<Vec<_>>())
            .or_else(vec![TxnOp::get(key, None)]);
        let answer = self
            .endpoints
            .try_call((operation, key), |mut client| {
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
        let ours = now.filter(|row| row.value() == wanted && row.lease() == lease);
        Ok(ours.map(|row| Revision(row.mod_revision())))
    }

    pub(super) async fn grant(
        &self,
        call: (Operation, &str),
        ttl: Duration,
    ) -> Result<Granted, Error> {
        let seconds = seconds(ttl);
        // A number of our own choice, so that a grant whose answer is lost can be taken back: a slow
        // etcd would collect an empty lease with each try.
        let id = LeaseId(rand::random_range(1..=i64::MAX));
        let answer = self
            .endpoints
            .try_call(call, |mut client| async move {
                let options = LeaseGrantOptions::new().with_id(id.0);
                client.lease_grant(seconds, Some(options)).await
            })
            .await;
        let granted = match answer {
            Ok(answer) => answer.ttl(),
            // An endpoint that fell silent had done it already.
            Err((_place, cause)) if cause.is_lease_there() => seconds,
            Err((place, cause)) => {
                self.end(id).await;
                return Err(Error::new(place, cause));
            }
        };
        let ttl = Duration::from_secs(u64::try_from(granted).unwrap_or(0));
        Ok(Granted { id, ttl, fresh: true })
    }

    /// Lives on with the etcd lease that is under the key, so that restarts do not leave a trail of
    /// empty ones; makes a new one when that has ended or has another length.
    pub(super) async fn adopt_or_grant(&self, bid: &Bid, id: LeaseId) -> Result<Granted, Error> {
        let path = self.endpoints.layout.lease(bid.key);
        match self.keep_alive_for((Operation::Claim, &path), id).await? {
            Some(ttl) if ttl.as_secs() == bid.ttl.as_secs() => {
                Ok(Granted { id, ttl, fresh: false })
            }
            _ => self.grant((Operation::Claim, &path), bid.ttl).await,
        }
    }

    /// For how long; `None` when etcd has no such lease any more.
    pub(super) async fn keep_alive_for(
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
    pub(super) async fn end(&self, id: LeaseId) {
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

pub(super) fn absent(key: &str) -> Compare {
    Compare::version(key, CompareOp::Equal, 0)
}

pub(super) fn unchanged(key: &str, revision: Revision) -> Compare {
    Compare::mod_revision(key, CompareOp::Equal, revision.0)
}

/// No key that begins with `prefix` was written after that revision; those that are gone do not count.
fn none_since(prefix: &str, revision: Revision) -> Compare {
    Compare::mod_revision(prefix, CompareOp::Less, revision.0.saturating_add(1)).with_prefix()
}

/// Nobody wrote the key since, and it hangs on the same etcd lease. Revisions come again when etcd is put
/// back from a copy; the number of an etcd lease, which is random, does not.
pub(super) fn as_read(key: &str, (at, lease): (Revision, Option<LeaseId>)) -> Vec<Compare> {
    let lease = lease.map_or(0, |id| id.0);
    vec![unchanged(key, at), Compare::lease(key, CompareOp::Equal, lease)]
}

pub(super) fn first_row(answer: TxnOpResponse) -> Option<KeyValue> {
    match answer {
        TxnOpResponse::Get(mut found) => found.take_kvs().into_iter().next(),
        _ => None,
    }
}

/// etcd counts in whole seconds, and takes zero for its own minimum.
fn seconds(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX)
}
