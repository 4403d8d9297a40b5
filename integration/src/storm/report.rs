//! What a storm has shown, for people.

use std::fmt;
use std::time::Duration;

use super::Storm;
use super::script::{Act, Cut, Left, Taking};
use crate::observer::Tally;

/// Numbers of one storm.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    storm: Storm,
    pub(super) before: u64,
    /// How long it took until all hosts, started at once, were in place.
    pub gathered: Duration,
    /// What that cost, in requests to etcd.
    pub gathering: u64,
    /// What the storm cost.
    pub blowing: u64,
    /// How long it took after the storm until all were in place.
    pub settled: Duration,
    /// How long it took until a host that waited had the subnet of one that left.
    pub got_in: Duration,
    /// What the observer has seen.
    pub tally: Tally,
    kills: usize,
    wiped: usize,
    pauses: usize,
    cuts: usize,
    deaf: usize,
    taken: usize,
    bare: usize,
}

impl Report {
    pub(super) fn new(storm: Storm, before: u64) -> Self {
        Self {
            storm,
            before,
            gathered: Duration::ZERO,
            gathering: 0,
            blowing: 0,
            settled: Duration::ZERO,
            got_in: Duration::ZERO,
            tally: Tally::default(),
            kills: 0,
            wiped: 0,
            pauses: 0,
            cuts: 0,
            deaf: 0,
            taken: 0,
            bare: 0,
        }
    }

    pub(super) fn count(&mut self, act: Act) {
        match act {
            Act::Kill { left, .. } => {
                self.kills += 1;
                self.wiped += usize::from(left == Left::Nothing);
            }
            Act::Pause { .. } => self.pauses += 1,
            Act::Cut { what, .. } => {
                self.cuts += 1;
                self.deaf += usize::from(what == Cut::Answers);
            }
            Act::Revoke { how, .. } => {
                self.taken += 1;
                self.bare += usize::from(how == Taking::KeyAlone);
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { storm, tally, .. } = self;
        let Storm { hosts, subnets, ttl, length, seed } = storm;
        let per_host = |requests: u64| {
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let each = requests as f64 / *hosts as f64;
            format!("{requests} requests, {each:.1} a host")
        };
        writeln!(f, "storm {seed}: {hosts} hosts, {subnets} subnets, leases of {ttl:?}")?;
        writeln!(
            f,
            "  all started at once    in place after {:.1?}; {}",
            self.gathered,
            per_host(self.gathering)
        )?;
        writeln!(
            f,
            "  {length:.0?} of storm          {} killed ({} wiped), {} paused, {} cut off ({} for answers), {} revoked ({} the key alone)",
            self.kills, self.wiped, self.pauses, self.cuts, self.deaf, self.taken, self.bare
        )?;
        writeln!(f, "                         {}", per_host(self.blowing))?;
        writeln!(f, "  calm                   in place after {:.1?}", self.settled)?;
        writeln!(f, "  one leaves             another got in after {:.1?}", self.got_in)?;
        write!(
            f,
            "  seen in etcd           {} revisions, {} claims, {} renewals, {} ends, no double owner",
            tally.revisions, tally.claimed, tally.renewed, tally.ended
        )
    }
}
