//! How long a lease is still ours, told without etcd and by clocks that run wrong. Pure.
//!
//! Within one run of the kernel the clock that counts from its start decides alone: nobody can set
//! it, and it counts sleep. Across a restart there is only the clock that people and servers set. It
//! counts where something vouched for it at both ends and it does not contradict the time since the
//! start; otherwise the answer is [`Validity::Unknown`], and a host must not use the lease.
//!
//! What cannot be seen from here: a machine that is put back from a snapshot of its memory goes on
//! in the same run of the kernel, with clocks that missed the pause.

mod words;

use std::time::Duration;

use crate::ids::BootId;

pub use words::span;

/// One moment, by every clock of the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    /// The run of the kernel.
    pub boot: BootId,
    /// Since that began, sleep included (`CLOCK_BOOTTIME`).
    pub since_boot: Duration,
    /// Seconds since 1970, by the clock that can be set.
    pub wall: u64,
    /// Does anything vouch for `wall`: a server it follows, or a clock that runs while the host is
    /// off? Without one it starts somewhere in the past, perhaps where it stopped.
    pub wall_is_sure: bool,
}

/// How long a lease lives, told at one moment.
///
/// etcd counts from when it has granted or renewed, so `at` is the moment before it was asked: then
/// etcd keeps the lease at least as long as this says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Term {
    /// From `at` on.
    pub left: Duration,
    /// The moment.
    pub at: Stamp,
}

/// Is a lease still ours?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Validity {
    /// For so long.
    Left(Duration),
    /// Not any more, for so long at least. Another host may have it.
    Over(Duration),
    /// This host's clocks cannot tell. Perhaps later, when one of them was put right.
    Unknown(Uncertain),
}

/// Why this host's clocks cannot tell how much time has passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Uncertain {
    /// Nothing vouches for the clock now.
    Unsure,
    /// Nothing vouched for it then.
    WasUnsure,
    /// It shows an earlier time than it did then, by so much.
    Behind(Duration),
    /// By it, less time has passed since then than since the host was started after that.
    Contradiction {
        /// By the clock.
        wall: Duration,
        /// Since the start.
        since_boot: Duration,
    },
    /// The clock that nobody can set runs backwards: the stamp is of another machine, or made up.
    Backwards,
}

/// One part in so many by which time may pass faster than our clocks count.
///
/// A clock that is slewed runs wrong by 500 ppm at most (the kernel's limit), and a good one that is
/// left alone by a tenth of that. Our clock may be slow by it and etcd's fast: 1 part in 1000. Twice
/// as much costs less than three minutes of a day.
const DRIFT: u32 = 500;

/// The clock that can be set counts whole seconds, so that a difference may be short of the truth by
/// nearly one.
const ROUNDING: Duration = Duration::from_secs(1);

impl Term {
    /// Of a lease for which etcd was asked at that moment.
    #[must_use]
    pub fn granted(ttl: Duration, asked: Stamp) -> Self {
        Self { left: ttl, at: asked }
    }

    /// What is left of it now.
    #[must_use]
    pub fn validity(&self, now: &Stamp) -> Validity {
        let over = |passed: Duration| Validity::Over(passed.saturating_sub(self.left));
        if now.boot != self.at.boot && counted(now.since_boot) >= self.left {
            // All of this was after the stamp, whatever the other clock says.
            return over(counted(now.since_boot));
        }
        match passed(&self.at, now) {
            Err(why) => Validity::Unknown(why),
            Ok(passed) if counted(passed) < self.left => {
                Validity::Left(self.left.saturating_sub(counted(passed)))
            }
            Ok(passed) => over(counted(passed)),
        }
    }

    /// The same, told now; nothing when nothing is left or nobody knows.
    #[must_use]
    pub fn told_at(&self, now: Stamp) -> Option<Self> {
        match self.validity(&now) {
            Validity::Left(left) => Some(Self { left, at: now }),
            Validity::Over(_) | Validity::Unknown(_) => None,
        }
    }
}

/// The time from one stamp to another, at least.
pub fn passed(from: &Stamp, to: &Stamp) -> Result<Duration, Uncertain> {
    if from.boot == to.boot {
        return to.since_boot.checked_sub(from.since_boot).ok_or(Uncertain::Backwards);
    }
    if !to.wall_is_sure {
        return Err(Uncertain::Unsure);
    }
    if !from.wall_is_sure {
        return Err(Uncertain::WasUnsure);
    }
    if to.wall < from.wall {
        return Err(Uncertain::Behind(Duration::from_secs(from.wall - to.wall)));
    }
    let wall = Duration::from_secs(to.wall - from.wall).saturating_add(ROUNDING);
    if counted(wall) < to.since_boot {
        return Err(Uncertain::Contradiction { wall, since_boot: to.since_boot });
    }
    Ok(wall.max(to.since_boot))
}

/// As much time as may have passed in truth while our clock counted so much.
fn counted(time: Duration) -> Duration {
    time.saturating_add(time / DRIFT)
}

#[cfg(test)]
mod tests;
