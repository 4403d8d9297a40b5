//! Where the jump into a chain of ours has to be.

use super::published::{IN, LOOPBACK, OUT, PASS};
use super::{APART, APART_IN, ARRIVAL, CLAMP, CROSSING, Chain, FWD, Ruleset};

/// A chain of others, and where in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    parent: &'static str,
    spot: Spot,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Spot {
    /// Before all rules of others.
    Front,
    /// Wherever; at the end when it has to be made.
    Anywhere,
    /// Behind the administrator's rules, but before a rule that ends the chain.
    Reached,
}

/// Docker looks here before all its own rules, and leaves it to the administrator.
const DOCKER_USER: &str = "DOCKER-USER";

/// What Docker of old put at the end of it.
const RETURN: &str = "-j RETURN";

impl Place {
    pub(super) fn of(chain: Chain, found: &Ruleset) -> Self {
        let place = |parent, spot| Self { parent, spot };
        match chain {
            FWD | CLAMP => place("FORWARD", Spot::Anywhere),
            CROSSING | PASS if asks_the_administrator_first(found) => {
                place(DOCKER_USER, Spot::Reached)
            }
            CROSSING | PASS | APART => place("FORWARD", Spot::Front),
            ARRIVAL | LOOPBACK => place("PREROUTING", Spot::Front),
            IN => place("PREROUTING", Spot::Anywhere),
            OUT => place("OUTPUT", Spot::Anywhere),
            APART_IN => place("INPUT", Spot::Front),
            _masquerade => place("POSTROUTING", Spot::Anywhere),
        }
    }

    /// Is there one jump, and is it there?
    pub(super) fn is_right(self, chain: Chain, found: &Ruleset) -> bool {
        let mut parents = found.jumps(chain);
        if parents.next() != Some(self.parent) || parents.next().is_some() {
            return false;
        }
        let rules = found.rules(chain.table, self.parent).map(Vec::as_slice).unwrap_or_default();
        let mut before = rules.iter().take_while(|rule| **rule != chain.jump());
        match self.spot {
            Spot::Anywhere => true,
            Spot::Front => before.all(|rule| Ruleset::is_ours(chain.table, rule)),
            Spot::Reached => before.all(|rule| rule != RETURN),
        }
    }

    /// The line that puts the jump there, after all jumps of this chain were taken away.
    pub(super) fn insertion(self, chain: Chain, found: &Ruleset) -> String {
        let (parent, jump) = (self.parent, chain.jump());
        let rules = found.rules(chain.table, parent).map(Vec::as_slice).unwrap_or_default();
        let mut others = rules.iter().filter(|rule| **rule != jump);
        let end = match self.spot {
            Spot::Front => return format!("-I {parent} 1 {jump}\n"),
            Spot::Anywhere => None,
            Spot::Reached => others.position(|rule| rule == RETURN),
        };
        match end {
            Some(before) => format!("-I {parent} {} {jump}\n", before + 1),
            None => format!("-A {parent} {jump}\n"),
        }
    }
}

/// Does everything that is forwarded pass `DOCKER-USER` before any other rule?
fn asks_the_administrator_first(found: &Ruleset) -> bool {
    found.rules(CROSSING.table, DOCKER_USER).is_some()
        && found.foreign("FORWARD").next().is_some_and(|rule| *rule == format!("-j {DOCKER_USER}"))
}
