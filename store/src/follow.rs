//! Everything that happens, for as long as anybody asks: the one place that re-connects.

use std::collections::VecDeque;

use tokio::time::Instant;
use twill_core::ids::Revision;
use twill_core::lease::Event;

use crate::{Backoff, ConfigText, Error, Picture, Question, Scope, Seen, Store, Watch};

/// One step of the story.
#[derive(Debug)]
pub enum Update {
    /// This happened. The first one, and the first after a break or after etcd forgot what was in
    /// between, is a [`Event::Snapshot`].
    Event(Event),
    /// The configuration as it stands now: after every snapshot, and when it changes.
    Config(Option<ConfigText>),
    /// What is asked of this host now: after every snapshot, and when it changes.
    Question(Option<Question>),
    /// etcd does not answer, or the watch broke. [`Follow`] tries again by itself.
    Away(Error),
    /// The watch stands again after [`Update::Away`].
    Back,
}

/// Lists, watches, waits, and begins again with a listing.
///
/// After a break it could go on where it stopped, if etcd were the same: but one that was put back from
/// a copy, and has written more since than the copy lacks, looks the same and tells another story. One
/// read per break is a small price.
#[derive(Debug)]
pub struct Follow<S: Store> {
    store: S,
    scope: Scope,
    /// All that happened under `subnets/` up to here was told; `None` until the first listing.
    told: Option<Revision>,
    /// The newest configuration and question that were told. Those come beside the leases, and perhaps
    /// before older ones of them, so that after a break they may come again.
    beside: (Revision, Revision),
    /// What was read together with the last listing.
    queue: VecDeque<Update>,
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
    pub fn new(store: S, scope: Scope) -> Self {
        Self {
            store,
            scope,
            told: None,
            beside: (Revision(0), Revision(0)),
            queue: VecDeque::new(),
            watch: None,
            away: false,
            backoff: Backoff::default(),
            not_before: None,
        }
    }

    /// Starts after what the caller listed itself.
    #[must_use]
    pub fn after(store: S, scope: Scope, told: Revision) -> Self {
        Self { told: Some(told), ..Self::new(store, scope) }
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
        if let Some(update) = self.queue.pop_front() {
            return Ok(Some(update));
        }
        let Some(told) = self.told else { return self.list().await.map(Some) };
        let Some(standing) = &mut self.watch else {
            let watch = self.store.watch(told, self.scope).await?;
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
            Seen::Config(config, at) => {
                Ok(is_newer(&mut self.beside.0, at).then_some(Update::Config(config)))
            }
            Seen::Question(question, at) => {
                Ok(is_newer(&mut self.beside.1, at).then_some(Update::Question(question)))
            }
            // Nobody asked for it.
            Seen::Network(_) => Ok(None),
            Seen::Compacted => {
                self.watch = None;
                self.told = None;
                Ok(None)
            }
        }
    }

    async fn list(&mut self) -> Result<Update, Error> {
        let listing = match self.scope {
            Scope::Leases | Scope::Networks => self.store.leases().await?,
            Scope::Host(node) => {
                let Picture { config, listing, question } = self.store.picture(node).await?;
                self.queue = [Update::Config(config), Update::Question(question)].into();
                // Also back: etcd may have been put back from a copy.
                self.beside = (listing.revision, listing.revision);
                listing
            }
        };
        self.told = Some(listing.revision);
        Ok(Update::Event(Event::Snapshot(listing)))
    }

    fn fail(&mut self, error: Error) -> Update {
        // A watch that stood for a while was good; one that breaks at once must not spin.
        if self.watch.take().is_some_and(|watch| watch.since.elapsed() > Backoff::LONGEST) {
            self.backoff.reset();
        }
        self.not_before = Some(Instant::now() + self.backoff.next_wait());
        self.told = None;
        self.away = true;
        Update::Away(error)
    }
}

fn is_newer(told: &mut Revision, seen: Revision) -> bool {
    let newer = *told < seen;
    *told = seen.max(*told);
    newer
}
