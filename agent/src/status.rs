//! What the agent knows about itself at this moment, for `/status` and `/readyz`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twill_core::peers::View;
use twill_core::status::{EtcdState, Peer, Status};

/// One notice board, written by the tasks and read by the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<Notices>>);

#[derive(Debug, Default)]
struct Notices {
    /// Nothing before the host has a subnet.
    status: Option<Status>,
    /// What the start waits for.
    waiting: Option<String>,
    /// Is `subnet.env` written?
    published: bool,
    rows_error: Option<String>,
    firewall_error: Option<String>,
}

impl Board {
    /// The start waits for something.
    pub(crate) fn waiting(&self, reason: &str) {
        self.notices().waiting = Some(reason.to_owned());
    }

    /// The host has a subnet; the rest of the start follows.
    pub(crate) fn joined(&self, status: Status) {
        let mut notices = self.notices();
        notices.waiting = None;
        notices.status = Some(status);
    }

    /// The start is complete.
    pub(crate) fn published(&self) {
        self.notices().published = true;
    }

    /// The host has to join again: what is published may not hold any more.
    pub(crate) fn leaving(&self) {
        let mut notices = self.notices();
        notices.published = false;
        notices.waiting = Some("joining the network again".to_owned());
    }

    /// This host's lease ends then; a reservation never.
    pub(crate) fn lease_expires(&self, moment: Option<u64>) {
        self.edit(|status| status.lease_expires = moment);
    }

    pub(crate) fn etcd(&self, state: EtcdState) {
        self.edit(|status| status.etcd = state);
    }

    /// The peers and the leases of which this host makes no use.
    pub(crate) fn view(&self, view: &View) {
        let peer =
            |peer: &twill_core::peers::Peer| Peer { subnet: peer.subnet, public_ip: peer.underlay };
        self.edit(|status| {
            status.peers = view.peers.iter().map(peer).collect();
            status.ignored.clone_from(&view.ignored);
        });
    }

    /// What the kernel still lacks.
    pub(crate) fn pending(&self, pending: Vec<String>) {
        self.edit(|status| status.pending = pending);
    }

    /// Why the last pass over the kernel failed, if it did.
    pub(crate) fn pass(&self, error: Option<String>) {
        self.notices().rows_error = error;
    }

    /// What is wrong with the firewall.
    pub(crate) fn firewall(&self, error: Option<String>) {
        self.notices().firewall_error = error;
    }

    /// The document; the reason if there is none yet.
    pub(crate) fn status(&self) -> Result<Status, String> {
        let notices = self.notices();
        let waiting = || notices.waiting.clone().unwrap_or_else(|| "starting".to_owned());
        let mut status = notices.status.clone().ok_or_else(waiting)?;
        status.last_error = notices.rows_error.clone().or_else(|| notices.firewall_error.clone());
        Ok(status)
    }

    /// Why this host is not ready for containers; empty when it is.
    pub(crate) fn unready(&self, now: u64) -> Vec<String> {
        let notices = self.notices();
        let mut reasons = Vec::new();
        if !notices.published {
            let waiting = notices.waiting.as_deref().unwrap_or("starting");
            reasons.push(waiting.to_owned());
        }
        let expires = notices.status.as_ref().and_then(|status| status.lease_expires);
        if expires.is_some_and(|moment| moment <= now) {
            reasons.push("the lease ran out".to_owned());
        }
        reasons.extend(notices.rows_error.clone());
        reasons.extend(notices.firewall_error.clone());
        reasons
    }

    fn edit(&self, change: impl FnOnce(&mut Status)) {
        if let Some(status) = &mut self.notices().status {
            change(status);
        }
    }

    fn notices(&self) -> MutexGuard<'_, Notices> {
        // Each change is one assignment: a writer that died left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
