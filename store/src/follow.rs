//! Everything that happens under `subnets/`, for as long as anybody asks: the one place that
//! re-connects.

use tokio::time::Instant;
use twill_core::ids::Revision;
use twill_core::lease::Event;

use crate::{Backoff, Error, Seen, Store, Watch};

/// One step of the story.
#[derive(Debug)]
pub enum Update {
    /// This happened. The first one, and the first after etcd forgot what was in between, is a
    /// [`Event::Snapshot`].
    Event(Event),
    /// etcd does not answer, or the watch broke. [`Follow`] tries again by itself.
    Away(Error),
    /// The watch stands again after [`Update::Away`].
    Back,
}

/// Lists, watches, waits, and begins again where it stopped.
#[derive(Debug)]
pub struct Follow<S: Store> {
    store: S,
    /// All up to here was told; `None` until the first listing.
    told: Option<Revision>,
    watch: Option<Standing<S::Watch>>,
    away: bool,
    backoff: Backoff,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Standing<W> {
    watch: W,
    since: Instant,
}

impl<S: Store> Follow<S> {
    /// Starts with a listing.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self {
            store,
            told: None,
            watch: None,
            away: false,
            backoff: Backoff::default(),
            not_before: None,
        }
    }

    /// Starts after what the caller listed itself.
    #[must_use]
    pub fn after(store: S, told: Revision) -> Self {
        Self { told: Some(told), ..Self::new(store) }
    }

    /// Waits for the next step, as long as it takes.
    ///
    /// Cancel safe: a step is either returned or still to come.
    pub async fn next(&mut self) -> Update {
        loop {
            match self.step().await {
                Ok(Some(update)) => return update,
                Ok(None) => {}
                Err(error) => return self.fail(error),
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Update>, Error> {
        if let Some(moment) = self.not_before {
            tokio::time::sleep_until(moment).await;
            self.not_before = None;
        }
        let Some(told) = self.told else {
            let listing = self.store.leases().await?;
            self.told = Some(listing.revision);
            return Ok(Some(Update::Event(Event::Snapshot(listing))));
        };
        let Some(standing) = &mut self.watch else {
            let watch = self.store.watch(told).await?;
            self.watch = Some(Standing { watch, since: Instant::now() });
            return Ok(std::mem::take(&mut self.away).then_some(Update::Back));
        };
        match standing.watch.next().await? {
            Seen::Event(event) => {
                // One revision may hold several events, of which this need not be the last: after
                // a break they come again, which changes nothing.
                self.told = Some(told.max(Revision(event.revision().0 - 1)));
                Ok(Some(Update::Event(event)))
            }
            Seen::Compacted => {
                self.watch = None;
                self.told = None;
                Ok(None)
            }
        }
    }

    fn fail(&mut self, error: Error) -> Update {
        // A watch that stood for a while was good; one that breaks at once must not spin.
        if self.watch.take().is_some_and(|watch| watch.since.elapsed() > Backoff::LONGEST) {
            self.backoff.reset();
        }
        self.not_before = Some(Instant::now() + self.backoff.next_wait());
        self.away = true;
        Update::Away(error)
    }
}
