//! The store in memory: for tests of everything above it.
//!
//! It passes the same contract tests as the real one, and can be made to fail on purpose.

mod look;
mod reserve;
mod state;
mod tenure;
mod times;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use twill_core::ids::{LeaseId, NodeId, Revision};
use twill_core::lease::{Key, Lease, Listing};
use twill_core::node::NodeRecord;
use twill_core::ownership::Challenge;

use crate::layout::{Layout, sort_nodes};
use crate::{
    Alive, Asked, Bid, Cause, Claimed, ConfigText, Error, Expected, Held, Nodes, Operation,
    Picture, Place, Question, Renewal, Reserve, Revoked, Rewritten, Scope, Seen, Store, Watch,
    Written,
};
use state::{Put, State, When};

/// The store in memory. Clones share one content.
#[derive(Clone, Debug)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    /// Says that the state has changed.
    changed: watch::Sender<()>,
    layout: Arc<Layout>,
}

/// The watch of a [`Memory`].
#[derive(Debug)]
pub struct MemoryWatch {
    memory: Memory,
    scope: Scope,
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

    /// Ends the etcd leases whose time is over by tokio's clock, as etcd does by itself: only who calls
    /// this again and again has a store in which time passes.
    pub fn expire_due(&self) {
        let mut state = self.state();
        let ended = state.ended();
        for id in &ended {
            state.end(*id);
        }
        drop(state);
        if !ended.is_empty() {
            self.changed.send_replace(());
        }
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

    /// What stands under any key.
    #[must_use]
    pub fn value_raw(&self, key: &str) -> Option<Vec<u8>> {
        self.state().rows.get(key).map(|entry| entry.value.clone())
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

    /// One transaction: all the writes at one revision if the conditions hold. `None` when they do
    /// not, unless the first write is there already.
    fn swap(
        &self,
        operation: Operation,
        when: &[(&str, When)],
        puts: &[Put],
    ) -> Result<Option<Revision>, Error> {
        let Some(Put { key, value, lease }) = puts.first() else { return Ok(None) };
        let mut state = self.reach(operation, key)?;
        if !when.iter().all(|(key, when)| state.holds(key, *when)) {
            let now = state.rows.get(key);
            let ours = now.filter(|now| now.value == value.as_bytes() && now.lease == *lease);
            return Ok(ours.map(|entry| Revision(entry.revision)));
        }
        let mut leases = puts.iter().filter_map(|put| put.lease);
        if !leases.all(|id| state.leases.contains_key(&id)) {
            return Ok(None);
        }
        let revision = state.put_all(puts);
        drop(state);
        self.changed.send_replace(());
        Ok(Some(revision))
    }

    fn record(&self, record: &NodeRecord, presence: Option<LeaseId>) -> Put {
        let (key, lease) = (self.layout.node(record.id), presence.map(|id| id.0));
        Put { key, value: record.to_json(), lease }
    }
}

impl Store for Memory {
    type Watch = MemoryWatch;

    fn reconnect(&self) {}

    async fn config(&self) -> Result<Option<ConfigText>, Error> {
        let key = self.layout.config();
        Ok(self.reach(Operation::ReadConfig, &key)?.config(&key))
    }

    async fn write_config(&self, text: &str, expected: Expected) -> Result<Written, Error> {
        let key = self.layout.config();
        let put = Put { key: key.clone(), value: text.to_owned(), lease: None };
        let written = self.swap(Operation::WriteConfig, &[(&key, expected.into())], &[put])?;
        Ok(written.map_or(Written::Changed, Written::Done))
    }

    async fn leases(&self) -> Result<Listing, Error> {
        let prefix = self.layout.leases();
        Ok(self.reach(Operation::ListLeases, &prefix)?.listing(&prefix))
    }

    async fn picture(&self, node: NodeId) -> Result<Picture, Error> {
        let state = self.reach(Operation::ReadPicture, self.layout.root())?;
        Ok(Picture {
            config: state.config(&self.layout.config()),
            listing: state.listing(&self.layout.leases()),
            question: state.question(&self.layout.double(node)),
        })
    }

    async fn claim(&self, bid: &Bid) -> Result<Claimed, Error> {
        self.take(bid)
    }

    async fn renew(&self, renewal: Renewal<'_>) -> Result<Claimed, Error> {
        self.write_again(renewal)
    }

    async fn keep_alive(&self, held: &Held) -> Result<Alive, Error> {
        let Lease { key, revision, lease_id, .. } = held.lease;
        let path = self.layout.lease(key);
        let mut state = self.reach(Operation::Renew, &path)?;
        let alive = lease_id.or(held.presence).is_some_and(|id| state.prolong(id));
        let as_written = state.holds(&path, When::AsRead(revision, lease_id));
        Ok(if alive && as_written { Alive::Yes } else { Alive::No })
    }

    async fn ask(
        &self,
        node: NodeId,
        challenge: &Challenge,
        ttl: Duration,
    ) -> Result<Asked, Error> {
        let key = self.layout.double(node);
        let mut state = self.reach(Operation::Ask, &key)?;
        match state.question(&key) {
            Some(there) if there.challenge.public_ip != challenge.public_ip => {
                return Ok(Asked::There(there));
            }
            Some(_) | None => {}
        }
        let id = state.grant(ttl);
        let put = Put { key, value: challenge.to_json(), lease: Some(id) };
        let revision = state.put_all(&[put]);
        drop(state);
        self.changed.send_replace(());
        Ok(Asked::Placed(revision, LeaseId(id)))
    }

    async fn unask(&self, placed: LeaseId) {
        self.expire(placed);
    }

    async fn answer(&self, node: NodeId, answered: &Question) -> Result<(), Error> {
        let key = self.layout.double(node);
        let lease = self.reach(Operation::Answer, &key)?.rows.get(&key).and_then(|row| row.lease);
        let put = Put { key: key.clone(), value: answered.challenge.to_json(), lease };
        let when = [(key.as_str(), When::At(answered.revision))];
        self.swap(Operation::Answer, &when, &[put]).map(|_written| ())
    }

    async fn revoke(&self, lease: &Lease) -> Result<Revoked, Error> {
        let path = self.layout.lease(lease.key);
        let mut state = self.reach(Operation::Revoke, &path)?;
        let as_read = When::AsRead(lease.revision, lease.lease_id);
        if state.rows.contains_key(&path) && !state.holds(&path, as_read) {
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

    async fn nodes(&self) -> Result<Nodes, Error> {
        let prefix = self.layout.nodes();
        let state = self.reach(Operation::ListNodes, &prefix)?;
        Ok(sort_nodes(state.under(&prefix).map(|(name, entry)| (name, entry.value.as_slice()))))
    }

    async fn watch(&self, after: Revision, scope: Scope) -> Result<MemoryWatch, Error> {
        let state = self.reach(Operation::Watch, &self.layout.leases())?;
        let (forgotten, gone) = state.forgotten;
        let old = state.history.iter().take_while(|change| change.revision <= after.0).count();
        // As in etcd, a watcher from before the forgotten revision learns that first. A store
        // younger than what the watcher knows was put back from a copy.
        let missed = after.0 < forgotten || state.revision < after.0;
        let told = if missed { None } else { Some(gone + old) };
        let changed = self.changed.subscribe();
        Ok(MemoryWatch { memory: self.clone(), scope, told, changed })
    }

    async fn reserve(&self, wish: Reserve<'_>) -> Result<Rewritten, Error> {
        self.write_reservation(wish)
    }

    async fn release(&self, lease: &Lease, ttl: Duration) -> Result<Rewritten, Error> {
        self.write_release(lease, ttl)
    }

    async fn discard(&self, key: Key, revision: Revision) -> Result<Revoked, Error> {
        self.delete_unread(key, revision)
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
