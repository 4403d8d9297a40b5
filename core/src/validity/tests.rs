use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3600;
const DAY: Duration = Duration::from_hours(24);

/// A sure clock, in the first run of the kernel or another.
fn stamp(boot: u8, since_boot: u64, wall: u64) -> Stamp {
    let boot = BootId::from_bytes([boot; 16]);
    Stamp { boot, since_boot: Duration::from_secs(since_boot), wall, wall_is_sure: true }
}

fn unsure(stamp: Stamp) -> Stamp {
    Stamp { wall_is_sure: false, ..stamp }
}

/// Granted ten hours after the first start, for a day.
fn term() -> Term {
    Term::granted(DAY, stamp(1, 10 * HOUR, 1_000_000))
}

#[test]
fn in_one_run_of_the_kernel_only_the_clock_that_nobody_sets_counts() {
    let left = |seconds: u64| left_ms(seconds * 1000);
    row("at once", &term(), stamp(1, 10 * HOUR, 1_000_000), left(0));
    // 2 per mille of 10,000 s are 20 s.
    row("later", &term(), stamp(1, 10 * HOUR + 10_000, 1_010_000), left(10_020));
    row("the clock was set back", &term(), stamp(1, 10 * HOUR + 10_000, 5), left(10_020));
    row("and ahead", &term(), stamp(1, 10 * HOUR + 10_000, 9_000_000), left(10_020));
    let doubtful = unsure(stamp(1, 10 * HOUR + 10_000, 5));
    row("nothing vouches for it", &term(), doubtful, left(10_020));
    let over = Validity::Over(Duration::from_millis(172_800));
    row("after a day", &term(), stamp(1, 34 * HOUR, 1_000_000), over);
    let backwards = Validity::Unknown(Uncertain::Backwards);
    row("a stamp of the future", &term(), stamp(1, 9 * HOUR, 1_000_000), backwards);
}

#[test]
fn across_a_restart_the_clock_must_be_plausible() {
    let left = |seconds: u64| left_ms(seconds * 1000);
    // One second for rounding, and 2 per mille.
    row("off for ten hours", &term(), stamp(2, 60, 1_000_000 + 9999), left(10_020));
    let over = Validity::Over(Duration::from_millis(173_802));
    row("off for a day", &term(), stamp(2, 60, 1_000_000 + 24 * HOUR), over);
    let since_boot = Validity::Over(Duration::from_mins(63));
    row(
        "started a day and an hour ago, whatever the clock says",
        &term(),
        unsure(stamp(2, 25 * HOUR, 5)),
        since_boot,
    );
    let unknown = Validity::Unknown;
    let behind = Uncertain::Behind(Duration::from_secs(999_995));
    row("a clock without a battery", &term(), stamp(2, 60, 5), unknown(behind));
    let shut = Term::granted(DAY, unsure(stamp(1, 10 * HOUR, 1_000_000)));
    let now = stamp(2, 60, 1_000_100);
    row("a clock that goes on where it stopped", &term(), unsure(now), unknown(Uncertain::Unsure));
    row("one that did so before", &shut, now, unknown(Uncertain::WasUnsure));
    let (wall, since_boot) = (Duration::from_secs(101), Duration::from_hours(2));
    let wrong = unknown(Uncertain::Contradiction { wall, since_boot });
    row("a clock that was set back", &term(), stamp(2, 7200, 1_000_100), wrong);
    row("a restart within a second", &term(), stamp(2, 1, 1_000_000), left_ms(1002));
}

fn left_ms(passed: u64) -> Validity {
    Validity::Left(DAY.saturating_sub(Duration::from_millis(passed)))
}

#[track_caller]
fn row(name: &str, term: &Term, now: Stamp, wanted: Validity) {
    assert_eq!(term.validity(&now), wanted, "{name}");
}

#[test]
fn every_doubt_is_said_in_words() {
    for (why, words) in [
        (Uncertain::Unsure, "nothing vouches for this host's clock"),
        (Uncertain::WasUnsure, "before this host was restarted"),
        (Uncertain::Behind(Duration::from_secs(65)), "a time before it was kept"),
        (Uncertain::Contradiction { wall: ROUNDING, since_boot: DAY }, "less time has passed"),
        (Uncertain::Backwards, "started after"),
    ] {
        assert!(why.to_string().contains(words), "{why}");
    }
}

#[test]
fn spans_have_two_units() {
    let rows = [(0, "0s"), (59, "59s"), (65, "1m05s"), (86_399, "23h59m"), (90_000, "1d01h")];
    for (seconds, wanted) in rows {
        assert_eq!(span(Duration::from_secs(seconds)), wanted);
    }
}

/// A host in the real world: when it was started, how its clocks run, and by how much the one that
/// can be set is off. Times in milliseconds.
#[derive(Clone, Debug)]
struct Host {
    /// Real times of the starts, the first of which is 0.
    starts: Vec<u64>,
    /// Parts per million by which its clocks run fast, from -500 to 500.
    drift: i64,
    /// The clock that can be set is behind or ahead by this, always: a battery keeps it.
    off: i64,
}

impl Host {
    fn stamp(&self, real: u64) -> Stamp {
        let run = self.starts.iter().rposition(|start| *start <= real).expect("0 is a start");
        let ran = |time: u64| {
            let time = i64::try_from(time).expect("short");
            u64::try_from(time + time * self.drift / 1_000_000).expect("no time is negative")
        };
        let wall = i64::try_from(ran(real)).expect("short") + 1_000_000_000_000 + self.off;
        Stamp {
            boot: BootId::from_bytes([u8::try_from(run).expect("few"); 16]),
            since_boot: Duration::from_millis(ran(real - self.starts[run])),
            wall: u64::try_from(wall).expect("after 1970") / 1000,
            wall_is_sure: true,
        }
    }
}

fn host() -> impl Strategy<Value = Host> {
    let starts = prop::collection::vec(1_u64..100_000_000, 0..4);
    (starts, -500_i64..=500, -10_000_000_i64..10_000_000).prop_map(|(mut starts, drift, off)| {
        starts.push(0);
        starts.sort_unstable();
        Host { starts, drift, off }
    })
}

proptest! {
    /// etcd's clock may run fast by as much as ours runs slow.
    #[test]
    fn no_host_believes_in_a_lease_that_etcd_has_ended(
        host in host(),
        ttl in 30_u64..200_000,
        asked in 0_u64..100_000_000,
        later in 0_u64..200_000_000,
        etcd in -500_i64..=500,
    ) {
        let granted = Term::granted(Duration::from_secs(ttl), host.stamp(asked));
        if let Validity::Left(left) = granted.validity(&host.stamp(asked + later)) {
            let passed = i128::from(later) * i128::from(1_000_000 + etcd) / 1_000_000;
            let truly = i128::from(ttl) * 1000 - passed;
            prop_assert!(i128::try_from(left.as_millis()).unwrap() <= truly, "{left:?} of {truly} ms");
        }
    }

    #[test]
    fn telling_it_again_never_makes_it_longer(
        host in host(),
        ttl in 30_u64..200_000,
        mut moments in prop::array::uniform3(0_u64..200_000_000),
    ) {
        moments.sort_unstable();
        let [asked, told, now] = moments.map(|moment| host.stamp(moment));
        let term = Term::granted(Duration::from_secs(ttl), asked);
        if let Some(again) = term.told_at(told) {
            prop_assert!(again.left <= term.left);
            let (once, twice) = (term.validity(&now), again.validity(&now));
            // The clock that counts whole seconds may lose one at each step.
            if let (Validity::Left(once), Validity::Left(twice)) = (once, twice) {
                prop_assert!(twice <= once + ROUNDING * 2, "{once:?} {twice:?}");
            }
            let truly = i128::from(ttl) * 1000 - i128::from(moments[2] - moments[0]);
            if let Validity::Left(twice) = twice {
                prop_assert!(i128::try_from(twice.as_millis()).unwrap() <= truly);
            }
        }
    }

    /// The same run of the kernel: a clock that anybody sets to anything changes nothing.
    #[test]
    fn a_clock_that_is_set_changes_nothing(host in host(), later in 0_u64..100_000_000, wall: u64, wall_is_sure: bool) {
        let host = Host { starts: vec![0], ..host };
        let term = Term::granted(DAY, host.stamp(0));
        let now = host.stamp(later);
        prop_assert_eq!(term.validity(&now), term.validity(&Stamp { wall, wall_is_sure, ..now }));
    }

    #[test]
    fn no_stamps_make_it_panic(boots: [u8; 2], since: [u64; 2], wall: [u64; 2], left: u64, sure: [bool; 2]) {
        let [from, to] = [0, 1].map(|one| Stamp {
            wall_is_sure: sure[one],
            since_boot: Duration::from_secs(since[one]),
            ..stamp(boots[one] % 2, 0, wall[one])
        });
        let term = Term { left: Duration::from_secs(left), at: from };
        let validity = term.validity(&to);
        prop_assert_eq!(term.told_at(to).is_some(), matches!(validity, Validity::Left(_)));
    }
}
