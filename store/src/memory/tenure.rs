//! Claims and renewals of the store in memory.

use twill_core::ids::LeaseId;
use twill_core::lease::Lease;
use twill_core::pick::Over;

use super::Memory;
use super::state::{Put, When};
use crate::{Bid, Claimed, Error, Held, Operation, Renewal};

impl Memory {
    pub(super) fn take(&self, bid: &Bid) -> Result<Claimed, Error> {
        let key = self.layout.lease(bid.key);
        let expected = match bid.over {
            Over::Nothing => When::Absent,
            Over::Lease(revision, id) => When::AsRead(revision, Some(id)),
            Over::Reservation(revision) => When::AsRead(revision, None),
            Over::Unreadable(revision, _) => When::At(revision),
        };
        let reserved = bid.is_reservation();
        let mut state = self.reach(Operation::Claim, &key)?;
        let standing = bid.standing().filter(|id| state.leases.get(&id.0) == Some(&bid.ttl));
        if let Some(id) = standing {
            state.prolong(id);
        }
        let fresh = standing.is_none() && !(reserved && bid.record.is_none());
        let granted = standing.or_else(|| fresh.then(|| LeaseId(state.grant(bid.ttl))));
        drop(state);
        let lease_id = granted.filter(|_| !reserved);
        let lease = lease_id.map(|id| id.0);
        let mut puts = vec![Put { key: key.clone(), value: bid.value.to_json(), lease }];
        puts.extend(bid.record.as_ref().map(|record| self.record(record, granted)));
        let config = self.layout.config();
        let read = bid.config.map(|revision| (config.as_str(), When::At(revision)));
        let half = self.layout.lease(bid.key.subnet.into());
        let beside = bid.beside.map(|revision| (half.as_str(), When::NoneSince(revision)));
        let when: Vec<_> =
            read.into_iter().chain([(key.as_str(), expected)]).chain(beside).collect();
        let Some(revision) = self.swap(Operation::Claim, &when, &puts)? else {
            let mut state = self.state();
            if let Some(id) = granted.filter(|_| fresh) {
                state.end(id.0);
            }
            let valid = read.is_none_or(|(key, expected)| state.holds(key, expected));
            return Ok(if valid { Claimed::Lost } else { Claimed::Outdated });
        };
        let lease = Lease { key: bid.key, value: bid.value.clone(), revision, lease_id };
        Ok(Claimed::Ours(Held { lease, ttl: lease_id.map(|_| bid.ttl), presence: granted }))
    }

    pub(super) fn write_again(&self, renewal: Renewal<'_>) -> Result<Claimed, Error> {
        let Renewal { held, record, ttl } = renewal;
        let Lease { key, ref value, revision, lease_id } = held.lease;
        let path = self.layout.lease(key);
        let mut state = self.reach(Operation::Renew, &path)?;
        let left = lease_id.map(|id| state.leases.get(&id.0).copied());
        let Some(left) = left.map_or(Some(None), |left| left.map(Some)) else {
            return Ok(Claimed::Lost);
        };
        if let Some(id) = lease_id {
            state.prolong(id);
        }
        let standing = held.presence.filter(|id| state.prolong(*id));
        let presence =
            lease_id.or(standing).or_else(|| record.is_some().then(|| LeaseId(state.grant(ttl))));
        drop(state);
        let lease = lease_id.map(|id| id.0);
        let mut puts = vec![Put { key: path.clone(), value: value.to_json(), lease }];
        puts.extend(record.map(|record| self.record(record, presence)));
        let when = [(path.as_str(), When::AsRead(revision, lease_id))];
        let revision = self.swap(Operation::Renew, &when, &puts)?;
        Ok(revision.map_or(Claimed::Lost, |revision| {
            let lease = Lease { revision, ..held.lease.clone() };
            // As etcd's does it: only what nobody knows is asked.
            let ttl = held.ttl.filter(|_| lease_id.is_some()).or(left);
            Claimed::Ours(Held { lease, ttl, presence })
        }))
    }
}
