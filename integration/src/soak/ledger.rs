//! What was sent between whom, what of it arrived, and which of the losses are explained. Pure: times
//! come from outside, as distances from the beginning.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use twill_core::ids::Family;

/// From one host's container to another's, by their places among the hosts, and by addresses of a family.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Way {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) family: Family,
}

/// A datagram that did not arrive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Loss {
    pub(super) way: Way,
    /// Counted from 0.
    pub(super) number: usize,
    pub(super) sent: Duration,
}

/// A datagram that arrived and should not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Strange {
    NeverSent,
    Twice,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    ways: BTreeMap<Way, Log>,
}

#[derive(Debug, Default)]
struct Log {
    /// When, by its number.
    sent: Vec<Duration>,
    arrived: Vec<bool>,
    /// One more than the highest number that has arrived.
    reached: usize,
    excused: Vec<Excuse>,
    /// All before it are accounted for.
    settled: usize,
}

/// These numbers may be missing, because of that fault.
#[derive(Debug)]
struct Excuse {
    numbers: Range<usize>,
    fault: usize,
}

impl Ledger {
    /// One is sent now; answers its number.
    pub(super) fn sends(&mut self, way: Way, now: Duration) -> usize {
        let log = self.ways.entry(way).or_default();
        log.sent.push(now);
        log.arrived.push(false);
        log.sent.len() - 1
    }

    /// One has arrived.
    pub(super) fn arrives(&mut self, way: Way, number: usize) -> Result<(), Strange> {
        let log = self.ways.get_mut(&way).ok_or(Strange::NeverSent)?;
        let arrived = log.arrived.get_mut(number).ok_or(Strange::NeverSent)?;
        if std::mem::replace(arrived, true) {
            return Err(Strange::Twice);
        }
        log.reached = log.reached.max(number + 1);
        Ok(())
    }

    /// The first number that may be under way: whatever happens now may hit it.
    pub(super) fn under_way(&self, way: Way) -> usize {
        self.ways.get(&way).map_or(0, |log| log.reached)
    }

    /// The first number sent at `time` or later that has arrived, and when it was sent.
    pub(super) fn first_since(&self, way: Way, time: Duration) -> Option<(usize, Duration)> {
        let log = self.ways.get(&way)?;
        let first = log.sent.partition_point(|sent| *sent < time);
        let found = first + log.arrived.get(first..)?.iter().position(|arrived| *arrived)?;
        Some((found, log.sent[found]))
    }

    /// What is missing of these numbers is explained by that fault.
    pub(super) fn excuse(&mut self, way: Way, numbers: Range<usize>, fault: usize) {
        self.ways.entry(way).or_default().excused.push(Excuse { numbers, fault });
    }

    /// What was sent before `time`, did not arrive, and has no excuse.
    pub(super) fn unexplained(&mut self, time: Duration) -> Vec<Loss> {
        let mut losses = Vec::new();
        for (way, log) in &mut self.ways {
            let end = log.sent.partition_point(|sent| *sent < time);
            let numbers = log.settled..end;
            let lost = |number: &usize| !log.arrived[*number] && !log.excuses(*number);
            let found: Vec<usize> = numbers.filter(lost).collect();
            // What is late is looked at again.
            log.settled = found.first().copied().unwrap_or(end).max(log.settled);
            losses.extend(found.iter().map(|number| Loss {
                way: *way,
                number: *number,
                sent: log.sent[*number],
            }));
        }
        losses
    }

    /// How many were lost because of each fault.
    pub(super) fn explained(&self) -> BTreeMap<usize, usize> {
        let mut lost = BTreeMap::new();
        for log in self.ways.values() {
            for Excuse { numbers, fault } in &log.excused {
                // None of them was sent, if the fault ended before the next was due.
                let among = log.arrived.get(numbers.clone()).unwrap_or_default();
                let missing = among.iter().filter(|arrived| !**arrived);
                *lost.entry(*fault).or_default() += missing.count();
            }
        }
        lost
    }

    /// How many were sent.
    pub(super) fn sent(&self) -> usize {
        self.ways.values().map(|log| log.sent.len()).sum()
    }
}

impl Log {
    fn excuses(&self, number: usize) -> bool {
        self.excused.iter().any(|excuse| excuse.numbers.contains(&number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Way = Way { from: 0, to: 1, family: Family::V4 };
    const BACK: Way = Way { from: 1, to: 0, family: Family::V4 };

    #[test]
    fn a_loss_is_explained_by_a_fault_of_its_time_and_its_way_alone() {
        let mut ledger = sent(10);
        for number in [0, 1, 2, 6, 7, 9] {
            ledger.arrives(WAY, number).unwrap();
        }
        assert_eq!(numbers(ledger.unexplained(at(10))), [3, 4, 5, 8]);
        // 3 was under way when it began, and 6 is the first that came through afterwards.
        ledger.excuse(WAY, 3..6, 7);
        ledger.excuse(BACK, 8..8, 7);
        assert_eq!(numbers(ledger.unexplained(at(10))), [8]);
        assert_eq!(ledger.explained(), BTreeMap::from([(7, 3)]));
        assert_eq!(ledger.unexplained(at(8)), [], "8 may still come");
        ledger.arrives(WAY, 8).unwrap();
        assert_eq!(ledger.unexplained(at(10)), []);
        assert_eq!(ledger.sent(), 10);
    }

    #[test]
    fn an_excuse_begins_with_what_is_under_way_and_ends_with_what_comes_through() {
        let mut ledger = sent(6);
        assert_eq!((ledger.under_way(WAY), ledger.under_way(BACK)), (0, 0));
        ledger.arrives(WAY, 1).unwrap();
        assert_eq!(ledger.under_way(WAY), 2, "0 is late or lost, and no fault of what comes now");
        assert_eq!(ledger.first_since(WAY, at(2)), None);
        ledger.arrives(WAY, 4).unwrap();
        assert_eq!(ledger.first_since(WAY, at(2)), Some((4, at(4))));
        assert_eq!(ledger.first_since(WAY, at(5)), None);
        assert_eq!(ledger.first_since(BACK, at(0)), None);
    }

    #[test]
    fn what_was_not_sent_cannot_arrive_and_what_was_arrives_once() {
        let mut ledger = sent(1);
        assert_eq!(ledger.arrives(BACK, 0), Err(Strange::NeverSent));
        assert_eq!(ledger.arrives(WAY, 1), Err(Strange::NeverSent));
        assert_eq!(ledger.arrives(WAY, 0), Ok(()));
        assert_eq!(ledger.arrives(WAY, 0), Err(Strange::Twice));
    }

    fn sent(count: u64) -> Ledger {
        let mut ledger = Ledger::default();
        for number in 0..count {
            ledger.sends(WAY, at(number));
        }
        ledger
    }

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn numbers(losses: Vec<Loss>) -> Vec<usize> {
        losses.into_iter().map(|loss| loss.number).collect()
    }
}
