//! What is counted, for `/metrics`. [docs/metrics.md](../../docs/metrics.md) lists every name.
//!
//! No packet is touched for it: the tunnel counts anyway, and is asked when somebody looks. Labels
//! are words of this program and names of its devices, never what other hosts say, so that nobody
//! can make the page grow.

mod etcd;
mod moment;
mod page;
mod process;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use twill_tunnel::Counters;

pub(crate) use etcd::Counted;
pub(crate) use page::Page;

/// One name with one value.
type Label = [(&'static str, &'static str); 1];
type Counts = Family<Label, Counter>;

/// A pass that found nothing to do.
pub(crate) const UNCHANGED: &str = "unchanged";
/// A pass that wrote something, and could.
pub(crate) const CHANGED: &str = "changed";
/// A pass, or something else, that could not do all it should.
pub(crate) const FAILED: &str = "failed";

/// What can drift, and be put back.
const KINDS: [&str; 7] = ["address", "device", "fdb", "neighbour", "route", "rule", "sysctl"];

/// The numbers since the process started; clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    passes: Counts,
    pass_time: Histogram,
    healed: Counts,
    firewall: Counts,
    etcd_requests: Counts,
    etcd_errors: Counts,
    etcd_time: Histogram,
    reconnects: Counter,
    listings: Counter,
    tunnels: Arc<Mutex<Tunnels>>,
}

/// The tunnels that run, by their devices.
type Tunnels = Vec<(String, Arc<Counters>)>;

impl Default for Meters {
    /// Every series is there from the start: what is absent at first cannot be seen to grow.
    fn default() -> Self {
        // From a millisecond to eight seconds.
        let times = || Histogram::new(exponential_buckets(0.001, 2.0, 14));
        Self {
            passes: counts("outcome", &[UNCHANGED, CHANGED, FAILED]),
            pass_time: times(),
            healed: counts("kind", &KINDS),
            firewall: counts("outcome", &[UNCHANGED, CHANGED, FAILED]),
            etcd_requests: counts("method", &etcd::METHODS),
            etcd_errors: counts("method", &etcd::METHODS),
            etcd_time: times(),
            reconnects: Counter::default(),
            listings: Counter::default(),
            tunnels: Arc::default(),
        }
    }
}

impl Meters {
    /// The kernel was looked at.
    pub(crate) fn pass(&self, outcome: &'static str, took: Duration) {
        self.passes.get_or_create(&[("outcome", outcome)]).inc();
        self.pass_time.observe(took.as_secs_f64());
    }

    /// Something was put back that somebody else had changed.
    pub(crate) fn healed(&self, kind: &'static str) {
        self.healed.get_or_create(&[("kind", kind)]).inc();
    }

    /// The firewall was looked at, and written if that was needed.
    pub(crate) fn firewall<E>(&self, written: &Result<bool, E>) {
        let outcome = match written {
            Ok(false) => UNCHANGED,
            Ok(true) => CHANGED,
            Err(_why) => FAILED,
        };
        self.firewall.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// etcd was asked, and answered or not.
    fn asked(&self, method: &'static str, failed: bool, took: Duration) {
        let label = [("method", method)];
        self.etcd_requests.get_or_create(&label).inc();
        if failed {
            self.etcd_errors.get_or_create(&label).inc();
        }
        self.etcd_time.observe(took.as_secs_f64());
    }

    /// etcd is back.
    pub(crate) fn reconnected(&self) {
        self.reconnects.inc();
    }

    /// All leases were read again, instead of hearing of each.
    pub(crate) fn listed(&self) {
        self.listings.inc();
    }

    /// These tunnels run now.
    pub(crate) fn tunnels(&self, tunnels: Tunnels) {
        *self.tunnels.lock().unwrap_or_else(PoisonError::into_inner) = tunnels;
    }

    fn running(&self) -> Tunnels {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn counts(name: &'static str, values: &[&'static str]) -> Counts {
    let counts = Counts::default();
    for value in values {
        drop(counts.get_or_create(&[(name, *value)]));
    }
    counts
}

#[cfg(test)]
mod tests;
