//! What the agent knows about itself at this moment, for `/status`, `/readyz` and `/metrics`.

mod boards;
mod following;
mod notices;
mod roster;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use twill_core::firewall::gate::Refusal;
use twill_core::firewall::{Engine, Policy};
use twill_core::peers::{self, View};
use twill_core::plan::{Change, concerned};
use twill_core::status::{EtcdState, Ignored, Source, Status};

use crate::blueprint::{Sources, Whole};
use crate::metrics::Meters;
use boards::Shared;
use notices::{Ends, Notices, seconds};

pub(crate) use boards::Boards;
pub(crate) use following::Following;
pub(crate) use notices::now;

/// How long ago is worth telling, of packets that were refused.
const LATELY: Duration = Duration::from_mins(10);

/// One notice board, written by the tasks and read by the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board {
    notices: Arc<Mutex<Notices>>,
    meters: Meters,
    /// Those of all networks of this host.
    beside: Weak<Shared>,
}

impl Board {
    /// What is counted.
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

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
        let change = notices.changes;
        notices.roster.forget_rows(change);
        notices.looks = None;
        notices.ends = None;
        if notices.etcd_since.is_none() {
            notices.etcd_since = Some((Instant::now(), now()));
        }
        notices.far = Vec::new();
        notices.of_no_use = false;
        notices.lease_error = None;
        notices.uplink_error = None;
        notices.rows_error = None;
        notices.firewall_error = None;
        notices.gate_error = None;
        notices.commands = (Vec::new(), None);
        notices.status = Some(status);
    }

    /// What the session goes by, for whoever compares the host with it.
    pub(crate) fn goes_by(&self, sources: Sources) {
        self.notices().sources = Some(sources);
    }

    /// What this host should be like; the reason if nobody knows yet.
    pub(crate) fn whole(&self) -> Result<Whole, String> {
        let notices = self.notices();
        let waiting = || notices.waiting.clone().unwrap_or_else(|| "starting".to_owned());
        Ok(notices.sources.as_ref().ok_or_else(waiting)?.whole(notices.rules.clone()))
    }

    /// What the firewall's rules are written with, and what for: all networks of the host.
    pub(crate) fn rules(&self, rules: Option<(Engine, Vec<Policy>)>) {
        self.notices().rules = rules;
    }

    /// The start is complete.
    pub(crate) fn published(&self) {
        self.notices().published = true;
    }

    /// The host has to join again: what is published may not hold any more.
    pub(crate) fn leaving(&self) {
        let mut notices = self.notices();
        notices.published = false;
        notices.looks = None;
        notices.waiting = Some("joining the network again".to_owned());
    }

    /// The host is to be in the network no more.
    pub(crate) fn leaves(&self) {
        self.leaving();
        self.notices().waiting =
            Some("leaving the network: its configuration was deleted".to_owned());
    }

    /// This host's lease ends after that time; a reservation never.
    pub(crate) fn lease_ends(&self, left: Option<Duration>) {
        self.notices().ends = left.map(Ends::after);
    }

    /// Why the lease is not ours, while it is not.
    pub(crate) fn lease(&self, error: Option<String>) {
        self.notices().lease_error = error;
    }

    /// Does etcd answer? Once it does, it is what the network is known from.
    pub(crate) fn etcd(&self, state: EtcdState) {
        let mut notices = self.notices();
        let Some(status) = &mut notices.status else { return };
        if state == EtcdState::Connected {
            status.standing.source = Source::Etcd;
            status.standing.picture_kept = None;
        }
        if std::mem::replace(&mut status.etcd, state) != state {
            notices.etcd_since = Some((Instant::now(), now()));
        }
    }

    /// Why the picture on disk is not up to date, if it is not.
    pub(crate) fn picture(&self, error: Option<String>) {
        self.notices().picture_error = error;
    }

    #[cfg(test)]
    pub(crate) fn picture_error(&self) -> Option<String> {
        self.notices().picture_error.clone()
    }

    /// The state in one line.
    fn line(&self) -> String {
        let notices = self.notices();
        let Some(status) = &notices.status else { return "starting".to_owned() };
        let text = format!("subnet {} of {}, {}", status.subnet, status.network, status.device);
        let degraded = notices.degraded();
        if degraded.is_empty() {
            text
        } else {
            format!("degraded: {}; {text}", degraded.join("; "))
        }
    }

    /// Why this host is worse off than it should be though it may be ready.
    pub(crate) fn degraded(&self) -> Vec<String> {
        self.notices().degraded()
    }

    /// The peers and the leases of which this host makes no use. If they are others than before,
    /// [`Self::changed`] comes first.
    pub(crate) fn view(&self, view: &View) {
        let mut notices = self.notices();
        let change = notices.changes;
        notices.roster.set(&view.peers, (change, now()));
        if let Some(status) = &mut notices.status {
            status.ignored.clone_from(&view.ignored);
        }
    }

    /// Peers that cannot be sent to for what lies between the hosts.
    pub(crate) fn out_of_reach(&self, far: Vec<Ignored>) {
        self.notices().far = far;
    }

    /// What the configuration says now, as far as people see it.
    pub(crate) fn serves(&self, change: impl FnOnce(&mut Status)) {
        self.edit(change);
    }

    /// Why the newest configuration is not the one that this host goes by, if so.
    pub(crate) fn configuration(&self, error: Option<String>) {
        self.notices().of_no_use = error.is_some();
        self.edit(|status| status.config_error = error);
    }

    /// Why one that can be followed is not yet. A newer one that cannot be says more.
    pub(crate) fn configuration_waits(&self, error: String) {
        if !self.notices().of_no_use {
            self.edit(|status| status.config_error = Some(error));
        }
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
    pub(crate) fn pending(&self, changes: &[Change], peers: &[peers::Peer]) {
        let words = changes.iter().map(ToString::to_string).collect();
        let by_peer = concerned(changes, peers);
        let mut notices = self.notices();
        notices.roster.lacks(by_peer);
        if let Some(status) = &mut notices.status {
            status.pending = words;
        }
    }

    /// The commands that are still to be run, and why one failed.
    pub(crate) fn commands(&self, pending: Vec<String>, error: Option<String>) {
        self.notices().commands = (pending, error);
    }

    /// The kernel is looked at again after that time at the latest.
    pub(crate) fn looks_within(&self, wait: Duration) {
        self.notices().looks = Some(Instant::now() + wait);
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

    /// Why strangers are not kept out, if so.
    pub(crate) fn gate(&self, error: Option<String>) {
        self.notices().gate_error = error;
    }

    /// So many packets more were refused.
    pub(crate) fn refused(&self, refusal: Refusal, packets: u64) {
        let now = Instant::now();
        let mut notices = self.notices();
        let (count, last) = notices.refused.entry(refusal).or_insert((0, now));
        *count = if last.elapsed() > LATELY { packets } else { count.saturating_add(packets) };
        *last = now;
    }

    /// How many packets were refused lately, by reason.
    pub(crate) fn refused_lately(&self) -> Vec<(Refusal, u64)> {
        let notices = self.notices();
        let lately =
            notices.refused.iter().filter(|(_why, (_count, last))| last.elapsed() < LATELY);
        lately.map(|(refusal, (count, _last))| (*refusal, *count)).collect()
    }

    /// The document; the reason if there is none yet.
    pub(crate) fn status(&self) -> Result<Status, String> {
        let notices = self.notices();
        let waiting = || notices.waiting.clone().unwrap_or_else(|| "starting".to_owned());
        let mut status = notices.status.clone().ok_or_else(waiting)?;
        if notices.seen < notices.changes && status.pending.is_empty() {
            status.pending.push("look at the leases that have just changed".to_owned());
        }
        status.pending.extend(notices.commands.0.iter().cloned());
        status.peers = notices.roster.peers(notices.seen);
        status.ignored.extend(notices.far.iter().cloned());
        let left = notices.ends.map(|end| end.left());
        status.lease_expires = left.map(|left| seconds(SystemTime::now() + left));
        let standing = &mut status.standing;
        standing.lease_left = notices.ends.map(|end| end.certainly().as_secs());
        standing.etcd_since = notices.etcd_since.map(|(_by_instant, wall)| wall);
        standing.degraded = notices.degraded();
        status.last_error = notices.errors().next().cloned();
        status.firewall = notices.rules.as_ref().map(|(engine, _)| engine.to_string());
        Ok(status)
    }

    /// Why this host is not ready for containers; empty when it is.
    pub(crate) fn unready(&self) -> Vec<String> {
        self.notices().unready()
    }

    /// Why this process does nothing any more, if so.
    pub(crate) fn stuck(&self) -> Option<String> {
        self.notices().stuck()
    }

    fn edit(&self, change: impl FnOnce(&mut Status)) {
        if let Some(status) = &mut self.notices().status {
            change(status);
        }
    }

    fn notices(&self) -> MutexGuard<'_, Notices> {
        // Each change is one assignment: a writer that died left nothing half done.
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{crowd, everything, join};
