//! What happens to whom and when: drawn from a seed, before anything runs. Pure.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// One fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Act {
    /// Which, by its place in the table.
    pub(super) fault: usize,
    /// To whom, by its place among the hosts.
    pub(super) host: usize,
    /// Whose rows, where it is about those of one peer.
    pub(super) peer: usize,
    /// How long something is away that goes and comes.
    pub(super) away: Duration,
    /// How long nothing happens afterwards.
    pub(super) rest: Duration,
}

/// Faults without end: all of the table in some order, then all of it in another one.
#[derive(Debug)]
pub(super) struct Script {
    chance: StdRng,
    hosts: usize,
    /// The first host that each may happen to.
    firsts: Vec<usize>,
    /// The longest time for which something is away.
    longest: Duration,
    left: Vec<usize>,
}

impl Script {
    pub(super) fn new(seed: u64, (hosts, firsts): (usize, Vec<usize>), longest: Duration) -> Self {
        Self { chance: StdRng::seed_from_u64(seed), hosts, firsts, longest, left: Vec::new() }
    }
}

impl Iterator for Script {
    type Item = Act;

    fn next(&mut self) -> Option<Act> {
        let Self { chance, hosts, firsts, longest, left } = self;
        if left.is_empty() {
            left.extend(0..firsts.len());
            left.shuffle(chance);
        }
        let fault = left.pop()?;
        let host = chance.random_range(firsts[fault]..*hosts);
        let peer = (host + chance.random_range(1..*hosts)) % *hosts;
        let mut time = || longest.mul_f64(chance.random_range(0.0..1.0));
        Some(Act { fault, host, peer, away: time(), rest: time() / 2 })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_a_soak_in_which_each_fault_comes_as_often_as_any_other() {
        let draw = |seed| -> Vec<Act> {
            let faults = (5, vec![0, 1, 0, 0]);
            Script::new(seed, faults, Duration::from_secs(2)).take(400).collect()
        };
        let acts = draw(1);
        assert_eq!(acts, draw(1));
        assert_ne!(acts, draw(2));
        for round in acts.chunks(4) {
            let faults: BTreeSet<usize> = round.iter().map(|act| act.fault).collect();
            assert_eq!(faults.len(), 4, "each once: {round:?}");
        }
        assert!(acts.iter().all(|act| act.host != act.peer && act.host < 5 && act.peer < 5));
        let hosts = |fault| -> BTreeSet<usize> {
            acts.iter().filter(|act| act.fault == fault).map(|act| act.host).collect()
        };
        assert_eq!(hosts(0), BTreeSet::from([0, 1, 2, 3, 4]));
        assert_eq!(hosts(1), BTreeSet::from([1, 2, 3, 4]), "not to the first");
    }
}
