//! What the table is called.

use std::fmt;

use crate::ids::NetworkName;

/// Not the table of the firewall's rules: it is there whatever engine these are written with.
const NAME: &str = "twill-peers";

/// The table of one network: `twill-peers`, or on a host in several `twill-peers-NETWORK`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Table(String);

impl Table {
    /// Of that network; a host in one network need not name it.
    #[must_use]
    pub fn of(network: Option<&NetworkName>) -> Self {
        Self(network.map_or_else(|| NAME.to_owned(), |network| format!("{NAME}-{network}")))
    }

    /// All those of ours among what `nft list tables` prints.
    #[must_use]
    pub fn all_in(tables: &str) -> Vec<Self> {
        let family = format!("table {} ", super::FAMILY);
        let names = tables.lines().filter_map(|line| line.strip_prefix(&family));
        names.filter(|name| is_table(name)).map(|name| Self(name.to_owned())).collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Default for Table {
    /// That of a host in one network.
    fn default() -> Self {
        Self::of(None)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Is it the name of such a table, of whatever network?
#[must_use]
pub fn is_table(name: &str) -> bool {
    let network = name.strip_prefix(NAME);
    network.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
