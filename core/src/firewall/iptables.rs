//! The rules in iptables, and the one transaction that brings them about.
//!
//! Of other people's rules nothing is changed: our chains are emptied and filled again, and of the
//! chains of others only our own jumps are moved. These chains are ours:
//!
//! * `FLANNEL-POSTRTG` masquerades. It is flannel's.
//! * `FLANNEL-FWD` accepts what is forwarded from and to the overlay, wherever flannel's jump happens
//!   to be: it wins over a policy, and everybody's rules before it win over it.
//! * `TWILL-FWD` accepts what passes between containers of two hosts, and nothing else, before
//!   anybody drops it: as the last word of the administrator's `DOCKER-USER` where Docker looks there
//!   first, else in front of `FORWARD`.
//! * `TWILL-RAW` does the same in front of the table `raw`, where Docker 28 and later drop what comes
//!   to a container from another interface than its bridge.
//! * `TWILL-MSS` lowers the segment size that TCP connections agree on, to what their route carries.
//! * `TWILL-APART` and `TWILL-APART-IN` drop what one network of this host sends to another. They are in
//!   `mangle`, which comes before every accept of `filter`, ours and others'.

mod listing;
mod place;
pub mod published;
mod rules;

use std::fmt::Write as _;

use super::Policy;

pub use listing::Ruleset;
use place::Place;
use rules::rules;

/// A table of iptables.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Table {
    /// Decides what may pass.
    Filter,
    /// Rewrites addresses.
    Nat,
    /// Comes before everything else.
    Raw,
    /// Rewrites other parts of packets.
    Mangle,
}

impl Table {
    /// The name iptables knows it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Raw => "raw",
            Self::Mangle => "mangle",
        }
    }
}

/// A chain of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chain {
    /// Its table.
    pub table: Table,
    /// Its name.
    pub name: &'static str,
    /// The comment on each rule and on the jump.
    pub comment: &'static str,
}

/// Masquerades what leaves the overlay.
pub const POSTRTG: Chain =
    Chain { table: Table::Nat, name: "FLANNEL-POSTRTG", comment: "flanneld masq" };

/// Accepts what is forwarded from and to the overlay.
pub const FWD: Chain =
    Chain { table: Table::Filter, name: "FLANNEL-FWD", comment: "flanneld forward" };

/// Accepts what passes between hosts, before anybody drops it.
pub const CROSSING: Chain =
    Chain { table: Table::Filter, name: "TWILL-FWD", comment: "twill between hosts" };

/// Accepts what comes from other hosts, before anybody drops it in `raw`.
pub const ARRIVAL: Chain =
    Chain { table: Table::Raw, name: "TWILL-RAW", comment: "twill between hosts" };

/// Makes TCP send no more at once than the way between hosts carries.
pub const CLAMP: Chain =
    Chain { table: Table::Mangle, name: "TWILL-MSS", comment: "twill segment size" };

/// Drops what is forwarded from one network of this host to another.
pub const APART: Chain =
    Chain { table: Table::Mangle, name: "TWILL-APART", comment: "twill networks apart" };

/// Drops what one network sends to this host's own addresses in another.
pub const APART_IN: Chain =
    Chain { table: Table::Mangle, name: "TWILL-APART-IN", comment: "twill networks apart" };

/// All chains of networks, in the order of the transaction.
pub const CHAINS: [Chain; 7] = [FWD, CROSSING, POSTRTG, ARRIVAL, CLAMP, APART, APART_IN];

/// Those and the chains of published ports.
fn all_chains() -> impl Iterator<Item = Chain> {
    CHAINS.into_iter().chain(published::CHAINS)
}

/// What this kind of iptables is for on the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// All rules.
    Whole,
    /// Others have rules here that may drop packets of the overlay; only what keeps the way open.
    Opening,
    /// There are to be no rules of ours.
    Nothing,
}

impl Chain {
    /// The jump into it, in the words that `iptables-save` prints after `-A PARENT`.
    fn jump(&self) -> String {
        format!("-m comment --comment \"{}\" -j {}", self.comment, self.name)
    }

    fn rule(&self, matches: &str, target: &str) -> String {
        format!("{matches} -m comment --comment \"{}\" -j {target}", self.comment)
    }
}

/// The text for one `iptables-restore --noflush`, of which all happens or nothing; empty when
/// everything is as it should be.
#[must_use]
pub fn transaction(policies: &[Policy], role: Role, found: &Ruleset) -> String {
    if role == Role::Nothing {
        return removal(found);
    }
    assemble(&CHAINS, |chain| match wanted((policies, role), chain, found) {
        Some(wanted) => bring(chain, &wanted, found),
        None => remove(chain, found),
    })
}

/// The text that takes all of ours away; empty when nothing is there.
#[must_use]
pub fn removal(found: &Ruleset) -> String {
    assemble(&CHAINS, |chain| remove(chain, found))
}

fn assemble(chains: &[Chain], lines: impl Fn(Chain) -> String) -> String {
    let mut text = String::new();
    for table in [Table::Filter, Table::Nat, Table::Raw, Table::Mangle] {
        let chains = chains.iter().copied().filter(|chain| chain.table == table);
        let lines: String = chains.map(&lines).collect();
        if !lines.is_empty() {
            // Writing to a string cannot fail, here and below.
            _ = write!(text, "*{}\n{lines}COMMIT\n", table.name());
        }
    }
    text
}

/// What one chain of ours should be.
#[derive(Debug)]
struct Wanted {
    rules: Vec<String>,
    place: Place,
}

/// `None` if there is no use for it.
fn wanted((policies, role): (&[Policy], Role), chain: Chain, found: &Ruleset) -> Option<Wanted> {
    let rules = rules(policies, chain);
    let useful = match role {
        Role::Whole => chain != ARRIVAL || found.may_drop_in_raw(),
        Role::Opening if chain == ARRIVAL => found.may_drop_in_raw(),
        Role::Opening if chain.table == Table::Filter => found.may_drop("FORWARD"),
        Role::Opening | Role::Nothing => false,
    };
    (useful && !rules.is_empty()).then(|| Wanted { rules, place: Place::of(chain, found) })
}

fn bring(chain: Chain, wanted: &Wanted, found: &Ruleset) -> String {
    let rules = found.rules(chain.table, chain.name);
    let placed = wanted.place.is_right(chain, found);
    if placed && rules.is_some_and(|rules| *rules == wanted.rules) {
        return String::new();
    }
    // Naming a chain empties it, or makes it.
    let mut text = format!(":{} - [0:0]\n", chain.name);
    for rule in &wanted.rules {
        _ = writeln!(text, "-A {} {rule}", chain.name);
    }
    if !placed {
        text += &without_jumps(chain, found);
        text += &wanted.place.insertion(chain, found);
    }
    text
}

fn remove(chain: Chain, found: &Ruleset) -> String {
    let mut text = without_jumps(chain, found);
    if found.rules(chain.table, chain.name).is_none() {
        return text;
    }
    text = format!(":{} - [0:0]\n{text}", chain.name);
    // A jump that somebody else made is his to remove; until then the chain is there, and empty.
    if found.foreign_jumps(chain) == 0 {
        _ = writeln!(text, "-X {}", chain.name);
        return text;
    }
    let empty = found.rules(chain.table, chain.name).is_some_and(Vec::is_empty);
    if empty && found.jumps(chain).next().is_none() { String::new() } else { text }
}

fn without_jumps(chain: Chain, found: &Ruleset) -> String {
    let mut text = String::new();
    for parent in found.jumps(chain) {
        _ = writeln!(text, "-D {parent} {}", chain.jump());
    }
    text
}

#[cfg(test)]
mod restore;
#[cfg(test)]
mod tests;
