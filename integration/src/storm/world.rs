//! What the hosts of a storm have in common.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use twill_core::ids::Subnet;

use super::chronicle::{About, Chronicle};
use super::tenures::{Clash, Tenure, Tenures};

/// One for all hosts.
#[derive(Debug)]
pub(super) struct World {
    /// How long a lease lives without renewal.
    pub(super) ttl: Duration,
    beliefs: Mutex<Beliefs>,
    calm: watch::Sender<bool>,
}

/// What the agents believe, and the story of all of it.
#[derive(Debug)]
struct Beliefs {
    tenures: Tenures,
    chronicle: Chronicle,
}

impl World {
    pub(super) fn new(ttl: Duration) -> Self {
        let chronicle = Chronicle::new(Instant::now());
        let beliefs = Mutex::new(Beliefs { tenures: Tenures::default(), chronicle });
        Self { ttl, beliefs, calm: watch::channel(false).0 }
    }

    /// A host believes that it owns a subnet.
    pub(super) fn believes(&self, host: usize, tenure: Tenure) {
        let now = Instant::now();
        let (age, left) = (now - tenure.since, tenure.until - now);
        let mut beliefs = self.beliefs();
        beliefs.tenures.begin(host, tenure, now);
        let what = format!("believes since {age:.1?} and for {left:.1?}");
        beliefs.chronicle.note(About::Both(host, tenure.subnet), what);
    }

    /// A host knows that it owns nothing.
    pub(super) fn gives_up(&self, host: usize) {
        let mut beliefs = self.beliefs();
        beliefs.tenures.end(host);
        beliefs.chronicle.note(About::Host(host), "believes in nothing".to_owned());
    }

    /// An administrator is about to take a subnet away, or has done so.
    pub(super) fn take_away(&self, subnet: Subnet, is_done: bool) {
        let now = Instant::now();
        let mut beliefs = self.beliefs();
        if is_done {
            beliefs.tenures.took_away(subnet, now);
        } else {
            beliefs.tenures.taking_away(subnet, now);
        }
        let what = if is_done { "was taken away" } else { "is being taken away" };
        beliefs.chronicle.note(About::Subnet(subnet), what.to_owned());
    }

    /// Something happens to a host.
    pub(super) fn happens(&self, host: usize, what: String) {
        self.beliefs().chronicle.note(About::Host(host), what);
    }

    /// All that happened to these hosts.
    pub(super) fn story(&self, hosts: &[usize]) -> String {
        self.beliefs().chronicle.story(hosts, None)
    }

    /// No two agents believed the same so far.
    pub(super) fn check(&self) -> Result<()> {
        let beliefs = self.beliefs();
        let Some(clash) = beliefs.tenures.clashes().first() else { return Ok(()) };
        let Clash { host, subnet, other } = *clash;
        let story = beliefs.chronicle.story(&[host, other], Some(subnet));
        bail!("hosts {host} and {other} believed in {subnet} at the same moment:\n{story}")
    }

    fn beliefs(&self) -> MutexGuard<'_, Beliefs> {
        self.beliefs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The storm is over: whoever is down comes back.
    pub(super) fn calm(&self) {
        self.calm.send_replace(true);
    }

    /// Waits for as long as an agent is down; for good, without a time.
    pub(super) async fn down(&self, lasting: Option<Duration>) {
        let Some(lasting) = lasting else { return std::future::pending().await };
        let mut calm = self.calm.subscribe();
        tokio::select! {
            () = sleep(lasting) => {}
            _over = calm.wait_for(|calm| *calm) => {}
        }
    }
}
