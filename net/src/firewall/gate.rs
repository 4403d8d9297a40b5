//! The table of peers, kept by the program `nft`.

use twill_core::firewall::gate::{FAMILY, Gate, State, Table, transaction};

use super::counters::refused;
use super::{generation, nft};
use crate::Error;

/// The table of one network, and what we know of it.
#[derive(Debug, Default)]
pub struct Gatekeeper {
    table: Table,
    /// How we left it, and after how many transactions of anybody's; `None` if somebody wrote at the
    /// same time.
    stood: Option<(Option<u32>, State)>,
    /// The rules as we wrote them, and as this version of nft prints them.
    printed: Option<(State, State)>,
}

/// What had to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Nothing.
    Unchanged,
    /// It was to become another.
    Changed,
    /// Somebody else had changed it.
    Healed,
}

impl Gatekeeper {
    /// Nothing is looked at or written yet.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self { table, ..Self::default() }
    }

    /// Brings the table about, in one transaction; `None` is no table. A look at what nobody has
    /// changed is one question to the kernel, and a peer who comes or goes is an element of a set.
    ///
    /// When this is cut off, the table is as it was or as it should be.
    pub async fn ensure(&mut self, gate: Option<&Gate>) -> Result<Outcome, Error> {
        let wanted = State::of(&self.table, gate);
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
            let text = transaction(&self.table, gate, &refused(&self.table)?);
            nft::nft(&["-f", "-"], &text).await?;
        }
        let ours = before.wrapping_add(1);
        let alone = generation::read()? == ours;
        if whole && alone {
            let rules = nft::list_rules(&[FAMILY, self.table.name()]).await?;
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
        nft::list(&[FAMILY, self.table.name()]).await
    }
}
