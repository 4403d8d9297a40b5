//! Keys that get an end, or lose it.

use std::time::Duration;

use twill_core::ids::{LeaseId, Revision};
use twill_core::lease::{Key, Lease};

use super::Memory;
use super::state::When;
use crate::{Error, Operation, Reserve, Revoked, Rewritten};

impl Memory {
    pub(super) fn write_reservation(&self, wish: Reserve<'_>) -> Result<Rewritten, Error> {
        let (key, value, config) = match wish {
            Reserve::Lease(lease) => return self.change_end(Operation::Reserve, lease, None),
            Reserve::New { key, value, config } => (key, value.clone(), config),
        };
        let path = self.layout.lease(key);
        let mut state = self.reach(Operation::Reserve, &path)?;
        if !state.holds(&self.layout.config(), When::At(config)) {
            return Ok(Rewritten::Outdated);
        }
        if !state.holds(&path, When::Absent) {
            return Ok(Rewritten::Changed);
        }
        let revision = state.put(&path, value.to_json().into_bytes(), None);
        drop(state);
        self.changed.send_replace(());
        Ok(Rewritten::Done(Lease { key, value, revision, lease_id: None }))
    }

    pub(super) fn write_release(&self, lease: &Lease, ttl: Duration) -> Result<Rewritten, Error> {
        self.change_end(Operation::Release, lease, Some(ttl))
    }

    fn change_end(
        &self,
        operation: Operation,
        lease: &Lease,
        ttl: Option<Duration>,
    ) -> Result<Rewritten, Error> {
        let path = self.layout.lease(lease.key);
        let mut state = self.reach(operation, &path)?;
        let now = state.rows.get(&path).filter(|now| now.revision == lease.revision.0);
        let Some(value) = now.map(|now| now.value.clone()) else { return Ok(Rewritten::Changed) };
        let id = ttl.map(|ttl| state.grant(ttl));
        let revision = state.put(&path, value, id);
        drop(state);
        self.changed.send_replace(());
        Ok(Rewritten::Done(Lease { revision, lease_id: id.map(LeaseId), ..lease.clone() }))
    }

    pub(super) fn delete_unread(&self, key: Key, revision: Revision) -> Result<Revoked, Error> {
        let path = self.layout.lease(key);
        let mut state = self.reach(Operation::Revoke, &path)?;
        if state.rows.get(&path).is_some_and(|now| now.revision != revision.0) {
            return Ok(Revoked::Changed);
        }
        state.delete(&[path]);
        drop(state);
        self.changed.send_replace(());
        Ok(Revoked::Gone)
    }
}
