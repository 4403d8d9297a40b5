//! The table as it is, or as it should be, and the way from one to the other.

use super::elements::Elements;
use super::{Gate, Refused, Table};

/// The table in a form that can be compared.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// Everything but elements and what counters say, in words between single blanks; nothing if there
    /// is no table.
    rules: String,
    pub(super) elements: Elements,
}

impl State {
    /// What it should be; `None` is no table.
    #[must_use]
    pub fn of(table: &Table, gate: Option<&Gate>) -> Self {
        let Some(gate) = gate else { return Self::default() };
        let rules = words(&without_counts(&gate.text(table, &Refused::default())));
        Self { rules, elements: Elements::of(gate) }
    }

    /// Reads what `nft -s -n list table` prints. Of a table that has anything in its sets which we would
    /// not have written, the rules are none of ours either.
    #[must_use]
    pub fn read(listing: &str) -> Self {
        let mut state = Self::default();
        let (mut rest, mut rules) = (listing, String::new());
        while let Some((before, after)) = rest.split_once("elements = {") {
            rules.push_str(before);
            let set = rules.rsplit_once("set ").and_then(|(_, name)| name.split(' ').next());
            let Some((listed, behind)) = after.split_once('}') else { break };
            if state.elements.read(set.unwrap_or_default(), listed).is_none() {
                return Self { rules: listing.to_owned(), elements: Elements::default() };
            }
            rest = behind;
        }
        state.rules = words(&(rules + rest));
        state
    }

    /// The same elements under rules in other words: another nft may print ours in its own.
    #[must_use]
    pub fn with_rules_of(self, other: &Self) -> Self {
        Self { rules: other.rules.clone(), ..self }
    }

    /// Do they differ in elements at most?
    #[must_use]
    pub fn has_rules_of(&self, other: &Self) -> bool {
        self.rules == other.rules
    }

    /// The text for one `nft -f` that brings `found`, which is what `table` is like, to this; both have
    /// the same rules.
    #[must_use]
    pub fn change(&self, found: &Self, table: &Table) -> String {
        self.elements.change(&found.elements, table)
    }
}

/// The text for one `nft -f`, of which all happens or nothing: the table as it should be in place of
/// whatever was there. The counters go on from `refused`.
#[must_use]
pub fn transaction(table: &Table, gate: Option<&Gate>, refused: &Refused) -> String {
    // Named first, so that there is one to delete.
    let family = table.family();
    let clear = format!("table {family} {table}\ndelete table {family} {table}\n");
    let Some(gate) = gate else { return clear };
    clear + &gate.text(table, refused) + &Elements::of(gate).change(&Elements::default(), table)
}

/// As a listing without counts has it.
fn without_counts(table: &str) -> String {
    let lines = table.lines().filter(|line| !line.starts_with("\t\tpackets "));
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
