//! The store in memory: for tests of everything above it.
//!
//! It passes the same contract tests as the real one, and can be made to fail on purpose.

mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use twill_core::ids::{LeaseId, Revision};
use twill_core::lease::{Lease, Listing};
use twill_core::node::NodeRecord;
use twill_core::pick::Over;

use crate::layout::{Layout, sort_nodes};
use crate::{
    Bid, Cause, Claimed, ConfigText, Error, Expected, Held, Nodes, Operation, Place, Revoked, Seen,
    Store, Watch, Written,
};
use state::{Entry, State};

/// The store in memory. Clones share one content.
#[derive(Clone, Debug)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    /// Says that the state has changed.
    changed: watch::Sender<()>,
    layout: Arc<Layout>,
}

/// The watch on `subnets/` of a [`Memory`].
#[derive(Debug)]
pub struct MemoryWatch {
    memory: Memory,
    /// How many changes since the beginning are told, or older than the watch; `None` when some are
    /// forgotten that were neither.
    told: Option<usize>,
    changed: watch::Receiver<()>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            changed: watch::Sender::new(()),
            layout: Arc::new(Layout::new("/coreos.com/network")),
        }
    }
}

impl Memory {
    /// From now on every call fails as if nothing answered, and standing watches break; or no more.
    pub fn set_away(&self, away: bool) {
        self.state().away = away;
        self.changed.send_replace(());
    }

    /// The time of an etcd lease is over: its keys go.
    pub fn expire(&self, lease: LeaseId) {
        self.state().end(lease.0);
        self.changed.send_replace(());
    }

    /// History before now is forgotten.
    pub fn compact(&self) {
        let mut state = self.state();
        state.forgotten = (state.revision, state.forgotten.1 + state.history.len());
        state.history.clear();
        drop(state);
        self.changed.send_replace(());
    }

    /// Writes any key, as another program might, without an etcd lease. The key is whole, with the
    /// prefix `/coreos.com/network`.
    pub fn put_raw(&self, key: &str, value: &[u8]) -> Revision {
        let revision = self.state().put(key, value.to_vec(), None);
        self.changed.send_replace(());
        revision
    }

    /// Deletes any key, as another program might.
    pub fn delete_raw(&self, key: &str) {
        self.state().delete(&[key.to_owned()]);
        self.changed.send_replace(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, operation: Operation, key: &str) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state();
        if !state.away {
            return Ok(state);
        }
        let place = Place { operation, key: key.to_owned(), endpoint: "memory".to_owned() };
        Err(Error::new(place, Cause::Closed("it was told to be away".to_owned())))
    }

    /// One transaction.
    fn swap(
        &self,
        call: (Operation, &str),
        when: &[(&str, Expected)],
        entry: (&str, Option<LeaseId>),
    ) -> Result<Option<Revision>, Error> {
        let (operation, key) = call;
        let (value, lease) = entry;
        let mut state = self.reach(operation, key)?;
        let lease = lease.map(|id| id.0);
        if !when.iter().all(|(key, expected)| state.holds(key, *expected)) {
            let now = state.rows.get(key);
            let ours = now.filter(|now| now.value == value.as_bytes() && now.lease == lease);
            return Ok(ours.map(|entry| Revision(entry.revision)));
        }
        if lease.is_some_and(|id| !state.leases.contains_key(&id)) {
            return Ok(None);
        }
        let revision = state.put(key, value.as_bytes().to_vec(), lease);
        drop(state);
        self.changed.send_replace(());
        Ok(Some(revision))
    }
}

impl Store for Memory {
    type Watch = MemoryWatch;

    async fn config(&self) -> Result<Option<ConfigText>, Error> {
        let key = self.layout.config();
        let state = self.reach(Operation::ReadConfig, &key)?;
        Ok(state.rows.get(&key).map(|entry| ConfigText {
            text: entry.value.clone(),
            revision: Revision(entry.revision),
        }))
    }

    async fn write_config(&self, text: &str, expected: Expected) -> Result<Written, Error> {
        let key = self.layout.config();
        let written =
            self.swap((Operation::WriteConfig, &key), &[(&key, expected)], (text, None))?;
        Ok(written.map_or(Written::Changed, Written::Done))
    }

    async fn leases(&self) -> Result<Listing, Error> {
        let prefix = self.layout.leases();
        let state = self.reach(Operation::ListLeases, &prefix)?;
        let mut listing = Listing { revision: Revision(state.revision), ..Listing::default() };
        for (name, entry) in state.under(&prefix) {
            match entry.row(name).lease() {
                Ok(lease) => listing.leases.push(lease),
                Err(malformed) => listing.malformed.push(malformed),
            }
        }
        Ok(listing)
    }

    async fn claim(&self, bid: &Bid) -> Result<Claimed, Error> {
        let key = self.layout.lease(bid.subnet.into());
        let call = (Operation::Claim, key.as_str());
        let expected = match bid.over {
            Over::Nothing => Expected::Nothing,
            Over::Lease(revision, _) | Over::Reservation(revision) => Expected::At(revision),
        };
        let lease_id = match bid.over {
            Over::Reservation(_) => None,
            Over::Nothing | Over::Lease(..) => {
                Some(LeaseId(self.reach(call.0, call.1)?.grant(bid.ttl)))
            }
        };
        let value = bid.value.to_json();
        let config = self.layout.config();
        let read = bid.config.map(|revision| (config.as_str(), Expected::At(revision)));
        let when: Vec<_> = read.into_iter().chain([(key.as_str(), expected)]).collect();
        let Some(revision) = self.swap(call, &when, (&value, lease_id))? else {
            let mut state = self.state();
            if let Some(id) = lease_id {
                state.end(id.0);
            }
            let valid = read.is_none_or(|(key, expected)| state.holds(key, expected));
            return Ok(if valid { Claimed::Lost } else { Claimed::Outdated });
        };
        let lease = Lease { key: bid.subnet.into(), value: bid.value.clone(), revision, lease_id };
        Ok(Claimed::Ours(Held { lease, ttl: lease_id.map(|_| bid.ttl) }))
    }

    async fn renew(&self, held: &Held) -> Result<Claimed, Error> {
        let Lease { key, ref value, revision, lease_id } = held.lease;
        let path = self.layout.lease(key);
        let call = (Operation::Renew, path.as_str());
        let ttl = match lease_id {
            None => None,
            Some(id) => match self.reach(call.0, call.1)?.leases.get(&id.0) {
                None => return Ok(Claimed::Lost),
                Some(ttl) => Some(*ttl),
            },
        };
        let entry = (value.to_json(), lease_id);
        let revision = self.swap(call, &[(&path, Expected::At(revision))], (&entry.0, entry.1))?;
        Ok(revision.map_or(Claimed::Lost, |revision| {
            Claimed::Ours(Held { lease: Lease { revision, ..held.lease.clone() }, ttl })
        }))
    }

    async fn revoke(&self, lease: &Lease) -> Result<Revoked, Error> {
        let path = self.layout.lease(lease.key);
        let mut state = self.reach(Operation::Revoke, &path)?;
        if state.rows.get(&path).is_some_and(|entry| entry.revision != lease.revision.0) {
            return Ok(Revoked::Changed);
        }
        state.delete(&[path]);
        if let Some(id) = lease.lease_id {
            state.end(id.0);
        }
        drop(state);
        self.changed.send_replace(());
        Ok(Revoked::Gone)
    }

    async fn put_node(&self, record: &NodeRecord, lease: Option<LeaseId>) -> Result<(), Error> {
        let key = self.layout.node(record.id);
        let entry = (record.to_json(), lease);
        let call = (Operation::PutNode, key.as_str());
        let put = self.swap(call, &[], (&entry.0, entry.1))?;
        match put {
            Some(_revision) => Ok(()),
            None => Err(Error::new(
                Place { operation: call.0, key: key.clone(), endpoint: "memory".to_owned() },
                Cause::Refused("requested lease not found".to_owned()),
            )),
        }
    }

    async fn nodes(&self) -> Result<Nodes, Error> {
        let prefix = self.layout.nodes();
        let state = self.reach(Operation::ListNodes, &prefix)?;
        Ok(sort_nodes(state.under(&prefix).map(|(name, entry)| (name, entry.value.as_slice()))))
    }

    async fn watch(&self, after: Revision) -> Result<MemoryWatch, Error> {
        let state = self.reach(Operation::Watch, &self.layout.leases())?;
        let (forgotten, gone) = state.forgotten;
        let old = state.history.iter().take_while(|change| change.revision <= after.0).count();
        // As in etcd, a watcher from before the forgotten revision learns that first. A store
        // younger than what the watcher knows was put back from a copy.
        let missed = after.0 < forgotten || state.revision < after.0;
        let told = if missed { None } else { Some(gone + old) };
        let changed = self.changed.subscribe();
        Ok(MemoryWatch { memory: self.clone(), told, changed })
    }
}

impl MemoryWatch {
    fn look(&mut self) -> Result<Option<Seen>, Error> {
        let prefix = self.memory.layout.leases();
        let state = self.memory.reach(Operation::Watch, &prefix)?;
        let (_revision, gone) = state.forgotten;
        let Some(told) = self.told.filter(|told| *told >= gone) else {
            return Ok(Some(Seen::Compacted));
        };
        for (index, change) in state.history.iter().enumerate().skip(told - gone) {
            self.told = Some(gone + index + 1);
            let Some(name) = change.key.strip_prefix(&prefix) else { continue };
            let end = Entry { value: Vec::new(), revision: change.revision, lease: None };
            return Ok(Some(Seen::Event(match &change.entry {
                Some(entry) => entry.row(name).put(),
                None => end.row(name).gone(),
            })));
        }
        Ok(None)
    }
}

impl Watch for MemoryWatch {
    async fn next(&mut self) -> Result<Seen, Error> {
        loop {
            self.changed.mark_unchanged();
            if let Some(seen) = self.look()? {
                return Ok(seen);
            }
            // The sender lives in `self.memory`, so that this cannot fail.
            if self.changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
