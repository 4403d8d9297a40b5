//! When a lease is renewed.

use std::time::Duration;

/// How often a host keeps its lease alive, and how often it writes its value again.
///
/// Keeping alive costs etcd little and peers nothing, so it happens often: however etcd goes away, most
/// of the lease is still to come. Writing reaches every peer, and heals flanneld peers that missed
/// an event; they have no other way to notice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Schedule {
    /// From one `KeepAlive` to the next.
    pub keep_alive: Duration,
    /// From one write of the unchanged value to the next.
    pub rewrite: Duration,
}

/// How long a reservation lives on when it is released, unless the administrator chooses a shorter
/// time. So long a host may rely on a reservation that it has seen: it does not end, but this host need
/// not hear of its release.
pub const RELEASED: Duration = Duration::from_hours(24);

const MOST_OFTEN_WRITTEN: Duration = Duration::from_hours(1);
const LEAST_OFTEN_WRITTEN: Duration = Duration::from_hours(6);
const LEAST_OFTEN_ALIVE: Duration = Duration::from_mins(10);

impl Schedule {
    /// For a lease of that length. `margin` is flannel's: the value is written at the latest so long
    /// before the lease would end.
    #[must_use]
    pub fn new(ttl: Duration, margin: Duration) -> Self {
        let latest = ttl.saturating_sub(margin);
        Self {
            // Two may be lost.
            keep_alive: (ttl / 3).min(LEAST_OFTEN_ALIVE),
            rewrite: latest.clamp(MOST_OFTEN_WRITTEN, LEAST_OFTEN_WRITTEN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        let (seconds, mins, hours) =
            (Duration::from_secs, Duration::from_mins, Duration::from_hours);
        let row = |ttl, margin, keep_alive, rewrite| {
            assert_eq!(Schedule::new(ttl, margin), Schedule { keep_alive, rewrite }, "{ttl:?}");
        };
        row(hours(24), hours(1), mins(10), hours(6));
        row(hours(24), hours(23), mins(10), hours(1));
        row(hours(4), hours(1), mins(10), hours(3));
        row(seconds(30), hours(1), seconds(10), hours(1));
        row(mins(20), mins(1), seconds(400), hours(1));
    }
}
