//! What the tasks have said, and what follows from it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use twill_core::firewall::gate::Refusal;
use twill_core::firewall::{Engine, Policy};
use twill_core::status::{EtcdState, Ignored, Source, Status};
use twill_core::validity::span;

use super::roster::Roster;
use crate::blueprint::Sources;
use crate::memory::{certain, since_boot};

#[derive(Debug, Default)]
pub(super) struct Notices {
    /// Nothing before the host has a subnet. Its peers are in the roster.
    pub(super) status: Option<Status>,
    pub(super) roster: Roster,
    /// What the start waits for.
    pub(super) waiting: Option<String>,
    /// How often the leases changed, and how many of these changes a pass over the kernel has seen.
    pub(super) changes: u64,
    pub(super) seen: u64,
    /// When the kernel is looked at next; nothing while nobody should.
    pub(super) looks: Option<Instant>,
    /// Peers that the network between the hosts keeps away.
    pub(super) far: Vec<Ignored>,
    /// Is `subnet.env` written?
    pub(super) published: bool,
    /// When the lease ends; nothing for a reservation.
    pub(super) ends: Option<Ends>,
    /// Since when etcd is there or away, by the clock that nobody sets and by the other.
    pub(super) etcd_since: Option<(Instant, u64)>,
    /// Is there a newer configuration that this host cannot follow?
    pub(super) of_no_use: bool,
    pub(super) picture_error: Option<String>,
    pub(super) lease_error: Option<String>,
    pub(super) uplink_error: Option<String>,
    pub(super) rows_error: Option<String>,
    pub(super) firewall_error: Option<String>,
    /// Why strangers are not kept out.
    pub(super) gate_error: Option<String>,
    /// Packets that were refused, and when the last of them was counted.
    pub(super) refused: BTreeMap<Refusal, (u64, Instant)>,
    /// What the firewall's rules are written with, and what for.
    pub(super) rules: Option<(Engine, Vec<Policy>)>,
    /// What the session goes by.
    pub(super) sources: Option<Sources>,
    /// What commands are still to be run, and why one failed.
    pub(super) commands: (Vec<String>, Option<String>),
}

/// By two clocks that nobody sets: the one that tests may turn, and the one that counts sleep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    at: Instant,
    since_boot: Duration,
    /// From when on another host's clock may say that it is over.
    margin: Duration,
}

/// A pass over the kernel takes far less; one that has not begun by then never will.
const STUCK: Duration = Duration::from_mins(1);

impl Notices {
    /// Why this process does nothing any more, if so: only another one can mend that.
    pub(super) fn stuck(&self) -> Option<String> {
        let late = self.looks?.elapsed();
        let text = || format!("nobody has looked at the kernel for {} too long", span(late));
        (late > STUCK).then(text)
    }

    /// Why this host is not ready for containers; empty when it is.
    pub(super) fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.published {
            let waiting = self.waiting.as_deref().unwrap_or("starting");
            reasons.push(waiting.to_owned());
        }
        match self.ends {
            Some(end) if end.left().is_zero() => reasons.push("the lease ran out".to_owned()),
            Some(end) if end.certainly().is_zero() => {
                reasons.push("the lease may have run out: etcd's clock may be faster".to_owned());
            }
            _ => {}
        }
        reasons.extend(self.errors().cloned());
        reasons.extend(self.stuck());
        reasons
    }

    /// Why it is worse off than it should be though it may be ready.
    pub(super) fn degraded(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let Some(status) = &self.status else { return reasons };
        if status.etcd == EtcdState::Away {
            let since = self.etcd_since.map_or(Duration::ZERO, |(since, _wall)| since.elapsed());
            let left = self.ends.map_or_else(
                || "is a reservation and does not end".to_owned(),
                |ends| format!("is valid for {} more", span(ends.certainly())),
            );
            reasons.push(format!("etcd is away for {}; the lease {left}", span(since)));
        }
        if status.standing.source == Source::Picture {
            let age = now().saturating_sub(status.standing.picture_kept.unwrap_or(0));
            let age = span(Duration::from_secs(age));
            reasons.push(format!("the network is that of this host's picture of {age} ago"));
        }
        if let Some(error) = &status.config_error {
            reasons.push(format!("the newest configuration is not applied: {error}"));
        }
        reasons.extend(self.gate_error.clone());
        if let Some(error) = &self.picture_error {
            reasons.push(format!("without etcd this host could not start again: {error}"));
        }
        reasons
    }

    /// What is wrong with the lease, with the uplink, with devices and rows, with the firewall.
    pub(super) fn errors(&self) -> impl Iterator<Item = &String> {
        let Self { lease_error, uplink_error, rows_error, firewall_error, .. } = self;
        let (_pending, commands_error) = &self.commands;
        let errors = [lease_error, uplink_error, rows_error, commands_error, firewall_error];
        errors.into_iter().flatten()
    }
}

impl Ends {
    pub(super) fn after(left: Duration) -> Self {
        let margin = left.saturating_sub(certain(left));
        Self { at: Instant::now() + left, since_boot: since_boot() + left, margin }
    }

    pub(super) fn left(&self) -> Duration {
        let asleep = self.since_boot.saturating_sub(since_boot());
        self.at.saturating_duration_since(Instant::now()).min(asleep)
    }

    pub(super) fn certainly(&self) -> Duration {
        self.left().saturating_sub(self.margin)
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    seconds(SystemTime::now())
}

pub(super) fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
