//! What the agent knows about itself at this moment, for `/status` and `/readyz`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
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
    /// How often the leases changed, and how many of these changes a pass over the kernel has seen.
    changes: u64,
    seen: u64,
    /// Is `subnet.env` written?
    published: bool,
    /// When the lease ends; nothing for a reservation. The host's clock may be set meanwhile.
    ends: Option<Instant>,
    lease_error: Option<String>,
    uplink_error: Option<String>,
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
        // What went wrong in an earlier session is looked at anew in this one.
        notices.changes += 1;
        notices.ends = None;
        notices.lease_error = None;
        notices.uplink_error = None;
        notices.rows_error = None;
        notices.firewall_error = None;
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

    /// This host's lease ends after that time; a reservation never.
    pub(crate) fn lease_ends(&self, left: Option<Duration>) {
        self.notices().ends = left.map(|left| Instant::now() + left);
    }

    /// Why the lease is not ours, while it is not.
    pub(crate) fn lease(&self, error: Option<String>) {
        self.notices().lease_error = error;
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

    /// There is another view, which no pass has seen yet.
    pub(crate) fn changed(&self) {
        self.notices().changes += 1;
    }

    /// How often there was one: for [`Self::seen`].
    pub(crate) fn changes(&self) -> u64 {
        self.notices().changes
    }

    /// A pass that began after so many changes is complete.
    pub(crate) fn seen(&self, changes: u64) {
        self.notices().seen = changes;
    }

    /// What the kernel still lacks.
    pub(crate) fn pending(&self, pending: Vec<String>) {
        self.edit(|status| status.pending = pending);
    }

    /// What is wrong with the interface that carries the tunnel.
    pub(crate) fn uplink(&self, error: Option<String>) {
        self.notices().uplink_error = error;
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
        if notices.seen < notices.changes && status.pending.is_empty() {
            status.pending.push("look at the leases that have just changed".to_owned());
        }
        let left = notices.ends.map(|end| end.saturating_duration_since(Instant::now()));
        status.lease_expires = left.map(|left| seconds(SystemTime::now() + left));
        let Notices { lease_error, uplink_error, rows_error, firewall_error, .. } = &*notices;
        let errors = [lease_error, uplink_error, rows_error, firewall_error];
        status.last_error = errors.into_iter().flatten().next().cloned();
        Ok(status)
    }

    /// Why this host is not ready for containers; empty when it is.
    pub(crate) fn unready(&self) -> Vec<String> {
        let notices = self.notices();
        let mut reasons = Vec::new();
        if !notices.published {
            let waiting = notices.waiting.as_deref().unwrap_or("starting");
            reasons.push(waiting.to_owned());
        }
        if notices.ends.is_some_and(|end| end <= Instant::now()) {
            reasons.push("the lease ran out".to_owned());
        }
        reasons.extend(notices.lease_error.clone());
        reasons.extend(notices.uplink_error.clone());
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
    seconds(SystemTime::now())
}

fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined() -> Board {
        let board = Board::default();
        let subnet = "10.88.1.0/24".parse().unwrap();
        board.joined(Status {
            version: "0".to_owned(),
            node: twill_core::ids::NodeId::from_random([1; 16]),
            hostname: "node1".to_owned(),
            backend: "udp".to_owned(),
            device: "flannel0".to_owned(),
            mtu: twill_core::ids::Mtu::new(1472).unwrap(),
            network: "10.88.0.0/16".parse().unwrap(),
            subnet,
            public_ip: "192.0.2.1".parse().unwrap(),
            lease_expires: None,
            etcd: EtcdState::Connected,
            peers: Vec::new(),
            ignored: Vec::new(),
            pending: Vec::new(),
            last_error: None,
        });
        board.published();
        board
    }

    #[test]
    fn old_errors_do_not_outlive_their_session() {
        let board = joined();
        board.firewall(Some("iptables is gone".to_owned()));
        board.pass(Some("a row is missing".to_owned()));
        board.lease(Some("taken".to_owned()));
        assert_eq!(board.unready(), ["taken", "a row is missing", "iptables is gone"]);
        let status = board.status().unwrap();
        board.leaving();
        board.joined(status);
        board.published();
        assert_eq!(board.unready(), [""; 0]);
        assert_eq!(board.status().unwrap().last_error, None);
    }

    #[test]
    fn is_not_converged_before_a_pass_has_seen_the_newest_leases() {
        let board = joined();
        let converged = || board.status().unwrap().pending.is_empty();
        assert!(!converged(), "nobody has looked yet");
        board.seen(board.changes());
        assert!(converged());
        let begun = board.changes();
        board.changed();
        board.seen(begun);
        assert!(!converged(), "that pass had begun before");
        board.seen(board.changes());
        assert!(converged());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_by_the_clock_that_nobody_sets() {
        let board = joined();
        board.lease_ends(Some(Duration::from_mins(1)));
        let expires = board.status().unwrap().lease_expires.unwrap();
        assert!((59..=61).contains(&(expires - now())), "{expires}");
        assert_eq!(board.unready(), [""; 0]);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(board.unready(), ["the lease ran out"]);
        board.lease_ends(None);
        assert_eq!(board.unready(), [""; 0], "a reservation never ends");
    }
}
