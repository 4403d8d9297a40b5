//! Who owned what at each revision of etcd, and every moment at which that was not as it should be.
//!
//! Pure on purpose: it is told etcd's history, one revision after the other, and judges each. What
//! the agents believe has no weight here.

use std::collections::BTreeMap;
use std::fmt;

use twill_core::ids::{NodeId, Revision, Underlay};
use twill_core::lease::{Key, LeaseValue};

/// Whom a lease belongs to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Owner {
    /// The host's own name for itself; leases of flanneld have none.
    pub node: Option<NodeId>,
    /// The address that it publishes.
    pub address: Underlay,
}

/// What one revision did to one key below `subnets/`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Write<'a> {
    /// It has this value now.
    Put(&'a [u8]),
    /// It is gone: deleted, or its time was up.
    Gone,
}

/// One moment at which ownership was not as it must be.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each variant is told in words below")]
pub enum Violation {
    /// Two keys that overlap.
    Overlap { at: Moment, one: (Key, Owner), other: (Key, Owner) },
    /// Another owner wrote over a lease that was nobody else's to write.
    Taken { at: Moment, key: Key, from: Owner, by: Owner },
    /// Something below `subnets/` that is no lease.
    Unreadable { at: Moment, key: String, why: String },
    /// A part of the history that was not seen.
    Unseen { at: Moment, next: Revision },
    /// Another history than the one that was followed, which nobody announced.
    Rewritten { at: Moment },
}

/// A revision, and how often etcd was put back from a copy before it.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Moment {
    /// The count of histories, from 0.
    pub history: usize,
    /// The revision in it.
    pub revision: Revision,
}

/// How much was seen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Revisions, in all histories.
    pub revisions: u64,
    /// Leases that were new.
    pub claimed: u64,
    /// Leases written again by their owners.
    pub renewed: u64,
    /// Leases that ended.
    pub ended: u64,
}

/// The book itself.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    at: Moment,
    held: BTreeMap<Key, Owner>,
    announced: usize,
    violations: Vec<Violation>,
    tally: Tally,
}

impl Ledger {
    /// Whose each subnet is now.
    pub fn held(&self) -> &BTreeMap<Key, Owner> {
        &self.held
    }

    /// The last moment that was written down.
    pub fn at(&self) -> Moment {
        self.at
    }

    /// How much was seen.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What was wrong so far.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// etcd will be put back from a copy: another history begins, once, and nobody is to blame.
    pub fn announce_restore(&mut self) {
        self.announced += 1;
    }

    /// Begins with another history, all of which up to `revision` is in `rows`.
    pub fn begin_again<'a>(
        &mut self,
        revision: Revision,
        rows: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) {
        self.at = Moment { history: self.at.history + 1, revision };
        match self.announced.checked_sub(1) {
            Some(left) => self.announced = left,
            None => self.violations.push(Violation::Rewritten { at: self.at }),
        }
        self.held.clear();
        for (key, value) in rows {
            self.put(key, value);
        }
        self.find_overlaps();
    }

    /// Writes one revision down; every revision has to come, with all that it did.
    pub fn write<'a>(
        &mut self,
        revision: Revision,
        writes: impl IntoIterator<Item = (&'a str, Write<'a>)>,
    ) {
        let due = Revision(self.at.revision.0 + 1);
        // A history begins with revision 1, which wrote nothing.
        if revision != due && !(self.at.revision == Revision(0) && revision == Revision(2)) {
            self.violations.push(Violation::Unseen { at: self.at, next: revision });
        }
        self.at.revision = revision;
        self.tally.revisions += 1;
        let mut put = false;
        for (key, write) in writes {
            match write {
                Write::Put(value) => {
                    self.put(key, value);
                    put = true;
                }
                Write::Gone => self.gone(key),
            }
        }
        if put {
            self.find_overlaps();
        }
    }

    /// Owners with more than one subnet, of those that have a node id. A host that moves has two
    /// for a moment, so this is for when all is still.
    pub fn greedy(&self) -> Vec<(NodeId, Vec<Key>)> {
        let mut by_owner = BTreeMap::<NodeId, Vec<Key>>::new();
        for (key, owner) in &self.held {
            if let Some(node) = owner.node {
                by_owner.entry(node).or_default().push(*key);
            }
        }
        by_owner.into_iter().filter(|(_node, keys)| keys.len() > 1).collect()
    }

    fn put(&mut self, key: &str, value: &[u8]) {
        let at = self.at;
        let read = || -> Result<(Key, Owner), String> {
            let key: Key = key.parse().map_err(|error| format!("{error}"))?;
            let value = LeaseValue::parse(value).map_err(|error| error.to_string())?;
            Ok((key, Owner { node: value.node, address: value.public_ip }))
        };
        let (key, by) = match read() {
            Ok(read) => read,
            Err(why) => {
                let key = key.escape_debug().to_string();
                self.violations.push(Violation::Unreadable { at, key, why });
                return;
            }
        };
        match self.held.insert(key, by) {
            None => self.tally.claimed += 1,
            Some(from) if by.may_follow(from) => self.tally.renewed += 1,
            Some(from) => self.violations.push(Violation::Taken { at, key, from, by }),
        }
    }

    fn gone(&mut self, key: &str) {
        if key.parse().ok().and_then(|key: Key| self.held.remove(&key)).is_some() {
            self.tally.ended += 1;
        }
    }

    // Keys are ordered by the first address of their block, so whatever overlaps a block and is
    // none of its neighbours overlaps one of them as well.
    fn find_overlaps(&mut self) {
        let pairs = self.held.iter().zip(self.held.iter().skip(1));
        let overlaps = pairs.filter(|((one, _), (other, _))| one.subnet.overlaps(other.subnet));
        let found = overlaps.map(|((one, first), (other, second))| Violation::Overlap {
            at: self.at,
            one: (*one, *first),
            other: (*other, *second),
        });
        self.violations.extend(found);
    }
}

impl Owner {
    /// May a lease of `from` be written by this one, without having ended in between? A host may
    /// change its address, and one that ran flanneld takes its lease over.
    fn may_follow(self, from: Self) -> bool {
        match (from.node, self.node) {
            (Some(from), by) => by == Some(from),
            (None, _) => self.address == from.address,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "{node} at {}", self.address),
            None => write!(f, "the host at {}", self.address),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {}", self.revision)?;
        match self.history {
            0 => Ok(()),
            restored => write!(f, " after restore {restored}"),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap { at, one: (one, first), other: (other, second) } => {
                write!(f, "{at}: {one} of {first} overlaps {other} of {second}")
            }
            Self::Taken { at, key, from, by } => {
                write!(f, "{at}: {key} of {from} was written over by {by}")
            }
            Self::Unreadable { at, key, why } => write!(f, "{at}: {key} is no lease: {why}"),
            Self::Unseen { at, next } => {
                write!(f, "after {at} the next one seen was {next}: the observer was too late")
            }
            Self::Rewritten { at } => {
                write!(f, "{at}: etcd has another history than before, and nobody announced it")
            }
        }
    }
}

#[cfg(test)]
mod tests;
