//! What the store in memory holds, and how one write changes it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use twill_core::ids::{LeaseId, Revision};

use crate::Expected;
use crate::layout::Row;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) revision: i64,
    pub(super) rows: BTreeMap<String, Entry>,
    pub(super) history: Vec<Change>,
    /// The last revision that is no longer in `history`, and how many changes are not.
    pub(super) forgotten: (i64, usize),
    pub(super) leases: BTreeMap<i64, Duration>,
    pub(super) away: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: Vec<u8>,
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

impl State {
    pub(super) fn put(&mut self, key: &str, value: Vec<u8>, lease: Option<i64>) -> Revision {
        self.revision += 1;
        let entry = Entry { value, revision: self.revision, lease };
        self.record(key, Some(entry.clone()));
        self.rows.insert(key.to_owned(), entry);
        Revision(self.revision)
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

    pub(super) fn holds(&self, key: &str, expected: Expected) -> bool {
        let now = self.rows.get(key);
        match expected {
            Expected::Nothing => now.is_none(),
            Expected::At(revision) => now.is_some_and(|entry| entry.revision == revision.0),
            Expected::Anything => true,
        }
    }

    pub(super) fn grant(&mut self, ttl: Duration) -> i64 {
        // Numbers are never used twice: revisions only grow, and so does the count with them.
        let id = self.leases.keys().next_back().map_or(1, |last| last + 1).max(self.revision + 1);
        self.leases.insert(id, ttl);
        id
    }

    pub(super) fn end(&mut self, lease: i64) {
        self.leases.remove(&lease);
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
