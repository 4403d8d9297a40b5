//! Keys that get an end, or lose it.

use std::time::Duration;

use etcd_client::{Compare, KeyValue, PutOptions, ResponseHeader, Txn, TxnOp};
use twill_core::ids::{LeaseId, Revision};
use twill_core::lease::{Key, Lease, LeaseValue};

use super::Etcd;
use super::rpc::{absent, first_row, unchanged};
use crate::{Error, Operation, Reserve, Revoked, Rewritten, Store as _};

/// What came of one write under a condition.
enum Attempt {
    Written(Revision),
    /// The condition does not hold: this stands under the key.
    Found(Option<KeyValue>),
}

impl Etcd {
    pub(super) async fn write_reservation(&self, wish: Reserve<'_>) -> Result<Rewritten, Error> {
        let (key, value, config) = match wish {
            Reserve::Lease(lease) => return self.change_end(Operation::Reserve, lease, None).await,
            Reserve::New { key, value, config } => (key, value, config),
        };
        let path = self.endpoints.layout.lease(key);
        let when = vec![unchanged(&self.endpoints.layout.config(), config), absent(&path)];
        let write = TxnOp::put(path.as_str(), value.to_json(), None);
        let done = |revision| {
            let value = value.clone();
            Rewritten::Done(Lease { key, value, revision, lease_id: None })
        };
        match self.attempt((Operation::Reserve, &path), when, write).await? {
            Attempt::Written(revision) => Ok(done(revision)),
            Attempt::Found(Some(row)) if is(&row, value, None) => {
                Ok(done(Revision(row.mod_revision())))
            }
            Attempt::Found(_) => {
                let now = self.config().await?.map(|config| config.revision);
                Ok(if now == Some(config) { Rewritten::Changed } else { Rewritten::Outdated })
            }
        }
    }

    pub(super) async fn write_release(
        &self,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<Rewritten, Error> {
        let path = self.endpoints.layout.lease(lease.key);
        let granted = self.grant((Operation::Release, &path), ttl).await?;
        let released = self.change_end(Operation::Release, lease, Some(granted.id)).await;
        // Only when it surely is not under the key: its end would be the key's. Otherwise it runs
        // out by itself.
        if matches!(released, Ok(Rewritten::Changed)) {
            self.end(granted.id).await;
        }
        released
    }

    /// Writes the value that is there again, under another etcd lease or none.
    async fn change_end(
        &self,
        operation: Operation,
        lease: &Lease,
        lease_id: Option<LeaseId>,
    ) -> Result<Rewritten, Error> {
        let path = self.endpoints.layout.lease(lease.key);
        let options = PutOptions::new().with_lease(number(lease_id)).with_ignore_value();
        let write = TxnOp::put(path.as_str(), "", Some(options));
        let when = vec![unchanged(&path, lease.revision)];
        let done = |revision| Rewritten::Done(Lease { revision, lease_id, ..lease.clone() });
        Ok(match self.attempt((operation, &path), when, write).await? {
            Attempt::Written(revision) => done(revision),
            Attempt::Found(Some(row)) if is(&row, &lease.value, lease_id) => {
                done(Revision(row.mod_revision()))
            }
            Attempt::Found(_) => Rewritten::Changed,
        })
    }

    pub(super) async fn delete_unread(
        &self,
        key: Key,
        revision: Revision,
    ) -> Result<Revoked, Error> {
        let path = self.endpoints.layout.lease(key);
        let delete = TxnOp::delete(path.as_str(), None);
        let when = vec![unchanged(&path, revision)];
        Ok(match self.attempt((Operation::Revoke, &path), when, delete).await? {
            Attempt::Written(_) | Attempt::Found(None) => Revoked::Gone,
            Attempt::Found(Some(_)) => Revoked::Changed,
        })
    }

    /// One write, if the conditions hold.
    async fn attempt(
        &self,
        call: (Operation, &str),
        when: Vec<Compare>,
        write: TxnOp,
    ) -> Result<Attempt, Error> {
        let (_operation, path) = call;
        let txn = Txn::new().when(when).and_then(vec![write]);
        let txn = txn.or_else(vec![TxnOp::get(path, None)]);
        let answer = self
            .endpoints
            .call(call, |mut client| {
                let txn = txn.clone();
                async move { client.txn(txn).await }
            })
            .await?;
        if answer.succeeded() {
            let revision = answer.header().map_or(0, ResponseHeader::revision);
            return Ok(Attempt::Written(Revision(revision)));
        }
        Ok(Attempt::Found(answer.op_responses().into_iter().find_map(first_row)))
    }
}

/// Is this what we wanted to write? Then an earlier try got through whose answer did not.
fn is(row: &KeyValue, value: &LeaseValue, lease_id: Option<LeaseId>) -> bool {
    let says = |found: LeaseValue| found == *value;
    row.lease() == number(lease_id) && LeaseValue::parse(row.value()).is_ok_and(says)
}

/// etcd's number for none is zero.
fn number(lease_id: Option<LeaseId>) -> i64 {
    lease_id.map_or(0, |id| id.0)
}
