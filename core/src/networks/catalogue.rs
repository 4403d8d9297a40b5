//! Which networks a host is to be in that follows all that lie under one prefix.
//!
//! A network is there while it has a configuration. One that is missing was left on purpose only if etcd
//! tells of a later time than the one at which it was seen: an etcd that was put back from a copy, or lost
//! everything, proves nothing, and takes no network from a host.

use std::collections::{BTreeMap, BTreeSet};

use super::Networks;
use crate::ids::{NetworkName, ParseError, Revision};

/// The networks under a prefix, as etcd has them at one moment. Anybody who may write there chooses names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Catalogue {
    entries: BTreeMap<String, Entry>,
    /// Of which moment it is.
    pub revision: Revision,
}

/// A configuration under a name, unread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// When it came to be there.
    pub created: Revision,
    /// When it was written last.
    pub written: Revision,
}

/// What happened to a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Turn {
    /// It was written.
    Put(String, Entry),
    /// It was deleted, at that revision.
    Gone(String, Revision),
}

/// What this host knows of a network that it is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Known {
    /// Its configuration stood in etcd at that revision.
    At(Revision),
    /// It is missing in an etcd that does not tell of that time.
    Doubted,
}

/// The networks that a host is in, or has something left of.
pub type Home = BTreeMap<NetworkName, Known>;

/// What follows for a host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verdict {
    /// The networks that it is to be in, in the order in which they go first.
    pub order: Vec<NetworkName>,
    /// The same, with what it knows of each from now on.
    pub home: Home,
    /// The ones that it is to leave.
    pub gone: Vec<NetworkName>,
    /// Names that are none, and what they should be.
    pub unfit: Vec<ParseError>,
}

impl Verdict {
    /// The networks that are missing in etcd without a proof that somebody took them away.
    #[must_use]
    pub fn doubted(&self) -> BTreeSet<NetworkName> {
        let doubted = self.home.iter().filter(|(_name, known)| **known == Known::Doubted);
        doubted.map(|(name, _known)| name.clone()).collect()
    }
}

impl Catalogue {
    /// As of that moment; nothing is in it.
    #[must_use]
    pub fn new(revision: Revision) -> Self {
        Self { entries: BTreeMap::new(), revision }
    }

    /// What was found there.
    pub fn insert(&mut self, name: &str, entry: Entry) {
        self.entries.insert(name.to_owned(), entry);
    }

    /// The same after that. What is told twice changes nothing.
    pub fn fold(&mut self, turn: Turn) {
        match turn {
            Turn::Put(name, entry) => {
                self.revision = self.revision.max(entry.written);
                self.entries.insert(name, entry);
            }
            Turn::Gone(name, at) => {
                self.revision = self.revision.max(at);
                if self.entries.get(&name).is_none_or(|entry| entry.written <= at) {
                    self.entries.remove(&name);
                }
            }
        }
    }

    /// Has that network a configuration, of whatever kind?
    #[must_use]
    pub fn has(&self, name: &NetworkName) -> bool {
        self.entries.contains_key(name.as_str())
    }

    /// What a host is to do that is in the networks of `home`, and may be in those of `only`, or in all if
    /// that is empty.
    #[must_use]
    pub fn judge(&self, only: &Networks, home: &Home) -> Verdict {
        let mut verdict = Verdict::default();
        let mut there = Vec::new();
        for (text, entry) in &self.entries {
            // They end up on terminals.
            match text.escape_debug().to_string().parse::<NetworkName>() {
                Ok(name) if only.admit(&name) => there.push((only.place(&name), *entry, name)),
                Ok(_not_for_this_host) => {}
                Err(error) => verdict.unfit.push(error),
            }
        }
        // The same on every host, whenever it was started.
        there.sort_by(|(a, one, name), (b, other, beside)| {
            (a, one.created, name).cmp(&(b, other.created, beside))
        });
        for (_place, entry, name) in there {
            verdict.home.insert(name.clone(), Known::At(entry.written));
            verdict.order.push(name);
        }
        for (name, known) in home.iter().filter(|(name, _)| !verdict.home.contains_key(*name)) {
            match known {
                Known::At(seen) if *seen <= self.revision => verdict.gone.push(name.clone()),
                Known::At(_) | Known::Doubted => verdict.order.push(name.clone()),
            }
        }
        let doubted = verdict.order.iter().filter(|name| !verdict.home.contains_key(*name));
        let doubted: Vec<_> = doubted.map(|name| (name.clone(), Known::Doubted)).collect();
        verdict.home.extend(doubted);
        verdict
    }
}

#[cfg(test)]
mod tests;
