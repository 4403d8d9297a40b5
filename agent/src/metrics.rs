//! What is counted, for `/metrics`. [docs/metrics.md](../../docs/metrics.md) lists every name.
//!
//! No packet is touched for it: the tunnel counts anyway, and is asked when somebody looks. Labels
//! are words of this program and names of its devices, never what other hosts say, so that nobody
//! can make the page grow.

mod etcd;
mod labels;
mod moment;
mod page;
mod ports;
mod process;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use twill_core::ids::NetworkName;
use twill_tunnel::Counters;

pub(crate) use etcd::Counted;
use labels::{Each, Labels};
pub(crate) use page::Page;

type Counts = Family<Labels, Counter>;

/// A pass that found nothing to do.
pub(crate) const UNCHANGED: &str = "unchanged";
/// A pass that wrote something, and could.
pub(crate) const CHANGED: &str = "changed";
/// A pass, or something else, that could not do all it should.
pub(crate) const FAILED: &str = "failed";

/// What becomes of a container's question for a name.
const ANSWERS: [&str; 5] = ["local", "forwarded", "failed", "refused", "stranger"];

const OUTCOMES: [&str; 3] = [UNCHANGED, CHANGED, FAILED];

/// What can drift, and be put back.
const KINDS: [&str; 8] =
    ["address", "device", "fdb", "neighbour", "route", "rule", "sysctl", "wireguard"];
/// What is the host's, and not one network's.
const KINDS_OF_THE_HOST: [&str; 2] = ["rule", "sysctl"];

/// The numbers since the process started; clones count together. Those of one network, or those that are
/// the host's alone.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    all: All,
    /// If it has a name.
    network: Option<NetworkName>,
    pass_time: Histogram,
    etcd_time: Histogram,
    reconnects: Counter,
    listings: Counter,
    tunnels: Arc<Mutex<Tunnels>>,
}

/// The numbers of all networks, under the names that they share.
#[derive(Clone, Debug, Default)]
struct All {
    passes: Counts,
    pass_time: Each<Histogram>,
    healed: Counts,
    firewall: Counts,
    names: Counts,
    etcd_requests: Counts,
    etcd_errors: Counts,
    etcd_time: Each<Histogram>,
    reconnects: Each<Counter>,
    listings: Each<Counter>,
}

/// The tunnels that run, by their devices.
type Tunnels = Vec<(String, Arc<Counters>)>;

impl Default for Meters {
    /// Of a host in one network, which has no name.
    fn default() -> Self {
        let meters = Self::of(All::default(), None);
        counts(&meters.all.firewall, None, ("outcome", &OUTCOMES));
        counts(&meters.all.names, None, ("answer", &ANSWERS));
        meters
    }
}

impl Meters {
    /// Of a host in several networks, as far as they are the host's.
    pub(crate) fn of_the_host() -> Self {
        let all = All::default();
        counts(&all.firewall, None, ("outcome", &OUTCOMES));
        counts(&all.names, None, ("answer", &ANSWERS));
        counts(&all.healed, None, ("kind", &KINDS_OF_THE_HOST));
        let (pass_time, etcd_time) = (times(), times());
        let (network, reconnects, listings) = (None, Counter::default(), Counter::default());
        let tunnels = Arc::default();
        Self { all, network, pass_time, etcd_time, reconnects, listings, tunnels }
    }

    /// Of one of its networks.
    pub(crate) fn of_network(&self, network: &NetworkName) -> Self {
        Self::of(self.all.clone(), Some(network))
    }

    /// The host is in that network no more.
    pub(crate) fn forget(&self, network: &NetworkName) {
        let All { passes, healed, etcd_requests, etcd_errors, .. } = &self.all;
        for (counts, name, values) in [
            (passes, "outcome", &OUTCOMES[..]),
            (healed, "kind", &KINDS),
            (etcd_requests, "method", &etcd::METHODS),
            (etcd_errors, "method", &etcd::METHODS),
        ] {
            for value in values {
                counts.remove(&Labels::of(Some(network)).and(name, *value));
            }
        }
        self.all.pass_time.remove(network);
        self.all.etcd_time.remove(network);
        self.all.reconnects.remove(network);
        self.all.listings.remove(network);
    }

    /// Every series is there from the start: what is absent at first cannot be seen to grow.
    fn of(all: All, network: Option<&NetworkName>) -> Self {
        counts(&all.passes, network, ("outcome", &OUTCOMES));
        counts(&all.healed, network, ("kind", &KINDS));
        counts(&all.etcd_requests, network, ("method", &etcd::METHODS));
        counts(&all.etcd_errors, network, ("method", &etcd::METHODS));
        let (pass_time, etcd_time) =
            (all.pass_time.add(network, times()), all.etcd_time.add(network, times()));
        let (reconnects, listings) = (
            all.reconnects.add(network, Counter::default()),
            all.listings.add(network, Counter::default()),
        );
        let (network, tunnels) = (network.cloned(), Arc::default());
        Self { all, network, pass_time, etcd_time, reconnects, listings, tunnels }
    }

    /// The kernel was looked at.
    pub(crate) fn pass(&self, outcome: &'static str, took: Duration) {
        self.all.passes.get_or_create(&self.label("outcome", outcome)).inc();
        self.pass_time.observe(took.as_secs_f64());
    }

    /// Something was put back that somebody else had changed.
    pub(crate) fn healed(&self, kind: &'static str) {
        self.all.healed.get_or_create(&self.label("kind", kind)).inc();
    }

    /// The firewall was looked at, and written if that was needed.
    pub(crate) fn firewall<E>(&self, written: &Result<bool, E>) {
        let outcome = match written {
            Ok(false) => UNCHANGED,
            Ok(true) => CHANGED,
            Err(_why) => FAILED,
        };
        self.all.firewall.get_or_create(&self.label("outcome", outcome)).inc();
    }

    /// A container asked for a name.
    pub(crate) fn asked_for_name(&self, answer: &'static str) {
        let label = Labels::of(None).and("answer", answer);
        self.all.names.get_or_create(&label).inc();
    }

    /// etcd was asked, and answered or not.
    fn asked(&self, method: &'static str, failed: bool, took: Duration) {
        let label = self.label("method", method);
        self.all.etcd_requests.get_or_create(&label).inc();
        if failed {
            self.all.etcd_errors.get_or_create(&label).inc();
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

    fn label(&self, name: &'static str, value: &'static str) -> Labels {
        Labels::of(self.network.as_ref()).and(name, value)
    }
}

/// From a millisecond to eight seconds.
fn times() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 14))
}

fn counts(
    counts: &Counts,
    network: Option<&NetworkName>,
    (name, values): (&'static str, &[&'static str]),
) {
    for value in values {
        drop(counts.get_or_create(&Labels::of(network).and(name, *value)));
    }
}

#[cfg(test)]
mod tests;
