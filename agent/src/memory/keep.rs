//! Keeps the picture on disk true: soon after each change, and not more often than the disk likes.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::time::Instant;
use twill_core::config::NetworkConfig;
use twill_core::ids::{NodeId, Revision};
use twill_core::lease::Listing;
use twill_core::peers::Known;
use twill_core::picture::{Life, Picture};
use twill_core::validity::{Stamp, Term, Validity};
use twill_store::Held;

use super::{Memory, clock};
use crate::firewall::jittered;
use crate::ownership::Belief;
use crate::status::Board;
use crate::trouble::Trouble;

/// From one write to the next: a thousand hosts that come at once are a few writes.
const SPACING: Duration = Duration::from_secs(1);

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_mins(1);

/// How old a picture may become when nothing changes: a clock that cannot tell how long the host was
/// off has so much less to tell.
const OLDEST: Duration = Duration::from_hours(1);

/// A difference between two clocks that is more than inaccuracy: somebody has set one.
const STEP: Duration = Duration::from_secs(2);

/// What of a picture does not change during a session.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) prefix: String,
    pub(crate) node: NodeId,
    pub(crate) config: NetworkConfig,
    pub(crate) written: Revision,
}

/// A configuration, and when it was written.
pub(crate) type Applied = (NetworkConfig, Revision);

/// Writes the picture of one session.
#[derive(Debug)]
pub(crate) struct Keep {
    memory: Memory,
    /// When this session began, in times that all was forgotten.
    forgotten: u64,
    place: Place,
    known: watch::Receiver<Known>,
    held: watch::Receiver<Option<Belief>>,
    board: Board,
    /// The configuration that the host goes by, and when it was written, if it can become another.
    applied: Option<watch::Receiver<Applied>>,
    /// When etcd was asked for the lease that is held: the two by which it was told, and the stamp.
    term: Option<(Held, Instant, Stamp)>,
    /// Of the picture on disk.
    kept: Option<Stamp>,
    trouble: Trouble,
}

impl Keep {
    /// Nothing is written before [`Self::run`].
    pub(crate) fn new(
        memory: &Memory,
        place: Place,
        sources: (watch::Receiver<Known>, watch::Receiver<Option<Belief>>),
    ) -> Self {
        let (memory, forgotten) = (memory.clone(), memory.forgotten());
        let trouble = Trouble::default();
        let (known, held) = sources;
        let board = Board::default();
        let applied = None;
        Self {
            memory,
            forgotten,
            place,
            known,
            held,
            board,
            applied,
            term: None,
            kept: None,
            trouble,
        }
    }

    pub(crate) fn on(self, board: Board) -> Self {
        Self { board, ..self }
    }

    /// The configuration changes while this runs.
    pub(crate) fn follows(self, applied: watch::Receiver<Applied>) -> Self {
        Self { applied: Some(applied), ..self }
    }

    /// Writes for ever. Whoever stops it may ask for [`Self::last`].
    pub(crate) async fn run(&mut self) -> Infallible {
        loop {
            // What comes during the write is a reason for the next one.
            self.known.borrow_and_update();
            self.held.borrow_and_update();
            if let Some(applied) = &mut self.applied {
                (self.place.config, self.place.written) = applied.borrow_and_update().clone();
            }
            let wait = self.try_write().await;
            tokio::time::sleep(wait).await;
            while !self.is_due().await {}
        }
    }

    /// Writes once more, so that after a restart of the host little is left to its other clock.
    pub(crate) async fn last(&mut self) {
        self.try_write().await;
    }

    /// Waits for a reason to write, and not for long.
    async fn is_due(&mut self) -> bool {
        tokio::select! {
            Ok(()) = self.known.changed() => true,
            Ok(()) = self.held.changed() => true,
            () = another(&mut self.applied) => true,
            () = tokio::time::sleep(jittered(LOOK)) => self.is_stale(),
        }
    }

    fn is_stale(&self) -> bool {
        match (self.kept, clock::stamp()) {
            (Some(kept), Ok(now)) => is_stale(&kept, &now),
            _ => true,
        }
    }

    /// The least wait until the next one.
    async fn try_write(&mut self) -> Duration {
        match self.write().await {
            Ok(()) => {
                if self.trouble.over() {
                    tracing::info!("the picture of the network is kept again");
                }
                self.board.picture(None);
                SPACING
            }
            Err(error) => {
                let error = format!("{error:#}");
                let (wait, new) = self.trouble.meet(&error);
                if new {
                    tracing::error!(
                        error,
                        hint = "make room and write access there: without it this host cannot start \
                                while etcd is away",
                        "cannot keep the picture of the network"
                    );
                }
                self.board.picture(Some(error));
                wait.max(SPACING)
            }
        }
    }

    async fn write(&mut self) -> anyhow::Result<()> {
        let now = clock::stamp()?;
        let Some(picture) = self.picture(now) else { return Ok(()) };
        let (memory, forgotten) = (self.memory.clone(), self.forgotten);
        let writing = tokio::task::spawn_blocking(move || memory.write(&picture, forgotten));
        writing.await.context("the writer died")??;
        self.kept = Some(now);
        Ok(())
    }

    /// `None` while nobody knows how long the lease lives, or when it is over.
    fn picture(&mut self, now: Stamp) -> Option<Picture> {
        let Belief { held, since, ttl } = self.held.borrow().clone()?;
        if held.lease.lease_id.is_some() && held.ttl.is_none() {
            return None;
        }
        let asked = self.asked((&held, since), now);
        let life = match Term::granted(ttl, asked).validity(&now) {
            Validity::Left(left) => Life { ttl, left },
            Validity::Over(_) | Validity::Unknown(_) => return None,
        };
        let Place { prefix, node, config, written } = self.place.clone();
        let leases: Vec<_> = self.known.borrow().leases().cloned().collect();
        let revision = leases.iter().map(|lease| lease.revision).max().unwrap_or_default();
        let listing = Listing { leases, malformed: Vec::new(), revision };
        Some(Picture { prefix, node, config, written, own: held.lease, life, listing, kept: now })
    }

    /// The moment by the clock that counts sleep. It is made out once: the other one misses sleep
    /// that comes later.
    fn asked(&mut self, (held, since): (&Held, Instant), now: Stamp) -> Stamp {
        if let Some((of, told, asked)) = &self.term
            && (of, *told) == (held, since)
        {
            return *asked;
        }
        let asked = Stamp { since_boot: now.since_boot.saturating_sub(since.elapsed()), ..now };
        self.term = Some((held.clone(), since, asked));
        asked
    }
}

async fn another(applied: &mut Option<watch::Receiver<Applied>>) {
    let changed = match applied {
        Some(applied) => applied.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}

/// Is it time to write again though nothing has changed?
fn is_stale(kept: &Stamp, now: &Stamp) -> bool {
    let ran = now.since_boot.saturating_sub(kept.since_boot);
    let wall = i128::from(now.wall) - i128::from(kept.wall);
    let ran_by_wall = i128::from(ran.as_secs());
    let step = wall.abs_diff(ran_by_wall) > u128::from(STEP.as_secs());
    ran >= OLDEST || step || kept.wall_is_sure != now.wall_is_sure
}

#[cfg(test)]
mod tests {
    use twill_core::ids::BootId;

    use super::*;

    #[test]
    fn a_picture_is_renewed_when_a_clock_was_set() {
        let kept = Stamp {
            boot: BootId::from_bytes([1; 16]),
            since_boot: Duration::from_secs(100),
            wall: 1_000_000,
            wall_is_sure: true,
        };
        let later = |seconds: u64| Stamp {
            since_boot: kept.since_boot + Duration::from_secs(seconds),
            wall: kept.wall + seconds,
            ..kept
        };
        let rows = [
            ("at once", kept, false),
            ("later", later(3000), false),
            ("an hour later", later(3600), true),
            ("rounding", Stamp { wall: kept.wall + 61, ..later(60) }, false),
            ("set ahead", Stamp { wall: kept.wall + 1000, ..later(60) }, true),
            ("set back", Stamp { wall: 5, ..later(60) }, true),
            ("a server of time was found", Stamp { wall_is_sure: false, ..later(60) }, true),
        ];
        for (name, now, stale) in rows {
            assert_eq!(is_stale(&kept, &now), stale, "{name}");
        }
    }
}
