//! Asks all agents what they believe, round after round.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

use super::belief::{Belief, Beliefs};
use crate::host::Host;
use crate::status::status;
use crate::wait::pace;

/// Between two rounds: short beside the time that a mistake would last.
const ROUND: Duration = Duration::from_millis(200);

/// A running listener, on a thread of its own.
#[derive(Debug, Default)]
pub struct Listener {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    hosts: Mutex<Vec<Host>>,
    beliefs: Mutex<Beliefs>,
}

impl Listener {
    /// Starts with nobody to listen to.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let listen = move || {
            while !theirs.stop.load(Ordering::Relaxed) {
                theirs.ask_all();
                pace(ROUND);
            }
        };
        Self { shared, thread: Some(thread::spawn(listen)) }
    }

    /// Listens to the agent of this host as well.
    pub fn add(&self, host: &Host) {
        locked(&self.shared.hosts).push(host.clone());
    }

    /// An administrator took a lease away or put etcd back: what was believed before proves nothing.
    pub fn forget(&self) {
        locked(&self.shared.beliefs).forget();
    }

    /// Nobody believed so far what another believed too.
    ///
    /// # Errors
    /// With all who did.
    pub fn check(&self) -> Result<()> {
        let beliefs = locked(&self.shared.beliefs);
        if beliefs.conflicts().is_empty() {
            return Ok(());
        }
        let told: Vec<String> = beliefs.conflicts().iter().map(ToString::to_string).collect();
        bail!("{}", told.join("\n"))
    }
}

impl Shared {
    fn ask_all(&self) {
        let hosts = locked(&self.hosts).clone();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        // One that does not answer is starting, stopped, or between two subnets: it says nothing.
        let round = hosts.iter().filter_map(|host| {
            let status = status(host).ok()?;
            let (host, until) = (host.name().to_owned(), status.lease_expires);
            Some(Belief { host, node: status.node, subnet: status.subnet, until })
        });
        let round = round.collect();
        locked(&self.beliefs).hear(now, round);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // A panic of its own has been printed already.
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

// A panic elsewhere is reported there.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
