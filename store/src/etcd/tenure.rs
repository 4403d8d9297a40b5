//! Living on: etcd leases kept alive, and leases written again.

use std::time::Duration;

use twill_core::ids::LeaseId;
use twill_core::lease::Lease;

use super::Etcd;
use super::rpc::{Put, as_read};
use crate::{Alive, Claimed, Error, Held, Operation, Renewal};

impl Etcd {
    /// Writes lease and node record again under what holds them, if nobody else wrote the lease.
    pub(super) async fn write_again(&self, renewal: Renewal<'_>) -> Result<Claimed, Error> {
        let Renewal { held, record, ttl } = renewal;
        let Lease { key, ref value, revision, lease_id } = held.lease;
        let path = self.endpoints.layout.lease(key);
        let granted = match lease_id {
            Some(id) => match self.alive_for((Operation::Renew, &path), (id, held.ttl)).await? {
                None => return Ok(Claimed::Lost),
                alive => alive,
            },
            None => None,
        };
        let mut fresh = None;
        let presence = match (lease_id, held.presence, record) {
            (Some(id), _, _) => Some(id),
            (None, Some(id), _) if self.prolong((Operation::Renew, &path), id).await? => Some(id),
            (None, _, Some(_)) => {
                fresh = Some(self.grant((Operation::Renew, &path), ttl).await?.id);
                fresh
            }
            (None, _, None) => None,
        };
        let mut puts = vec![Put { key: path.clone(), value: value.to_json(), lease_id }];
        puts.extend(record.map(|record| self.record(record, presence)));
        let when = as_read(&path, (revision, lease_id));
        let written = self.swap(Operation::Renew, when, puts).await;
        if !matches!(written, Ok(Some(_)))
            && let Some(id) = fresh
        {
            self.end(id).await;
        }
        Ok(written?.map_or(Claimed::Lost, |revision| {
            let lease = Lease { revision, ..held.lease.clone() };
            Claimed::Ours(Held { lease, ttl: granted, presence })
        }))
    }

    /// That the etcd lease lives says nothing of the key: somebody may have written over it.
    pub(super) async fn stay_alive(&self, held: &Held) -> Result<Alive, Error> {
        let Lease { key, revision, lease_id, .. } = held.lease;
        let path = self.endpoints.layout.lease(key);
        let call = (Operation::Renew, path.as_str());
        let Some(id) = lease_id.or(held.presence) else { return Ok(Alive::No) };
        if !self.prolong(call, id).await? {
            return Ok(Alive::No);
        }
        let path = path.as_str();
        let found =
            self.endpoints.call(call, |mut client| async move { client.get(path, None).await });
        let written = found.await?.kvs().first().map(|row| (row.mod_revision(), row.lease()));
        let wanted = (revision.0, lease_id.map_or(0, |id| id.0));
        Ok(if written == Some(wanted) { Alive::Yes } else { Alive::No })
    }

    /// `None` when etcd has no such lease any more. How long it was granted for is asked only if
    /// nobody knows: somebody else granted it.
    async fn alive_for(
        &self,
        call: (Operation, &str),
        (id, known): (LeaseId, Option<Duration>),
    ) -> Result<Option<Duration>, Error> {
        match known {
            Some(ttl) => Ok(self.prolong(call, id).await?.then_some(ttl)),
            None => self.keep_alive_for(call, id).await,
        }
    }

    /// Keeps an etcd lease alive; `false` when there is none any more.
    pub(super) async fn prolong(
        &self,
        call: (Operation, &str),
        id: LeaseId,
    ) -> Result<bool, Error> {
        let answer = self
            .endpoints
            .try_call(call, |mut client| async move { client.lease_keep_alive(id.0).await })
            .await;
        match answer {
            Ok(_keeper) => Ok(true),
            Err((_place, cause)) if cause.is_lease_not_found() => Ok(false),
            Err((place, cause)) => Err(Error::new(place, cause)),
        }
    }
}
