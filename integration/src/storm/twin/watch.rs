//! A watch that brings its news late, and ends in one of the ways in which watches end.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep_until};
use twill_store::{Error, Seen, Watch};

use super::faults::broken;

/// How long the best of them lives.
const LONGEST: Duration = Duration::from_secs(20);

/// How late news may be.
const LATEST: Duration = Duration::from_millis(500);

/// After so long a connection through which nothing comes is known to be dead.
const HALF_OPEN: Duration = Duration::from_secs(4);

/// A watch that goes wrong.
#[derive(Debug)]
pub struct FaultyWatch<W> {
    inner: W,
    fate: Option<Fate>,
    /// News on its way, and when it arrives.
    coming: Option<(Instant, Seen)>,
}

#[derive(Debug)]
struct Fate {
    chance: StdRng,
    ends: Instant,
    how: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    HalfOpen,
    Compacted,
}

impl<W: Watch> FaultyWatch<W> {
    /// Nothing is wrong with it without a seed.
    pub(super) fn new(inner: W, seed: Option<u64>) -> Self {
        let fate = seed.map(|seed| {
            let mut chance = StdRng::seed_from_u64(seed);
            let ends = Instant::now() + LONGEST.mul_f64(chance.random());
            let how = [End::Closed, End::HalfOpen, End::Compacted][chance.random_range(0..3)];
            Fate { chance, ends, how }
        });
        Self { inner, fate, coming: None }
    }
}

impl<W: Watch> Watch for FaultyWatch<W> {
    async fn next(&mut self) -> Result<Seen, Error> {
        loop {
            if let Some((due, _seen)) = &self.coming {
                sleep_until(*due).await;
            }
            if let Some((_due, seen)) = self.coming.take() {
                return Ok(seen);
            }
            let Some(fate) = &mut self.fate else { return self.inner.next().await };
            tokio::select! {
                biased;
                () = sleep_until(fate.ends) => {
                    if matches!(fate.how, End::HalfOpen) {
                        sleep_until(fate.ends + HALF_OPEN).await;
                    }
                    return match fate.how {
                        End::Compacted => Ok(Seen::Compacted),
                        End::Closed | End::HalfOpen => Err(broken()),
                    };
                }
                seen = self.inner.next() => {
                    let late = LATEST.mul_f64(fate.chance.random());
                    self.coming = Some((Instant::now() + late, seen?));
                }
            }
        }
    }
}
