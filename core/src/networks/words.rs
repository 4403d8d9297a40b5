//! The list of networks, as an option has it.

use std::fmt;
use std::str::FromStr;

use crate::ids::NetworkName;

/// The networks of one host, in the order in which they go first; none of them twice.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Networks(Vec<NetworkName>);

/// Why a text is no list of networks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoNetworks {
    /// One of the names is none.
    #[error(transparent)]
    Name(#[from] crate::ids::ParseError),
    /// A host is in a network once.
    #[error("network {0} is named twice")]
    Twice(NetworkName),
}

impl Networks {
    /// The names, in order.
    #[must_use]
    pub fn names(&self) -> &[NetworkName] {
        &self.0
    }

    /// For a host that is to be in no others, if it names any.
    #[must_use]
    pub fn admit(&self, name: &NetworkName) -> bool {
        self.0.is_empty() || self.0.contains(name)
    }

    /// Where that name stands, or behind all.
    #[must_use]
    pub fn place(&self, name: &NetworkName) -> usize {
        self.0.iter().position(|known| known == name).unwrap_or(self.0.len())
    }
}

impl FromStr for Networks {
    type Err = NoNetworks;

    /// Names between commas, with blanks or without; an empty text is no network.
    fn from_str(text: &str) -> Result<Self, NoNetworks> {
        let mut names: Vec<NetworkName> = Vec::new();
        if text.trim().is_empty() {
            return Ok(Self(names));
        }
        for word in text.split(',') {
            let name: NetworkName = word.trim().parse()?;
            if names.contains(&name) {
                return Err(NoNetworks::Twice(name));
            }
            names.push(name);
        }
        Ok(Self(names))
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(NetworkName::as_str).collect();
        f.write_str(&names.join(","))
    }
}
