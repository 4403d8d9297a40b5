//! The firewall rules of a host, as values.

use crate::ids::Subnet;

/// What the rules depend on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// The whole overlay network.
    pub network: Subnet,
    /// This host's block.
    pub subnet: Subnet,
    /// Masquerade what leaves the overlay?
    pub masquerade: Option<Masquerade>,
    /// Accept forwarded packets from and to the overlay?
    pub forward: bool,
}

/// How source ports of masqueraded packets are chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Masquerade {
    /// At random, so that two flows never race for one port.
    FullyRandom,
    /// The kernel's choice.
    Plain,
}

/// One rule of one chain, in the words that `iptables -S` prints after `-A CHAIN`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// `filter` or `nat`.
    pub table: Table,
    /// The chain that holds it.
    pub chain: &'static str,
    /// The words.
    pub words: String,
}

/// A table of iptables.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Table {
    /// Decides what may pass.
    Filter,
    /// Rewrites addresses.
    Nat,
}

impl Table {
    /// The name iptables knows it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}
