//! What the agents believe to own, compared with each other. Pure.

use std::fmt;

use twill_core::ids::{NodeId, Subnet};

/// What one agent said of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Belief {
    /// The host it runs on.
    pub host: String,
    /// Who it is.
    pub node: NodeId,
    /// What it owns.
    pub subnet: Subnet,
    /// Until when, in seconds since 1970; `None` for ever.
    pub until: Option<u64>,
}

/// Two agents that believed to own the same addresses at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conflict {
    /// One of them.
    pub one: Belief,
    /// The other.
    pub other: Belief,
}

/// Rounds of questions, each of which asks every agent once.
#[derive(Clone, Debug, Default)]
pub struct Beliefs {
    last: Vec<Belief>,
    conflicts: Vec<Conflict>,
}

impl Beliefs {
    /// Takes in what was answered in one round, which began at `now`, in seconds since 1970.
    ///
    /// The answers of a round come one after the other, and a subnet may change hands in between.
    /// But who gave the same answer in two rounds also held it while the other was asked.
    pub fn hear(&mut self, now: u64, round: Vec<Belief>) {
        let lasting: Vec<&Belief> = round
            .iter()
            .filter(|belief| belief.until.is_none_or(|until| until > now))
            .filter(|belief| self.last.iter().any(|before| before.is_the_same_as(belief)))
            .collect();
        for (index, one) in lasting.iter().enumerate() {
            let others = lasting.iter().skip(index + 1);
            let conflicts = others.filter(|other| one.subnet.overlaps(other.subnet));
            self.conflicts.extend(
                conflicts.map(|other| Conflict { one: (*one).clone(), other: (*other).clone() }),
            );
        }
        self.last = round;
    }

    /// etcd is another one now: what was believed before proves nothing.
    pub fn forget(&mut self) {
        self.last.clear();
    }

    /// What the last round answered.
    pub fn last(&self) -> &[Belief] {
        &self.last
    }

    /// All conflicts so far.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }
}

impl Belief {
    fn is_the_same_as(&self, other: &Self) -> bool {
        (&self.host, self.node, self.subnet) == (&other.host, other.node, other.subnet)
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { one, other } = self;
        write!(
            f,
            "{} ({}) believes in {} and {} ({}) in {} at the same moment",
            one.host, one.node, one.subnet, other.host, other.node, other.subnet
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rounds, as host, subnet and seconds left, and how many conflicts they prove.
    type Row = (&'static str, [&'static [(&'static str, &'static str, u64)]; 2], usize);

    const FIVE: &str = "10.5.5.0/24";
    const SIX: &str = "10.5.6.0/24";

    #[test]
    fn compares() {
        let rows: [Row; 7] = [
            (
                "each its own",
                [&[("a", FIVE, 9), ("b", SIX, 9)], &[("a", FIVE, 9), ("b", SIX, 9)]],
                0,
            ),
            ("one subnet, two hosts", [&[("a", FIVE, 9), ("b", FIVE, 9)]; 2], 1),
            ("one around the other", [&[("a", FIVE, 9), ("b", "10.5.0.0/16", 9)]; 2], 1),
            ("no validity left", [&[("a", FIVE, 0), ("b", FIVE, 9)]; 2], 0),
            (
                "a subnet changed hands while the round went on",
                [&[("a", FIVE, 9), ("b", FIVE, 9)], &[("b", FIVE, 9), ("a", SIX, 9)]],
                0,
            ),
            ("heard for the first time", [&[("a", FIVE, 9)], &[("a", FIVE, 9), ("b", FIVE, 9)]], 0),
            (
                "three hosts, each against each",
                [&[("a", FIVE, 9), ("b", FIVE, 9), ("c", FIVE, 9)]; 2],
                3,
            ),
        ];
        for (name, rounds, wanted) in rows {
            let mut beliefs = Beliefs::default();
            for round in rounds {
                beliefs.hear(100, round.iter().map(|row| belief(*row)).collect());
            }
            assert_eq!(beliefs.conflicts().len(), wanted, "{name}: {:?}", beliefs.conflicts());
        }
    }

    #[test]
    fn what_was_believed_before_a_restore_proves_nothing() {
        let round: Vec<Belief> = [("a", FIVE, 9), ("b", FIVE, 9)].map(belief).to_vec();
        let mut beliefs = Beliefs::default();
        beliefs.hear(100, round.clone());
        beliefs.forget();
        beliefs.hear(100, round.clone());
        assert_eq!(beliefs.conflicts(), []);
        beliefs.hear(100, round);
        let [conflict] = beliefs.conflicts() else { panic!("{:?}", beliefs.conflicts()) };
        assert!(conflict.to_string().contains("believes in 10.5.5.0/24"), "{conflict}");
    }

    fn belief((host, subnet, left): (&str, &str, u64)) -> Belief {
        let node = NodeId::from_random([host.as_bytes()[0]; 16]);
        let subnet = subnet.parse().unwrap();
        Belief { host: host.to_owned(), node, subnet, until: Some(100 + left) }
    }
}
