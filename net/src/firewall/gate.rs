//! The table of peers, kept by the program `nft`.

use twill_core::firewall::gate::{Gate, Lack, State, Table, transaction};
use twill_core::ids::Family;

use super::counters::refused_by;
use super::{generation, nft};
use crate::Error;

/// The tables of one network, one for each family, and what we know of them.
#[derive(Debug)]
pub struct Gatekeeper([Half; 2]);

/// The table of one family.
#[derive(Debug)]
struct Half {
    family: Family,
    table: Table,
    /// How we left it, and after how many transactions of anybody's; `None` if somebody wrote at the
    /// same time.
    stood: Option<(Option<u32>, State)>,
    /// The rules as we wrote them, and as this version of nft prints them.
    printed: Option<(State, State)>,
}

/// What had to be done.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// Nothing.
    Unchanged,
    /// It was to become another.
    Changed,
    /// Somebody else had changed it.
    Healed,
}

impl Default for Gatekeeper {
    fn default() -> Self {
        Self::new(&Table::default())
    }
}

impl Gatekeeper {
    /// Nothing is looked at or written yet.
    #[must_use]
    pub fn new(table: &Table) -> Self {
        let half = |family| Half { family, table: table.over(family), stood: None, printed: None };
        Self([Family::V4, Family::V6].map(half))
    }

    /// Brings the tables about, each in one transaction: that of the family of each gate, and none of a
    /// family without. A look at what nobody has changed is one question to the
    /// kernel, and a peer who comes or goes is an element of a set.
    ///
    /// When this is cut off, each table is as it was or as it should be.
    pub async fn ensure(&mut self, gates: &[Gate]) -> Result<Outcome, Error> {
        let mut outcome = Outcome::Unchanged;
        for half in &mut self.0 {
            let wanted = gates.iter().find(|gate| gate.family() == half.family);
            outcome = outcome.max(half.ensure(wanted).await?);
        }
        Ok(outcome)
    }

    /// In what the table of that family is not as `gate` wants it; writes nothing.
    pub async fn lacks(&self, family: Family, gate: Option<&Gate>) -> Result<Vec<Lack>, Error> {
        let mut lacks = Vec::new();
        for half in self.0.iter().filter(|half| half.family == family) {
            let wanted = State::of(&half.table, gate);
            lacks.extend(wanted.lacks(&half.look().await?));
        }
        Ok(lacks)
    }
}

impl Half {
    async fn ensure(&mut self, gate: Option<&Gate>) -> Result<Outcome, Error> {
        let wanted = State::of(&self.table, gate);
        let is_away = self.stood.as_ref().is_some_and(|(_then, state)| *state == State::default());
        if gate.is_none() && is_away {
            // Who makes one now may keep it.
            return Ok(Outcome::Unchanged);
        }
        let before = generation::read()?;
        let (found, healed) = match self.stood.take() {
            Some((then, state)) if then == Some(before) => (state, false),
            last => {
                let found = self.look().await?;
                let healed = last.is_some_and(|(_then, state)| state != found);
                (found, healed)
            }
        };
        if found == wanted {
            // Unless somebody wrote while we read.
            let alone = generation::read()? == before;
            self.stood = Some((alone.then_some(before), wanted));
            return Ok(Outcome::Unchanged);
        }
        let same = found.has_rules_of(&wanted);
        let whole =
            !same || nft::nft(&["-f", "-"], &wanted.change(&found, &self.table)).await.is_err();
        if whole {
            let text = transaction(&self.table, gate, &refused_by(&self.table, self.family)?);
            nft::nft(&["-f", "-"], &text).await?;
        }
        let ours = before.wrapping_add(1);
        let alone = generation::read()? == ours;
        if whole && alone {
            let rules = nft::list_rules(&[self.table.family(), self.table.name()]).await?;
            self.printed = Some((wanted.clone(), State::read(&rules)));
        }
        self.stood = Some((alone.then_some(ours), wanted));
        Ok(if healed { Outcome::Healed } else { Outcome::Changed })
    }

    async fn look(&self) -> Result<State, Error> {
        let found = State::read(&self.list().await?);
        Ok(match &self.printed {
            Some((wrote, printed)) if found.has_rules_of(printed) => found.with_rules_of(wrote),
            _as_it_is => found,
        })
    }

    async fn list(&self) -> Result<String, Error> {
        nft::list(&[self.table.family(), self.table.name()]).await
    }
}
