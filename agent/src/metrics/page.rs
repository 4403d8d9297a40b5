//! The page that Prometheus reads.

use std::sync::Arc;

use prometheus_client::encoding::prometheus_text::{CONTENT_TYPE, encode};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::moment::Moment;
use super::ports::Ports;
use super::process::{Devices, Process};
use crate::status::Boards;

/// All names with their meaning, and where their numbers are.
#[derive(Clone, Debug)]
pub(crate) struct Page(Arc<Registry>);

impl Page {
    /// What `boards` know and count.
    pub(crate) fn of(boards: &Boards) -> Self {
        let mut registry = Registry::default();
        let ours = registry.sub_registry_with_prefix("twill");
        register(ours, boards);
        ours.register_collector(Box::new(Moment(boards.clone())));
        ours.register_collector(Box::new(Devices));
        ours.register_collector(Box::new(Ports));
        registry.register_collector(Box::new(Process));
        Self(Arc::new(registry))
    }

    /// The text as of now, and its type.
    pub(crate) fn text(&self) -> Result<(&'static str, String), std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0)?;
        Ok((CONTENT_TYPE, text))
    }
}

fn register(ours: &mut Registry, boards: &Boards) {
    let meters = boards.meters().all.clone();
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    ours.register("build", "The version of twilld that runs", version);
    ours.register("reconcile_passes", "Looks at the kernel, by what they found", meters.passes);
    ours.register_with_unit(
        "reconcile_duration",
        "How long a look at the kernel took, with all that had to be written",
        Unit::Seconds,
        meters.pass_time,
    );
    ours.register(
        "drift_healed",
        "Things that somebody else changed in the kernel and that were put back",
        meters.healed,
    );
    ours.register(
        "firewall_checks",
        "Looks at the firewall, by what they found; a changed one is one transaction",
        meters.firewall,
    );
    ours.register(
        "name_questions",
        "Questions of containers for names, by what became of them",
        meters.names,
    );
    ours.register("etcd_requests", "What etcd was asked", meters.etcd_requests);
    ours.register("etcd_request_errors", "What etcd did not answer", meters.etcd_errors);
    ours.register_with_unit(
        "etcd_request_duration",
        "How long etcd took to answer, or we to give up",
        Unit::Seconds,
        meters.etcd_time,
    );
    ours.register("etcd_reconnects", "How often etcd came back", meters.reconnects);
    ours.register(
        "watch_relists",
        "Listings of all leases, at first and after each break of the watch",
        meters.listings,
    );
}
