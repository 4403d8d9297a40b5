//! All networks under one prefix, for as long as anybody asks.

use std::collections::BTreeSet;

use futures::FutureExt;
use tokio::time::Instant;
use twill_core::networks::catalogue::{Catalogue, Turn};

use crate::{Backoff, Directory, Error, Scope, Seen, Watch};

/// What there is to know.
#[derive(Debug)]
pub enum Sight {
    /// The networks as they are now; it may be the same as before. And the names whose configuration was
    /// seen to be deleted since the last look.
    All(Catalogue, BTreeSet<String>),
    /// etcd does not answer, or the watch broke. [`Survey`] tries again by itself.
    Away(Error),
}

/// Lists, watches, waits, and begins again with a listing: after a break, and when etcd has forgotten what
/// was in between.
#[derive(Debug)]
pub struct Survey<S: Directory> {
    store: S,
    /// As it was told last; `None` when there has to be another listing.
    known: Option<Catalogue>,
    watch: Option<(S::Watch, Instant)>,
    /// Names whose configuration was seen to be deleted, and that were not told yet.
    deleted: BTreeSet<String>,
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl<S: Directory> Survey<S> {
    /// Starts with a listing.
    #[must_use]
    pub fn new(store: S) -> Self {
        let (known, watch, not_before) = (None, None, None);
        let (deleted, backoff) = (BTreeSet::new(), Backoff::default());
        Self { store, known, watch, deleted, backoff, not_before }
    }

    /// Waits for the next change, as long as it takes.
    ///
    /// Cancel safe: a change is either told or still to come.
    pub async fn next(&mut self) -> Sight {
        loop {
            match self.step().await {
                Ok(Some((all, deleted))) => return Sight::All(all, deleted),
                Ok(None) => {}
                Err(error) => return self.fail(error),
            }
        }
    }

    async fn step(&mut self) -> Result<Option<(Catalogue, BTreeSet<String>)>, Error> {
        if let Some(moment) = self.not_before {
            tokio::time::sleep_until(moment).await;
            self.not_before = None;
        }
        let Some(known) = &mut self.known else {
            let all = self.store.networks().await?;
            self.known = Some(all.clone());
            return Ok(Some((all, std::mem::take(&mut self.deleted))));
        };
        let Some((watch, _since)) = &mut self.watch else {
            let watch = self.store.watch(known.revision, Scope::Networks).await?;
            self.watch = Some((watch, Instant::now()));
            return Ok(None);
        };
        // What came together is one change.
        let mut seen = Some(watch.next().await?);
        while let Some(step) = seen {
            match step {
                Seen::Network(turn) => {
                    if let Turn::Gone(name, _at) = &turn {
                        self.deleted.insert(name.clone());
                    }
                    known.fold(turn);
                }
                Seen::Compacted => {
                    (self.known, self.watch) = (None, None);
                    return Ok(None);
                }
                // Nobody asked for it.
                Seen::Event(_) | Seen::Config(..) | Seen::Question(..) => {}
            }
            seen = watch.next().now_or_never().transpose()?;
        }
        Ok(Some((known.clone(), std::mem::take(&mut self.deleted))))
    }

    fn fail(&mut self, error: Error) -> Sight {
        // A watch that stood for a while was good; one that breaks at once must not spin.
        if self.watch.take().is_some_and(|(_, since)| since.elapsed() > Backoff::LONGEST) {
            self.backoff.reset();
        }
        self.not_before = Some(Instant::now() + self.backoff.next_wait());
        self.known = None;
        Sight::Away(error)
    }
}
