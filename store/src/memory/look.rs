//! What a watcher of the store in memory sees.

use twill_core::ids::Revision;

use super::state::{Change, Entry, question};
use super::{Memory, MemoryWatch};
use crate::{ConfigText, Error, Operation, Scope, Seen};

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
        let end = Entry { value: Vec::new(), revision: change.revision, lease: None };
        Some(Seen::Event(match &change.entry {
            Some(entry) => entry.row(name).put(),
            None => end.row(name).gone(),
        }))
    }
}
