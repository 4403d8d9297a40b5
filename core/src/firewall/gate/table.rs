//! What the table is called.

use std::fmt;

use super::super::nftables::header;
use crate::ids::{Family, NetworkName};

/// Not the table of the firewall's rules: it is there whatever engine these are written with.
const NAME: &str = "twill-peers";

/// The table of one network: `twill-peers`, or on a host in several `twill-peers-NETWORK`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Table {
    family: Family,
    name: String,
}

impl Table {
    /// Of that network, for IPv4; a host in one network need not name it.
    #[must_use]
    pub fn of(network: Option<&NetworkName>) -> Self {
        let name = network.map_or_else(|| NAME.to_owned(), |network| format!("{NAME}-{network}"));
        Self { family: Family::V4, name }
    }

    /// The one of that name for packets of that family.
    #[must_use]
    pub fn over(&self, family: Family) -> Self {
        Self { family, name: self.name.clone() }
    }

    /// Its family in the words of nft. In `inet` each look at an address would first ask which family
    /// it is of, for every packet.
    #[must_use]
    pub fn family(&self) -> &'static str {
        header(self.family)
    }

    /// All those of ours among what `nft list tables` prints.
    #[must_use]
    pub fn all_in(tables: &str) -> Vec<Self> {
        let of = |family| {
            let prefix = format!("table {} ", header(family));
            let names = tables.lines().filter_map(move |line| line.strip_prefix(&prefix));
            let names = names.filter(|name| is_table(name)).map(str::to_owned);
            names.map(move |name| Self { family, name })
        };
        [Family::V4, Family::V6].into_iter().flat_map(of).collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
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
        f.write_str(&self.name)
    }
}

/// Is it the name of such a table, of whatever network?
#[must_use]
pub fn is_table(name: &str) -> bool {
    let network = name.strip_prefix(NAME);
    network.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
