//! Does this machine go on at all?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::wait::pace;

/// Between two beats.
const BEAT: Duration = Duration::from_millis(10);

/// A thread that only sleeps, and notes by how much too long. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Pulse {
    /// In microseconds.
    latest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Pulse {
    pub(super) fn start() -> Self {
        let (latest, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (late, ends) = (latest.clone(), stop.clone());
        thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let start = Instant::now();
                pace(BEAT);
                let over = start.elapsed().saturating_sub(BEAT).as_micros();
                late.fetch_max(u64::try_from(over).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self { latest, stop }
    }

    /// By how much the latest beat was late since this was asked last.
    pub(super) fn take(&self) -> Duration {
        Duration::from_micros(self.latest.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
