//! What is so at the moment of the question: asked of the board, and counted by nobody.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use twill_core::firewall::gate::Refusal;
use twill_core::status::{EtcdState, Reason, Status};
use twill_net::firewall;
use twill_tunnel::Event;

use crate::status::Board;

#[derive(Debug)]
pub(super) struct Moment(pub(super) Board);

impl Collector for Moment {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(board) = self;
        let (ready, well) = (board.unready().is_empty(), board.degraded().is_empty());
        gauge(
            &mut to,
            ("ready", "1 if /readyz says that containers can rely on this host"),
            ready,
        )?;
        gauge(
            &mut to,
            ("degraded", "1 if /readyz names something that is worse than usual"),
            !well,
        )?;
        // Nothing before the host has a subnet.
        if let Ok(status) = board.status() {
            of_status(&mut to, &status)?;
        }
        self.refused(&mut to)?;
        self.tunnels(&mut to)
    }
}

impl Moment {
    /// Packets that somebody should not have sent.
    fn refused(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Packets that somebody should not have sent, by how they came and why not";
        let mut rows = to.encode_descriptor("refused_packets", help, None, MetricType::Counter)?;
        let mut row = |way: &str, reason: &str, count: u64| {
            let labels = [("way", way), ("reason", reason)];
            ConstCounter::new(count).encode(rows.encode_family(&labels)?)
        };
        // A kernel that does not answer has no table that could refuse anything.
        let refused = firewall::refused().unwrap_or_default();
        for (refusal, count) in refused.iter() {
            let (way, reason) = match refusal {
                Refusal::Stranger => ("vxlan", "stranger"),
                Refusal::Inner => ("vxlan", "inner"),
                Refusal::Container => ("plain", "container"),
                Refusal::Underlay => ("plain", "underlay"),
            };
            row(way, reason, count.packets)?;
        }
        let tunnels = self.0.meters().running();
        let sum = |event| tunnels.iter().map(|(_device, counters)| counters.count(event)).sum();
        row("udp", "stranger", sum(Event::UnknownSender))?;
        let inner: u64 = sum(Event::ForeignSource);
        row("udp", "inner", inner + sum(Event::ForeignDestination))
    }

    /// Of the `udp` backend alone: the kernel counts for the others.
    fn tunnels(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let tunnels = self.0.meters().running();
        if tunnels.is_empty() {
            return Ok(());
        }
        let help = "Packets that a tunnel in user space carried";
        let mut rows = to.encode_descriptor("tunnel_packets", help, None, MetricType::Counter)?;
        for (device, counters) in &tunnels {
            for (event, direction) in [(Event::Sent, "out"), (Event::Received, "in")] {
                let labels = [("device", device.as_str()), ("direction", direction)];
                let count = ConstCounter::new(counters.count(event));
                count.encode(rows.encode_family(&labels)?)?;
            }
        }
        let help = "Bytes of the packets that a tunnel in user space carried";
        let mut rows = to.encode_descriptor("tunnel_bytes", help, None, MetricType::Counter)?;
        for (device, counters) in &tunnels {
            for (bytes, direction) in
                [(counters.bytes_sent(), "out"), (counters.bytes_received(), "in")]
            {
                let labels = [("device", device.as_str()), ("direction", direction)];
                ConstCounter::new(bytes).encode(rows.encode_family(&labels)?)?;
            }
        }
        let help = "Packets that a tunnel in user space did not carry, by reason";
        let mut rows = to.encode_descriptor("tunnel_drops", help, None, MetricType::Counter)?;
        for (device, counters) in &tunnels {
            for (event, count) in counters.iter() {
                if !matches!(event, Event::Sent | Event::Received) {
                    let labels = [("device", device.as_str()), ("reason", event.name())];
                    ConstCounter::new(count).encode(rows.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

fn of_status(to: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let Status { pending, peers, ignored, etcd, .. } = status;
    gauge(
        to,
        ("pending_rows", "Writes that the kernel still lacks; 0 when converged"),
        pending.len(),
    )?;
    gauge(to, ("peers", "Hosts that this one sends to"), peers.len())?;
    let connected = *etcd == EtcdState::Connected;
    gauge(to, ("etcd_connected", "1 if the watch on etcd stands"), connected)?;
    // A reservation never ends.
    if let Some(expires) = status.lease_expires {
        let help = "When the lease ends unless it is renewed, in seconds since 1970";
        gauge(to, ("lease_expiry_timestamp_seconds", help), expires)?;
    }
    let mut counts: BTreeMap<Reason, usize> = Reason::ALL.iter().map(|why| (*why, 0)).collect();
    for lease in ignored {
        *counts.entry(lease.reason).or_default() += 1;
    }
    let help = "Leases of which this host makes no use, by reason";
    let mut rows = to.encode_descriptor("ignored_leases", help, None, MetricType::Gauge)?;
    for (reason, count) in counts {
        ConstGauge::new(count).encode(rows.encode_family(&[("reason", reason.name())])?)?;
    }
    Ok(())
}

/// One number without labels.
pub(super) fn gauge(
    to: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    value: impl Number,
) -> fmt::Result {
    let metric = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value.number()).encode(metric)
}

/// What can be shown as a number.
pub(super) trait Number {
    fn number(self) -> u64;
}

impl Number for u64 {
    fn number(self) -> u64 {
        self
    }
}

impl Number for usize {
    fn number(self) -> u64 {
        u64::try_from(self).unwrap_or(u64::MAX)
    }
}

impl Number for bool {
    fn number(self) -> u64 {
        self.into()
    }
}
