//! When owners were seen.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use twill_core::ids::{LeaseId, NodeId};

use super::{Etcd, watch};
use crate::{Error, Life, Operation, Times};

/// Questions under way at a time.
const AT_ONCE: usize = 32;

impl Times for Etcd {
    async fn lives(&self, leases: &[LeaseId]) -> Result<BTreeMap<LeaseId, Life>, Error> {
        let mut lives = BTreeMap::new();
        for some in leases.chunks(AT_ONCE) {
            let answers = try_join_all(some.iter().map(|id| self.life(*id))).await?;
            let pairs = some.iter().copied().zip(answers);
            lives.extend(pairs.filter_map(|(id, life)| Some((id, life?))));
        }
        Ok(lives)
    }

    async fn presences(&self) -> Result<BTreeMap<NodeId, Option<LeaseId>>, Error> {
        let prefix = self.endpoints.layout.nodes();
        let (_revision, rows) = self.list(Operation::ListNodes, &prefix).await?;
        let presence = |row| {
            let row = watch::row(&prefix, row);
            Some((row.key.parse().ok()?, row.lease_id))
        };
        Ok(rows.iter().filter_map(presence).collect())
    }
}

impl Etcd {
    async fn life(&self, id: LeaseId) -> Result<Option<Life>, Error> {
        let call = (Operation::ListLeases, "their ends");
        let answer = self
            .endpoints
            .try_call(call, |mut client| async move { client.lease_time_to_live(id.0, None).await })
            .await;
        match answer {
            // etcd answers -1 for a lease that it does not have.
            Ok(answer) => Ok(u64::try_from(answer.ttl()).ok().map(|remaining| {
                let granted = u64::try_from(answer.granted_ttl()).unwrap_or(0);
                Life { granted, remaining }
            })),
            Err((_place, cause)) if cause.is_lease_not_found() => Ok(None),
            Err((place, cause)) => Err(Error::new(place, cause)),
        }
    }
}
