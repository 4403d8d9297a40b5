//! In what a table is not as it should be, for people.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::State;

/// In what a table of peers is not as it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lack {
    /// It is not there, so that everybody's packets come in.
    Table,
    /// It is there, and nobody wants it.
    Unwanted,
    /// Its rules are others.
    Rules,
    /// Packets of these peers do not come in, or not all of them.
    Peers(BTreeSet<IpAddr>),
    /// Those of these hosts do, who are no peers or have other blocks.
    Strangers(BTreeSet<IpAddr>),
}

impl State {
    /// In what `found` is not like this, which is as it should be.
    #[must_use]
    pub fn lacks(&self, found: &Self) -> Vec<Lack> {
        let nothing = Self::default();
        match (*self == nothing, *found == nothing) {
            (true, true) => return Vec::new(),
            (true, false) => return vec![Lack::Unwanted],
            (false, true) => return vec![Lack::Table],
            (false, false) => {}
        }
        let missing = self.elements.without(&found.elements);
        let strangers = found.elements.without(&self.elements);
        let mut lacks = Vec::new();
        lacks.extend((!self.has_rules_of(found)).then_some(Lack::Rules));
        lacks.extend((!missing.is_empty()).then_some(Lack::Peers(missing)));
        lacks.extend((!strangers.is_empty()).then_some(Lack::Strangers(strangers)));
        lacks
    }
}
