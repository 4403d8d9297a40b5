//! The observer: reads the whole history of etcd while a test does its worst, and tells every
//! revision at which a subnet had two owners.
//!
//! It believes nobody but etcd, uses nothing of the store under test, and never asks twice: it has
//! to be started before the first lease is written, and kept ahead of every compaction.

mod belief;
mod history;
mod ledger;
mod listener;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::sync::oneshot;
use twill_core::ids::Revision;

use crate::enter::within;
use crate::wait::wait_until;

pub use belief::{Belief, Beliefs, Conflict};
pub use ledger::{Ledger, Moment, Owner, Tally, Violation, Write};
pub use listener::Listener;

/// Where the agents keep their leases unless they are told otherwise.
const LEASES: &str = "/coreos.com/network/subnets/";

/// How far behind it may be on a busy machine.
const BEHIND: Duration = Duration::from_secs(20);

/// How many violations a message tells; there may be thousands.
const TOLD: usize = 20;

/// A running observer, on a thread of its own.
#[derive(Debug)]
pub struct Observer {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// What the thread and its owner share.
#[derive(Debug, Default)]
struct Shared {
    ledger: Mutex<Ledger>,
    cluster: Mutex<Option<u64>>,
    trouble: Mutex<String>,
}

impl Observer {
    /// Starts in the network namespace at `network`, and waits for nothing: etcd may come later.
    pub fn start(network: &Path, endpoints: &[String]) -> Self {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let (theirs, network, endpoints) = (shared.clone(), network.to_owned(), endpoints.to_vec());
        let observe = move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                tokio::select! {
                    () = history::follow(&endpoints, LEASES, &theirs) => {}
                    _stopped = stopped => {}
                }
            });
            Ok(())
        };
        let thread = thread::spawn(move || within(&network, observe));
        Self { shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Waits until everything up to `revision` has been read.
    ///
    /// # Errors
    /// When that takes too long, or something was wrong on the way.
    pub fn reach(&self, revision: Revision) -> Result<()> {
        let what = format!("the observer has read revision {revision}");
        let reached = wait_until(&what, BEHIND, || self.shared.at().revision >= revision);
        reached.with_context(|| self.shared.trouble_so_far())?;
        self.check()
    }

    /// Announces that etcd will be put back from a copy.
    pub fn announce_restore(&self) {
        self.shared.ledger().announce_restore();
    }

    /// Waits until it follows the history after restore number `restored`.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn follows_restore(&self, restored: usize) -> Result<()> {
        let what = format!("the observer follows etcd after restore {restored}");
        let follows = wait_until(&what, BEHIND, || self.shared.at().history == restored);
        follows.map(drop).with_context(|| self.shared.trouble_so_far())
    }

    /// Nothing was wrong so far.
    ///
    /// # Errors
    /// With every moment at which it was.
    pub fn check(&self) -> Result<()> {
        let ledger = self.shared.ledger();
        let wrong = ledger.violations();
        if wrong.is_empty() {
            return Ok(());
        }
        let told: Vec<String> = wrong.iter().take(TOLD).map(ToString::to_string).collect();
        bail!("ownership was not unique, {} times:\n{}", wrong.len(), told.join("\n"))
    }

    /// A copy of the book as it stands.
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger().clone()
    }

    /// Ends it, when all is still and `last` is etcd's revision, and answers how much it has seen.
    ///
    /// # Errors
    /// When anything was wrong or was not seen, or a host has more than one subnet now.
    pub fn finish(mut self, last: Revision) -> Result<Tally> {
        self.reach(last)?;
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|panic| anyhow!("the observer panicked: {panic:?}"))??;
        }
        self.check()?;
        let ledger = self.ledger();
        let greedy = ledger.greedy();
        ensure!(greedy.is_empty(), "hosts with more than one subnet: {greedy:?}");
        Ok(ledger.tally())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic of its own has been printed already.
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self) -> Moment {
        self.ledger().at()
    }

    fn cluster(&self) -> Option<u64> {
        *self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follows(&self, cluster: u64) {
        *self.cluster.lock().unwrap_or_else(PoisonError::into_inner) = Some(cluster);
    }

    fn trouble(&self, text: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn trouble_so_far(&self) -> String {
        let text = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        format!("the observer is at {}; its last trouble: {text}", self.at())
    }
}
