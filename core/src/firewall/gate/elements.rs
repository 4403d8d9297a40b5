//! What is in the two sets: whose encapsulated packets come in, and with which inner sources.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::net::IpAddr;

use super::{Gate, Table};
use crate::ids::{Subnet, Underlay, bits};

/// The elements of both sets.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Elements {
    hosts: BTreeSet<IpAddr>,
    /// Outer source, and first and last inner source.
    peers: BTreeSet<(IpAddr, u128, u128)>,
}

/// A block in the words of nft, which takes what it does not know for a number.
pub(super) fn range(block: Subnet) -> impl fmt::Display {
    Range(bits(block.base()), bits(block.last()))
}

struct Range(u128, u128);

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(first, last) = self;
        if first == last { write!(f, "{first:#x}") } else { write!(f, "{first:#x}-{last:#x}") }
    }
}

impl Elements {
    pub(super) fn of(gate: &Gate) -> Self {
        let element = |(Underlay(host), block): &(Underlay, Subnet)| {
            (*host, bits(block.base()), bits(block.last()))
        };
        let peers: BTreeSet<_> = gate.peers.iter().map(element).collect();
        Self { hosts: peers.iter().map(|(host, ..)| *host).collect(), peers }
    }

    /// The hosts that have more in these sets than in those.
    pub(super) fn without(&self, other: &Self) -> BTreeSet<IpAddr> {
        let peers = self.peers.difference(&other.peers).map(|(host, ..)| *host);
        self.hosts.difference(&other.hosts).copied().chain(peers).collect()
    }

    /// Commands that bring `found` to this. What goes does so first: it may overlap what comes.
    pub(super) fn change(&self, found: &Self, table: &Table) -> String {
        let mut text = String::new();
        let peer = |(host, first, last): &(IpAddr, u128, u128)| {
            format!("{host} . {}", Range(*first, *last))
        };
        command((&mut text, table), ("delete", "hosts"), found.hosts.difference(&self.hosts));
        command(
            (&mut text, table),
            ("delete", "peers"),
            found.peers.difference(&self.peers).map(peer),
        );
        command((&mut text, table), ("add", "hosts"), self.hosts.difference(&found.hosts));
        command(
            (&mut text, table),
            ("add", "peers"),
            self.peers.difference(&found.peers).map(peer),
        );
        text
    }

    /// Takes in what a listing says between the braces behind `elements =`; `None` if that is nothing
    /// that we would have written.
    pub(super) fn read(&mut self, set: &str, listed: &str) -> Option<()> {
        for element in listed.split(',').map(str::trim) {
            match (set, element.split_once(" . ")) {
                ("hosts", None) => _ = self.hosts.insert(element.parse().ok()?),
                ("peers", Some((host, inner))) => {
                    let (first, last) = numbers(inner)?;
                    self.peers.insert((host.parse().ok()?, first, last));
                }
                _other => return None,
            }
        }
        Some(())
    }
}

fn command(
    (text, table): (&mut String, &Table),
    (verb, set): (&str, &str),
    elements: impl Iterator<Item = impl fmt::Display>,
) {
    let mut separator = format!("{verb} element {} {table} {set} {{ ", table.family());
    let before = text.len();
    for element in elements {
        // Writing to a string cannot fail.
        _ = write!(text, "{separator}{element}");
        separator.replace_range(.., ", ");
    }
    if text.len() > before {
        text.push_str(" }\n");
    }
}

/// One number, or the first and the last.
fn numbers(text: &str) -> Option<(u128, u128)> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    match text.split_once('-') {
        Some((first, last)) => Some((number(first)?, number(last)?)),
        None => number(text).map(|one| (one, one)),
    }
}
