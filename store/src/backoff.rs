//! How long to wait before trying again.

use std::time::Duration;

use rand::RngExt as _;

/// Doubles from 100 ms to 5 s, and takes off up to a half at random, so that hosts which lost the
/// same etcd do not come back in step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

impl Backoff {
    /// The longest wait.
    pub const LONGEST: Duration = LONGEST;

    /// The wait after one more failure.
    pub fn next_wait(&mut self) -> Duration {
        let full = SHORTEST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Success: the next wait is the shortest again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_bound_and_starts_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] >= SHORTEST / 2 && waits[0] <= SHORTEST, "{waits:?}");
        assert!(waits[6..].iter().all(|wait| (LONGEST / 2..=LONGEST).contains(wait)), "{waits:?}");
        backoff.reset();
        assert!(backoff.next_wait() <= SHORTEST);
    }
}
