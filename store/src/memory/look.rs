//! What a watcher of the store in memory sees.

use twill_core::ids::{NetworkName, Revision};
use twill_core::networks::catalogue::{Catalogue, Entry as Network, Turn};

use super::state::{Change, Entry, question};
use super::{Memory, MemoryWatch};
use crate::{ConfigText, Directory, Error, Operation, Past, Scope, Seen};

impl MemoryWatch {
    /// The next change that concerns the watcher, if it has happened already.
    pub(super) fn look(&mut self) -> Result<Option<Seen>, Error> {
        let state = self.memory.reach(Operation::Watch, &self.memory.layout.leases())?;
        let (_revision, gone) = state.forgotten;
        let Some(told) = self.told.filter(|told| *told >= gone) else {
            return Ok(Some(Seen::Compacted));
        };
        for (index, change) in state.history.iter().enumerate().skip(told - gone) {
            self.told = Some(gone + index + 1);
            if let Some(seen) = self.memory.seen(change, self.scope) {
                return Ok(Some(seen));
            }
        }
        Ok(None)
    }
}

impl Memory {
    fn seen(&self, change: &Change, scope: Scope) -> Option<Seen> {
        let revision = Revision(change.revision);
        if scope == Scope::Networks {
            let name = self.layout.network_of(&change.key)?.to_owned();
            return Some(Seen::Network(match &change.entry {
                Some(entry) => Turn::Put(name, network(entry)),
                None => Turn::Gone(name, revision),
            }));
        }
        if let Scope::Host(node) = scope {
            if change.key == self.layout.config() {
                let text = |entry: &Entry| ConfigText { text: entry.value.clone(), revision };
                return Some(Seen::Config(change.entry.as_ref().map(text), revision));
            }
            if change.key == self.layout.double(node) {
                let asked = change.entry.as_ref().and_then(question);
                return Some(Seen::Question(asked, revision));
            }
        }
        let name = change.key.strip_prefix(&self.layout.leases())?;
        let (value, created, revision) = (Vec::new(), change.revision, change.revision);
        let end = Entry { value, created, revision, lease: None };
        Some(Seen::Event(match &change.entry {
            Some(entry) => entry.row(name).put(),
            None => end.row(name).gone(),
        }))
    }
}

impl Directory for Memory {
    async fn networks(&self) -> Result<Catalogue, Error> {
        let state = self.reach(Operation::ListNetworks, self.layout.root())?;
        let mut catalogue = Catalogue::new(Revision(state.revision));
        for (key, entry) in &state.rows {
            if let Some(name) = self.layout.network_of(key) {
                catalogue.insert(name, network(entry));
            }
        }
        Ok(catalogue)
    }

    async fn past(&self, name: &NetworkName, written: Revision) -> Result<Past, Error> {
        let key = self.layout.config_of(name);
        let state = self.reach(Operation::ReadConfig, &key)?;
        let (forgotten, _count) = state.forgotten;
        let is = |change: &&Change| change.key == key && change.revision == written.0;
        let told = state.history.iter().find(is).and_then(|change| change.entry.as_ref());
        Ok(match told {
            _gone if written.0 < forgotten => Past::Forgotten,
            Some(_entry) => Past::Same,
            None if state.rows.get(&key).is_some_and(|row| row.revision == written.0) => Past::Same,
            None => Past::Other,
        })
    }
}

fn network(entry: &Entry) -> Network {
    Network { created: Revision(entry.created), written: Revision(entry.revision) }
}
