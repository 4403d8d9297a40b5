//! What the store in memory holds, and how one write changes it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use tokio::time::Instant;
use twill_core::ids::{LeaseId, Revision};
use twill_core::lease::Listing;
use twill_core::ownership::Challenge;

use crate::layout::Row;
use crate::{ConfigText, Expected, Question};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) revision: i64,
    pub(super) rows: BTreeMap<String, Entry>,
    pub(super) history: Vec<Change>,
    /// The last revision that is no longer in `history`, and how many changes are not.
    pub(super) forgotten: (i64, usize),
    pub(super) leases: BTreeMap<i64, Duration>,
    /// When somebody last made them live on.
    pub(super) alive: BTreeMap<i64, Instant>,
    /// How long ago that was by what a test said, unless just now.
    pub(super) idle: BTreeMap<i64, Duration>,
    pub(super) away: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: Vec<u8>,
    /// When the key came to be there, and when it was written last.
    pub(super) created: i64,
    pub(super) revision: i64,
    pub(super) lease: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) key: String,
    pub(super) revision: i64,
    /// `None` when the key was deleted.
    pub(super) entry: Option<Entry>,
}

/// One write of a transaction.
#[derive(Clone, Debug)]
pub(super) struct Put {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) lease: Option<i64>,
}

/// What must stand under a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Anything,
    Absent,
    At(Revision),
    /// And hanging on that etcd lease, or on none.
    AsRead(Revision, Option<LeaseId>),
    /// Nothing written later, under all keys that begin with it.
    NoneSince(Revision),
}

impl From<Expected> for When {
    fn from(expected: Expected) -> Self {
        match expected {
            Expected::Nothing => Self::Absent,
            Expected::At(revision) => Self::At(revision),
            Expected::Anything => Self::Anything,
        }
    }
}

impl State {
    /// All at one revision.
    pub(super) fn put_all(&mut self, puts: &[Put]) -> Revision {
        self.revision += 1;
        for Put { key, value, lease } in puts {
            let (value, revision) = (value.as_bytes().to_vec(), self.revision);
            let entry = Entry { value, created: self.created(key), revision, lease: *lease };
            self.record(key, Some(entry.clone()));
            self.rows.insert(key.clone(), entry);
        }
        Revision(self.revision)
    }

    pub(super) fn put(&mut self, key: &str, value: Vec<u8>, lease: Option<i64>) -> Revision {
        self.revision += 1;
        let (created, revision) = (self.created(key), self.revision);
        let entry = Entry { value, created, revision, lease };
        self.record(key, Some(entry.clone()));
        self.rows.insert(key.to_owned(), entry);
        Revision(self.revision)
    }

    /// Of a key that is being written.
    fn created(&self, key: &str) -> i64 {
        self.rows.get(key).map_or(self.revision, |entry| entry.created)
    }

    pub(super) fn listing(&self, prefix: &str) -> Listing {
        let mut listing = Listing { revision: Revision(self.revision), ..Listing::default() };
        for (name, entry) in self.under(prefix) {
            match entry.row(name).lease() {
                Ok(lease) => listing.leases.push(lease),
                Err(malformed) => listing.malformed.push(malformed),
            }
        }
        listing
    }

    pub(super) fn config(&self, key: &str) -> Option<ConfigText> {
        let text = |entry: &Entry| ConfigText {
            text: entry.value.clone(),
            revision: Revision(entry.revision),
        };
        self.rows.get(key).map(text)
    }

    pub(super) fn question(&self, key: &str) -> Option<Question> {
        self.rows.get(key).and_then(question)
    }

    /// All at one revision, as when an etcd lease ends.
    pub(super) fn delete(&mut self, keys: &[String]) {
        if keys.iter().any(|key| self.rows.contains_key(key)) {
            self.revision += 1;
        }
        for key in keys {
            if self.rows.remove(key).is_some() {
                self.record(key, None);
            }
        }
    }

    fn record(&mut self, key: &str, entry: Option<Entry>) {
        self.history.push(Change { key: key.to_owned(), revision: self.revision, entry });
    }

    pub(super) fn holds(&self, key: &str, when: When) -> bool {
        let now = self.rows.get(key);
        match when {
            When::Anything => true,
            When::Absent => now.is_none(),
            When::At(at) => now.is_some_and(|entry| entry.revision == at.0),
            When::AsRead(at, lease) => {
                let lease = lease.map(|id| id.0);
                now.is_some_and(|entry| (entry.revision, entry.lease) == (at.0, lease))
            }
            When::NoneSince(at) => {
                let rows = self.rows.range(key.to_owned()..);
                let mut rows = rows.take_while(|(found, _entry)| found.starts_with(key));
                rows.all(|(_key, entry)| entry.revision <= at.0)
            }
        }
    }

    pub(super) fn grant(&mut self, ttl: Duration) -> i64 {
        // Numbers are never used twice: revisions only grow, and so does the count with them.
        let id = self.leases.keys().next_back().map_or(1, |last| last + 1).max(self.revision + 1);
        self.leases.insert(id, ttl);
        self.alive.insert(id, Instant::now());
        id
    }

    /// Makes it live on for its full time, if there is one.
    pub(super) fn prolong(&mut self, lease: LeaseId) -> bool {
        self.idle.remove(&lease.0);
        let there = self.leases.contains_key(&lease.0);
        if there {
            self.alive.insert(lease.0, Instant::now());
        }
        there
    }

    /// Leases whose time is over.
    pub(super) fn ended(&self) -> Vec<i64> {
        let over = |id: &i64| {
            let idle = self.alive.get(id).map_or(Duration::ZERO, Instant::elapsed);
            self.leases.get(id).is_some_and(|ttl| idle > *ttl)
        };
        self.alive.keys().copied().filter(over).collect()
    }

    pub(super) fn end(&mut self, lease: i64) {
        self.leases.remove(&lease);
        self.alive.remove(&lease);
        self.idle.remove(&lease);
        let attached = self.rows.iter().filter(|(_key, entry)| entry.lease == Some(lease));
        let keys: Vec<String> = attached.map(|(key, _entry)| key.clone()).collect();
        self.delete(&keys);
    }

    pub(super) fn under<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let rows = self.rows.range::<str, _>(from);
        rows.map_while(move |(key, entry)| Some((key.strip_prefix(prefix)?, entry)))
    }
}

impl Entry {
    pub(super) fn row<'a>(&'a self, name: &'a str) -> Row<'a> {
        Row {
            key: name.into(),
            value: &self.value,
            revision: Revision(self.revision),
            lease_id: self.lease.map(LeaseId),
        }
    }
}

/// `None` if somebody else wrote something else there.
pub(super) fn question(entry: &Entry) -> Option<Question> {
    let challenge = Challenge::parse(&entry.value).ok()?;
    Some(Question { challenge, revision: Revision(entry.revision) })
}
