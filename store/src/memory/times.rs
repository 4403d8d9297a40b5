//! When owners were seen.

use std::collections::BTreeMap;
use std::time::Duration;

use twill_core::ids::{LeaseId, NodeId};

use super::Memory;
use crate::{Error, Life, Operation, Times};

impl Memory {
    /// So much time has passed since anybody made that etcd lease live on.
    pub fn pass(&self, lease: LeaseId, time: Duration) {
        self.state().idle.insert(lease.0, time);
    }
}

impl Times for Memory {
    async fn lives(&self, leases: &[LeaseId]) -> Result<BTreeMap<LeaseId, Life>, Error> {
        let state = self.reach(Operation::ListLeases, "their ends")?;
        let life = |id: &LeaseId| {
            let granted = state.leases.get(&id.0)?.as_secs();
            let idle = state.idle.get(&id.0).map_or(0, Duration::as_secs);
            Some((*id, Life { granted, remaining: granted.saturating_sub(idle) }))
        };
        Ok(leases.iter().filter_map(life).collect())
    }

    async fn presences(&self) -> Result<BTreeMap<NodeId, Option<LeaseId>>, Error> {
        let prefix = self.layout.nodes();
        let state = self.reach(Operation::ListNodes, &prefix)?;
        let rows = state.under(&prefix);
        Ok(rows
            .filter_map(|(name, entry)| Some((name.parse().ok()?, entry.lease.map(LeaseId))))
            .collect())
    }
}
