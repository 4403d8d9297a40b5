//! What `iptables-save` prints, read.

use std::collections::BTreeMap;

use super::{CHAINS, Chain, Table, all_chains};

/// All rules of one kind of iptables, everybody's.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ruleset {
    tables: BTreeMap<String, BTreeMap<String, Found>>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Found {
    /// What becomes of a packet that meets no rule; `-` for a chain that is not built in.
    policy: String,
    rules: Vec<String>,
}

/// Docker's own, in the table `filter`.
const DOCKER: [&str; 2] = ["DOCKER", "DOCKER-USER"];

impl Ruleset {
    /// Reads the text. A line that makes no sense is somebody else's.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut tables: BTreeMap<String, BTreeMap<String, Found>> = BTreeMap::new();
        let mut table = String::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                name.clone_into(&mut table);
                tables.entry(table.clone()).or_default();
                continue;
            }
            let Some(chains) = tables.get_mut(&table) else { continue };
            if let Some((name, policy)) = line.strip_prefix(':').and_then(|it| it.split_once(' ')) {
                let policy = policy.split(' ').next().unwrap_or_default().to_owned();
                chains.entry(name.to_owned()).or_default().policy = policy;
            } else if let Some((name, rule)) =
                line.strip_prefix("-A ").and_then(|it| it.split_once(' '))
            {
                chains.entry(name.to_owned()).or_default().rules.push(rule.to_owned());
            }
        }
        Self { tables }
    }

    /// How many rules and policies are other people's.
    #[must_use]
    pub fn others(&self) -> usize {
        self.tables.iter().map(|(table, chains)| others_of(table, chains)).sum()
    }

    /// Is anything of ours in here?
    #[must_use]
    pub fn has_ours(&self) -> bool {
        CHAINS.into_iter().any(|chain| self.rules(chain.table, chain.name).is_some())
    }

    /// The rules of a chain, in order; `None` if there is no such chain.
    pub(super) fn rules(&self, table: Table, chain: &str) -> Option<&Vec<String>> {
        self.tables.get(table.name())?.get(chain).map(|found| &found.rules)
    }

    /// The chains that jumps of ours into `chain` are in, each as often as it has one.
    pub(super) fn jumps(&self, chain: Chain) -> impl Iterator<Item = &str> {
        let chains = self.tables.get(chain.table.name()).into_iter().flatten();
        chains.flat_map(move |(name, found)| {
            let jumps = found.rules.iter().filter(move |rule| **rule == chain.jump());
            jumps.map(|_jump| name.as_str())
        })
    }

    /// How many jumps into `chain` are not ours.
    pub(super) fn foreign_jumps(&self, chain: Chain) -> usize {
        let all = self.tables.get(chain.table.name()).into_iter().flatten();
        let rules = all.flat_map(|(_name, found)| &found.rules);
        let into = |rule: &&String| {
            let mut words = rule.split(' ').rev();
            words.next() == Some(chain.name) && matches!(words.next(), Some("-j" | "-g"))
        };
        rules.filter(into).filter(|rule| **rule != chain.jump()).count()
    }

    /// The rules of a chain of the table `filter` that are not jumps of ours.
    pub(super) fn foreign(&self, chain: &str) -> impl Iterator<Item = &String> {
        let rules = self.rules(Table::Filter, chain).into_iter().flatten();
        rules.filter(|rule| !Self::is_ours(Table::Filter, rule))
    }

    /// Can a packet find its end in this chain of the table `filter`?
    #[must_use]
    pub fn may_drop(&self, chain: &str) -> bool {
        let filter = self.tables.get(Table::Filter.name());
        let closed = filter.and_then(|filter| filter.get(chain)).is_some_and(Found::is_closed);
        closed || self.foreign(chain).next().is_some()
    }

    /// Can a packet find its end in `raw`, or will it when Docker starts the next container?
    pub(super) fn may_drop_in_raw(&self) -> bool {
        let mut rules = self.rules(Table::Raw, "PREROUTING").into_iter().flatten();
        rules.any(|rule| !Self::is_ours(Table::Raw, rule))
            || DOCKER.iter().any(|chain| self.rules(Table::Filter, chain).is_some())
    }

    /// Is this a jump into a chain of ours?
    pub(super) fn is_ours(table: Table, rule: &str) -> bool {
        is_jump_of_ours(table.name(), rule)
    }
}

impl Found {
    fn is_closed(&self) -> bool {
        !["", "-", "ACCEPT"].contains(&self.policy.as_str())
    }
}

fn others_of(table: &str, chains: &BTreeMap<String, Found>) -> usize {
    let ours =
        |name: &str| all_chains().any(|chain| chain.name == name && chain.table.name() == table);
    let foreign = chains.iter().filter(|(name, _found)| !ours(name)).map(|(_name, found)| {
        let rules = found.rules.iter().filter(|rule| !is_jump_of_ours(table, rule)).count();
        rules + usize::from(found.is_closed())
    });
    foreign.sum()
}

fn is_jump_of_ours(table: &str, rule: &str) -> bool {
    all_chains().any(|chain| chain.table.name() == table && chain.jump() == rule)
}
