//! This host's clocks, and whether anything vouches for the one that can be set.

#![expect(unsafe_code, reason = "adjtimex has no safe wrapper")]

use std::fs;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use nix::libc;
use nix::time::{ClockId, clock_gettime};
use twill_core::validity::Stamp;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const REAL_TIME_CLOCKS: &str = "/sys/class/rtc";

/// A clock on a battery may run wrong by seconds a week; one whose battery is empty by years.
const AGREES: Duration = Duration::from_mins(5);

/// In microseconds: the kernel's own bound, at which it calls the clock unsynchronised. Some servers of
/// time never say in words that they keep the clock, but all keep this small.
const UNSYNCHRONISED: libc::c_long = 16_000_000;

/// This moment, by every clock.
pub(super) fn stamp() -> anyhow::Result<Stamp> {
    let boot = fs::read_to_string(BOOT_ID).with_context(|| format!("cannot read {BOOT_ID}"))?;
    let boot = boot.trim().parse().with_context(|| format!("cannot read {BOOT_ID}"))?;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall_is_sure = is_synchronised() || is_kept(Path::new(REAL_TIME_CLOCKS), wall);
    Ok(Stamp { boot, since_boot: since_boot(), wall: wall.as_secs(), wall_is_sure })
}

/// Since the start of this host, by the clock that nobody sets and that counts sleep.
pub(crate) fn since_boot() -> Duration {
    // The kernel has had this clock since 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// Does a server of time keep the clock right?
pub(crate) fn is_synchronised() -> bool {
    let mut told = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all members are numbers, for which zeroes are legal; with `modes` zero the kernel only
    // writes into what the pointer points at, which is ours.
    let state = unsafe { libc::adjtimex(told.as_mut_ptr()) };
    // SAFETY: it was zeroed, so that it is initialised whatever the kernel did.
    let told = unsafe { told.assume_init() };
    state >= 0 && told.maxerror < UNSYNCHRONISED
}

/// Did the clock start from one that runs while the host is off, and do the two agree?
fn is_kept(directory: &Path, wall: Duration) -> bool {
    let clocks: Vec<PathBuf> = fs::read_dir(directory)
        .map(|clocks| clocks.filter_map(Result::ok).map(|clock| clock.path()).collect())
        .unwrap_or_default();
    if clocks.is_empty() {
        // Here the kernel asks the firmware or the hypervisor itself, whatever drivers there are.
        return cfg!(target_arch = "x86_64");
    }
    clocks.iter().any(|clock| {
        let read = |name: &str| fs::read_to_string(clock.join(name)).unwrap_or_default();
        let now = read("since_epoch").trim().parse().map(Duration::from_secs);
        let started_from = read("hctosys").trim() == "1";
        started_from && now.is_ok_and(|now| now.abs_diff(wall) <= AGREES)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_clocks() {
        let (one, other) = (stamp().unwrap(), stamp().unwrap());
        assert_eq!(one.boot, other.boot);
        assert!(one.since_boot > Duration::ZERO && one.since_boot <= other.since_boot);
        assert!(one.wall > 1_700_000_000, "{}", one.wall);
    }

    #[test]
    fn a_clock_is_kept_by_one_that_it_started_from_and_agrees_with() {
        let root = tempfile::tempdir().unwrap();
        let wall = Duration::from_secs(1_764_000_001);
        assert_eq!(is_kept(root.path(), wall), cfg!(target_arch = "x86_64"), "none is there");
        let clock = root.path().join("rtc0");
        fs::create_dir(&clock).unwrap();
        for (name, since_epoch, hctosys, kept) in [
            ("the same", "1764000000", "1", true),
            ("a little late", "1763999800", "1", true),
            ("an empty battery", "946684800", "1", false),
            ("ahead", "1764001000", "1", false),
            ("one that the clock did not start from", "1764000000", "0", false),
            ("one that cannot be read", "", "1", false),
        ] {
            fs::write(clock.join("since_epoch"), format!("{since_epoch}\n")).unwrap();
            fs::write(clock.join("hctosys"), format!("{hctosys}\n")).unwrap();
            assert_eq!(is_kept(root.path(), wall), kept, "{name}");
        }
    }
}
