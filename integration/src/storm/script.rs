//! What happens to whom and when: drawn from a seed, before anything runs. Pure.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// How often something happens.
const PACE: Duration = Duration::from_millis(30);

/// One thing that happens to one host, or to etcd.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Act {
    /// Its agent dies without a word, and comes back after a while.
    Kill {
        /// Which host.
        host: usize,
        /// When its agent starts again.
        down: Duration,
        /// What is left on its disk.
        left: Left,
    },
    /// Its agent is stopped, as by SIGSTOP, and goes on as if nothing had been.
    Pause {
        /// Which host.
        host: usize,
        /// How long.
        lasting: Duration,
    },
    /// It cannot reach etcd.
    Cut {
        /// Which host.
        host: usize,
        /// How long.
        lasting: Duration,
        /// What is lost.
        what: Cut,
    },
    /// An administrator takes a lease away, the one at this place of the list.
    Revoke {
        /// Counted from 0, and over again.
        nth: usize,
        /// With what.
        how: Taking,
    },
}

/// What an administrator deletes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Taking {
    /// The key, and the etcd lease that it hangs on, as `twillctl lease revoke` does.
    WithLease,
    /// The key alone, as `etcdctl del` does: the etcd lease lives on and can be kept alive.
    KeyAlone,
}

/// What an agent that was killed finds on its disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Left {
    /// All that was there.
    Everything,
    /// Who the host is, but not which subnet it had.
    NodeId,
    /// Nothing: it is a new host at an old address.
    Nothing,
}

/// What a broken network does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Cut {
    /// Nothing.
    #[default]
    No,
    /// It carries nothing.
    Whole,
    /// Requests arrive, and are done, but their answers do not come back.
    Answers,
}

impl Act {
    /// Whom it happens to.
    pub(super) fn host(self) -> Option<usize> {
        match self {
            Self::Kill { host, .. } | Self::Pause { host, .. } | Self::Cut { host, .. } => {
                Some(host)
            }
            Self::Revoke { .. } => None,
        }
    }
}

/// The acts of a storm, in the order of their times. The same arguments give the same acts.
pub fn script(
    seed: u64,
    hosts: usize,
    (length, ttl): (Duration, Duration),
) -> Vec<(Duration, Act)> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut acts = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += PACE.mul_f64(chance.random_range(0.0..2.0));
        if at >= length {
            return acts;
        }
        acts.push((at, act(&mut chance, hosts, ttl)));
    }
}

fn act(chance: &mut StdRng, hosts: usize, ttl: Duration) -> Act {
    let kind = chance.random_range(0..10);
    let host = chance.random_range(0..hosts);
    // Up to twice the lease's time: half of them lose it.
    let lasting = ttl.mul_f64(chance.random_range(0.0..2.0));
    let what = if chance.random() { Cut::Whole } else { Cut::Answers };
    let how = if chance.random() { Taking::WithLease } else { Taking::KeyAlone };
    let left = match chance.random_range(0..4) {
        0 => Left::Nothing,
        1 => Left::NodeId,
        _ => Left::Everything,
    };
    match kind {
        0..3 => Act::Kill { host, down: lasting / 2, left },
        3..6 => Act::Pause { host, lasting },
        6..9 => Act::Cut { host, lasting, what },
        _ => Act::Revoke { nth: host, how },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_storm() {
        let draw = |seed| script(seed, 200, (Duration::from_secs(30), Duration::from_secs(5)));
        let one = draw(1);
        assert_eq!(one, draw(1));
        assert_ne!(one, draw(2));
        assert!((800..1200).contains(&one.len()), "{}", one.len());
        assert!(one.is_sorted_by_key(|(at, _act)| *at));
        assert!(one.iter().all(|(at, _act)| *at < Duration::from_secs(30)));
        for kind in
            ["Kill", "Pause", "Cut", "Revoke", "Nothing", "NodeId", "Whole", "Answers", "Alone"]
        {
            let named = one.iter().filter(|(_at, act)| format!("{act:?}").contains(kind));
            assert!(named.count() >= 5, "{kind} hardly ever happens");
        }
    }
}
