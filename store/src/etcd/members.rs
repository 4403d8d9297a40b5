//! The endpoints that there are, and the one that answered last.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::connect::{Options, normalise};
use super::discover::Discovery;
use super::slot::Slot;
use crate::{Cause, Error};

/// When DNS is silent, the endpoints of before are good for this much longer.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Records without any time to live are not asked for at each call.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

/// Every endpoint with its connection, as told or as DNS has it.
pub(super) struct Members {
    discovery: Option<Discovery>,
    /// Certificates were given, so that nothing goes without TLS because DNS says so.
    secure: bool,
    state: Mutex<State>,
}

struct State {
    slots: Slots,
    current: usize,
    /// When DNS has to be asked again.
    stale_from: Option<Instant>,
}

pub(super) type Slots = Arc<[Arc<Slot>]>;

impl Members {
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let urls: Vec<String> = match &options.discovery {
            Some(discovery) => {
                discovery.check()?;
                Vec::new()
            }
            None if options.endpoints.is_empty() => return Err(Error::NoEndpoint),
            None => options.endpoints.iter().map(|url| normalise(url)).collect::<Result<_, _>>()?,
        };
        let slots = urls.into_iter().map(|url| Arc::new(Slot::new(url))).collect();
        let stale_from = options.discovery.is_some().then(Instant::now);
        Ok(Self {
            discovery: options.discovery.clone(),
            secure: options.tls.ca_file.is_some() || options.tls.cert_file.is_some(),
            state: Mutex::new(State { slots, current: 0, stale_from }),
        })
    }

    /// The endpoint that answered last, or the domain while none is known.
    pub(super) fn current_url(&self) -> String {
        let state = self.lock();
        let domain = || self.discovery.as_ref().map_or_else(String::new, |dns| dns.domain.clone());
        state.slots.get(state.current).map_or_else(domain, |slot| slot.url.clone())
    }

    /// All of them, the one that answered last first.
    pub(super) async fn in_turn(&self, deadline: Duration) -> Result<Vec<Arc<Slot>>, Cause> {
        let outdated = self.lock().stale_from.is_some_and(|moment| moment <= Instant::now());
        if outdated && let Err(cause) = self.look(deadline).await {
            let mut state = self.lock();
            if state.slots.is_empty() {
                return Err(cause);
            }
            tracing::warn!(%cause, "going on with the endpoints of etcd that DNS named before");
            state.stale_from = Some(Instant::now() + ASK_AGAIN);
        }
        let state = self.lock();
        let mut slots = state.slots.to_vec();
        slots.rotate_left(state.current);
        Ok(slots)
    }

    /// All known ones are silent: those that DNS names by now and that were not tried.
    pub(super) async fn others(&self, tried: &[Arc<Slot>], deadline: Duration) -> Vec<Arc<Slot>> {
        if self.look(deadline).await.is_err() {
            return Vec::new();
        }
        let untried = |slot: &Arc<Slot>| !tried.iter().any(|tried| tried.url == slot.url);
        self.lock().slots.iter().filter(|slot| untried(slot)).cloned().collect()
    }

    /// It answered, so it comes first from now on.
    pub(super) fn answered(&self, slot: &Slot) {
        let mut state = self.lock();
        if let Some(index) = state.slots.iter().position(|known| known.url == slot.url) {
            state.current = index;
        }
    }

    /// Whoever comes next connects anew, to whichever.
    pub(super) fn reconnect(&self) {
        self.lock().slots.iter().for_each(|slot| slot.forget());
    }

    async fn look(&self, deadline: Duration) -> Result<(), Cause> {
        let Some(discovery) = &self.discovery else { return Ok(()) };
        let found = timeout(deadline, discovery.look(self.secure)).await;
        let found = found.unwrap_or_else(|_elapsed| Err(discovery.silent()))?;
        let mut state = self.lock();
        let current = state.slots.get(state.current).cloned();
        // Connections to those that stay are kept.
        let known = |url: String| {
            let slot = state.slots.iter().find(|slot| slot.url == url).cloned();
            slot.unwrap_or_else(|| Arc::new(Slot::new(url)))
        };
        let slots: Slots = found.urls.into_iter().map(known).collect();
        let position = |current: Arc<Slot>| slots.iter().position(|slot| slot.url == current.url);
        state.current = current.and_then(position).unwrap_or(0);
        state.slots = slots;
        state.stale_from = Some(found.valid_until.max(Instant::now() + SHORTEST_LIFE));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().slots.iter().map(|slot| &slot.url)).finish()
    }
}
