//! When the holder of a lease was last seen, and what that means.

use std::collections::BTreeMap;
use std::time::Duration;

use twill_core::ids::{LeaseId, NodeId};
use twill_core::lease::Lease;
use twill_core::ownership::Schedule;
use twill_store::Life;

/// flanneld writes its lease anew once in 23 hours, and may be told to do so an hour later.
const FLANNEL_SHOWS: u64 = 24 * 3600;
/// How many signs of life may be lost.
const MISSES: u32 = 3;

/// What is known of the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock<'a> {
    /// The etcd lease of each node record; `None` for a record without an end.
    pub(super) presences: &'a BTreeMap<NodeId, Option<LeaseId>>,
    /// Every etcd lease that lives.
    pub(super) lives: &'a BTreeMap<LeaseId, Life>,
}

/// When a holder was seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// So many seconds ago; a silence shorter than `least` says nothing.
    Ago { seconds: u64, least: u64 },
    /// Nobody knows, for this reason.
    Unknown(&'static str),
}

/// What to do with a lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Free it.
    Free,
    /// Its holder was seen.
    Seen,
    /// Not for the time asked for, but its holder shows itself less often than that.
    TooEarly,
    /// Nobody knows.
    Unknown,
}

impl Clock<'_> {
    pub(super) fn seen(&self, lease: &Lease) -> Seen {
        match (lease.lease_id, lease.value.node) {
            (Some(id), node) => self.by(id, node.is_some()),
            (None, None) => {
                Seen::Unknown("it has no node id: no sign tells whether its host lives")
            }
            (None, Some(node)) => match self.presences.get(&node) {
                None => Seen::Unknown("its host left no node record, or that has ended"),
                Some(None) => Seen::Unknown("its host's node record has no end"),
                Some(Some(id)) => self.by(*id, true),
            },
        }
    }

    fn by(&self, id: LeaseId, twill: bool) -> Seen {
        let Some(life) = self.lives.get(&id) else {
            return Seen::Unknown("its etcd lease is over at this moment");
        };
        let least = if twill { twill_shows(life.granted) } else { FLANNEL_SHOWS };
        Seen::Ago { seconds: life.idle(), least }
    }
}

fn twill_shows(granted: u64) -> u64 {
    let schedule = Schedule::new(Duration::from_secs(granted), Duration::ZERO);
    (schedule.keep_alive * MISSES).as_secs()
}

impl Seen {
    /// `meant` is a lease that the person named, or one of all when unknown ones are included.
    pub(super) fn judge(self, unseen: Duration, meant: bool) -> Verdict {
        match self {
            Self::Unknown(_) if meant => Verdict::Free,
            Self::Unknown(_) => Verdict::Unknown,
            Self::Ago { seconds, .. } if seconds < unseen.as_secs() => Verdict::Seen,
            Self::Ago { seconds, least } if seconds < least => Verdict::TooEarly,
            Self::Ago { .. } => Verdict::Free,
        }
    }
}

#[cfg(test)]
mod tests {
    use twill_core::ids::Revision;
    use twill_core::lease::LeaseValue;

    use super::*;

    const HOUR: u64 = 3600;

    #[test]
    fn a_holder_is_judged_by_what_it_does_as_long_as_it_lives() {
        let (twill, flannel) = (Some(1), None);
        let ends = |granted, idle| Some(Life { granted, remaining: granted - idle });
        let rows = [
            ("twilld that lives", twill, ends(24 * HOUR, 599), HOUR, Verdict::Seen),
            ("twilld of yesterday", twill, ends(24 * HOUR, 3 * HOUR), HOUR, Verdict::Free),
            ("exactly", twill, ends(24 * HOUR, 2 * HOUR), 2 * HOUR, Verdict::Free),
            (
                "twilld may be between two signs",
                twill,
                ends(24 * HOUR, 900),
                300,
                Verdict::TooEarly,
            ),
            ("a short lease shows often", twill, ends(90, 70), 60, Verdict::TooEarly),
            ("a long lease", twill, ends(96 * HOUR, 30 * HOUR), 24 * HOUR, Verdict::Free),
            (
                "flanneld between two renewals",
                flannel,
                ends(24 * HOUR, 22 * HOUR),
                HOUR,
                Verdict::TooEarly,
            ),
            (
                "flanneld in its last hour",
                flannel,
                ends(24 * HOUR, 24 * HOUR - 60),
                HOUR,
                Verdict::TooEarly,
            ),
            ("no node id, and long", flannel, ends(72 * HOUR, 25 * HOUR), HOUR, Verdict::Free),
            ("it ended under us", twill, None, HOUR, Verdict::Unknown),
        ];
        for (name, node, life, unseen, want) in rows {
            let lives = life.map(|life| (LeaseId(7), life)).into_iter().collect();
            let clock = Clock { presences: &BTreeMap::new(), lives: &lives };
            let seen = clock.seen(&lease(node, Some(LeaseId(7))));
            assert_eq!(seen.judge(Duration::from_secs(unseen), false), want, "{name}: {seen:?}");
        }
    }

    #[test]
    fn a_reservation_is_judged_by_its_hosts_record() {
        let (day, unseen) = (24 * HOUR, Duration::from_hours(2));
        let record = Some(Some(LeaseId(9)));
        let rows = [
            ("its host lives", Some(1), record, Some(60), Verdict::Seen),
            ("its host is gone", Some(1), record, Some(3 * HOUR), Verdict::Free),
            ("a record without an end", Some(1), Some(None), None, Verdict::Unknown),
            ("no record", Some(1), None, None, Verdict::Unknown),
            ("reserved by address", None, None, None, Verdict::Unknown),
        ];
        for (name, node, record, idle, want) in rows {
            let presences = record.map(|id| (node_id(1), id)).into_iter().collect();
            let life = idle.map(|idle| (LeaseId(9), Life { granted: day, remaining: day - idle }));
            let lives = life.into_iter().collect();
            let clock = Clock { presences: &presences, lives: &lives };
            let seen = clock.seen(&lease(node, None));
            assert_eq!(seen.judge(unseen, false), want, "{name}: {seen:?}");
            let meant = if want == Verdict::Unknown { Verdict::Free } else { want };
            assert_eq!(seen.judge(unseen, true), meant, "{name}, when it is meant: {seen:?}");
        }
    }

    fn lease(node: Option<u8>, lease_id: Option<LeaseId>) -> Lease {
        let mut value = LeaseValue::parse(br#"{"PublicIP":"192.0.2.1"}"#).unwrap();
        value.node = node.map(node_id);
        let key = "10.88.34.0-24".parse().unwrap();
        Lease { key, value, revision: Revision(5), lease_id }
    }

    fn node_id(byte: u8) -> NodeId {
        NodeId::from_random([byte; 16])
    }
}
