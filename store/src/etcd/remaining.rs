//! How long etcd leases live on.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use twill_core::ids::LeaseId;

use super::Etcd;
use crate::{Error, Operation};

/// Questions under way at a time.
const AT_ONCE: usize = 32;

impl Etcd {
    /// Seconds until each lease ends unless it is renewed; those that ended already are missing.
    ///
    /// One question a lease, because etcd knows no other: for people who look at a table, not for
    /// the agent, which knows what it was granted.
    pub async fn remaining(&self, leases: &[LeaseId]) -> Result<BTreeMap<LeaseId, u64>, Error> {
        let mut remaining = BTreeMap::new();
        for some in leases.chunks(AT_ONCE) {
            let answers = try_join_all(some.iter().map(|id| self.time_to_live(*id))).await?;
            let pairs = some.iter().copied().zip(answers);
            remaining.extend(pairs.filter_map(|(id, seconds)| Some((id, seconds?))));
        }
        Ok(remaining)
    }

    async fn time_to_live(&self, id: LeaseId) -> Result<Option<u64>, Error> {
        let call = (Operation::ListLeases, "their ends");
        let answer = self
            .endpoints
            .try_call(call, |mut client| async move { client.lease_time_to_live(id.0, None).await })
            .await;
        match answer {
            // etcd answers -1 for a lease that it does not have.
            Ok(answer) => Ok(u64::try_from(answer.ttl()).ok()),
            Err((_place, cause)) if cause.is_lease_not_found() => Ok(None),
            Err((place, cause)) => Err(Error::new(place, cause)),
        }
    }
}
