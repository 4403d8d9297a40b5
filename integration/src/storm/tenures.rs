//! What each agent believed to own and until when, to the instant. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use twill_core::ids::Subnet;

/// Longer than any call of an administrator.
const A_WHILE: Duration = Duration::from_hours(1);

/// The beliefs of all agents of one process, on one clock.
#[derive(Clone, Debug, Default)]
pub struct Tenures {
    by_host: BTreeMap<usize, Tenure>,
    /// When an administrator last took a subnet away.
    taken_away: BTreeMap<Subnet, Instant>,
    clashes: Vec<Clash>,
}

/// One agent's belief.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tenure {
    /// What it owns.
    pub subnet: Subnet,
    /// When it asked etcd, whose answer made it believe that.
    pub since: Instant,
    /// Until when, unless it hears otherwise.
    pub until: Instant,
}

/// Two agents that believed to own the same addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Clash {
    /// Who began to believe it.
    pub host: usize,
    /// What.
    pub subnet: Subnet,
    /// Who still believed it then.
    pub other: usize,
}

impl Tenures {
    /// This host believes from now on, or still, that it owns `tenure`.
    ///
    /// Two beliefs overlap in time if and only if one of them began while the other held, so this
    /// is the moment to look.
    pub fn begin(&mut self, host: usize, tenure: Tenure, now: Instant) {
        let counts = |tenure: &Tenure| tenure.until > now && !self.is_excused(tenure);
        let others = self.by_host.iter().filter(|(other, held)| {
            **other != host && held.subnet.overlaps(tenure.subnet) && counts(held)
        });
        let others: Vec<usize> = others.map(|(other, _held)| *other).collect();
        if counts(&tenure) {
            let clash = |other| Clash { host, subnet: tenure.subnet, other };
            self.clashes.extend(others.into_iter().map(clash));
        }
        self.by_host.insert(host, tenure);
    }

    /// This host knows that it owns nothing.
    pub fn end(&mut self, host: usize) {
        self.by_host.remove(&host);
    }

    /// An administrator is about to take this subnet away, before its time.
    pub fn taking_away(&mut self, subnet: Subnet, now: Instant) {
        // Nobody can tell yet which of etcd's answers come before that moment.
        self.taken_away.insert(subnet, now + A_WHILE);
    }

    /// It is done: whoever believes in it because of what etcd said before does so in good faith
    /// until it hears of it.
    pub fn took_away(&mut self, subnet: Subnet, now: Instant) {
        self.taken_away.insert(subnet, now);
    }

    fn is_excused(&self, tenure: &Tenure) -> bool {
        self.taken_away.get(&tenure.subnet).is_some_and(|taken| tenure.since <= *taken)
    }

    /// What each host believes, as far as it still may.
    pub fn held(&self, now: Instant) -> BTreeMap<usize, Subnet> {
        let valid = self.by_host.iter().filter(|(_host, tenure)| tenure.until > now);
        valid.map(|(host, tenure)| (*host, tenure.subnet)).collect()
    }

    /// All clashes so far.
    pub fn clashes(&self) -> &[Clash] {
        &self.clashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: &str = "10.5.5.0/24";

    #[test]
    fn beliefs_that_overlap_in_time_and_space_clash() {
        let mut tenures = Tenures::default();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let tenure = |subnet: &str, since, until| Tenure {
            subnet: subnet.parse().unwrap(),
            since: at(since),
            until: at(until),
        };
        tenures.begin(1, tenure(FIVE, 0, 10), at(0));
        tenures.begin(1, tenure(FIVE, 5, 20), at(5));
        tenures.begin(2, tenure("10.5.6.0/24", 5, 20), at(5));
        tenures.begin(2, tenure(FIVE, 19, 30), at(20));
        assert_eq!(tenures.clashes(), [], "the first one's time was up");
        tenures.begin(3, tenure("10.5.0.0/16", 21, 30), at(21));
        let clash = Clash { host: 3, subnet: "10.5.0.0/16".parse().unwrap(), other: 2 };
        assert_eq!(tenures.clashes(), [clash]);
        tenures.end(2);
        tenures.end(3);
        tenures.begin(4, tenure(FIVE, 22, 40), at(22));
        assert_eq!(tenures.held(at(23)).len(), 1);
        assert_eq!(tenures.held(at(40)), BTreeMap::new());
    }

    #[test]
    fn who_lost_its_subnet_to_an_administrator_believes_in_good_faith_until_it_asks_again() {
        let mut tenures = Tenures::default();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let subnet = FIVE.parse().unwrap();
        let tenure = |since| Tenure { subnet, since: at(since), until: at(since + 10) };
        tenures.begin(1, tenure(0), at(0));
        tenures.taking_away(subnet, at(1));
        tenures.begin(2, tenure(2), at(2));
        tenures.took_away(subnet, at(2));
        tenures.begin(2, tenure(3), at(3));
        tenures.begin(1, tenure(1), at(4));
        assert_eq!(tenures.clashes(), [], "the answer had been on its way for long");
        tenures.begin(1, tenure(5), at(5));
        assert_eq!(tenures.clashes(), [Clash { host: 1, subnet, other: 2 }]);
    }
}
