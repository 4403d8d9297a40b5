//! What is so at the moment of the question: asked of the board, and counted by nobody.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use twill_core::firewall::gate::{Refusal, Table};
use twill_core::ids::NetworkName;
use twill_core::status::{EtcdState, Reason, Status};
use twill_net::firewall;
use twill_tunnel::{Counters, Event};

use super::labels::Labels;
use crate::status::{Board, Boards};

#[derive(Debug)]
pub(super) struct Moment(pub(super) Boards);

/// What one network has to show, and its name if it has one.
type Of<'a, T> = (Option<&'a NetworkName>, T);

impl Collector for Moment {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let all = &self.0.all()[..];
        self.following(&mut to, all.len())?;
        let of = |value: fn(&Board) -> bool| -> Vec<Of<'_, u64>> {
            all.iter().map(|(name, board)| (name.as_ref(), value(board).number())).collect()
        };
        let help = "1 if /readyz says that containers can rely on this host";
        gauges(&mut to, ("ready", help), &of(|board| board.unready().is_empty()))?;
        let help = "1 if /readyz names something that is worse than usual";
        gauges(&mut to, ("degraded", help), &of(|board| !board.degraded().is_empty()))?;
        // Nothing before the host has a subnet.
        let joined =
            all.iter().filter_map(|(name, board)| Some((name.as_ref(), board.status().ok()?)));
        of_status(&mut to, &joined.collect::<Vec<_>>())?;
        refused(&mut to, all)?;
        tunnels(&mut to, all)
    }
}

impl Moment {
    /// Of a host whose networks come and go: of the others everybody knows how many they are.
    fn following(&self, to: &mut DescriptorEncoder<'_>, networks: usize) -> fmt::Result {
        let Some(following) = self.0.followed() else { return Ok(()) };
        let help = "Networks that this host is in, or is about to join or leave";
        gauge(to, ("networks", help), networks)?;
        let help = "Networks that are left out for their names";
        gauge(to, ("networks_refused", help), following.refused())?;
        let help = "1 if the watch on the networks under the prefix stands";
        gauge(to, ("networks_watched", help), following.is_connected())
    }
}

/// Packets that somebody should not have sent.
fn refused(to: &mut DescriptorEncoder<'_>, all: &[(Option<NetworkName>, Board)]) -> fmt::Result {
    let help = "Packets that somebody should not have sent, by how they came and why not";
    let mut rows = to.encode_descriptor("refused_packets", help, None, MetricType::Counter)?;
    for (name, board) in all {
        let mut row = |way: &'static str, reason: &'static str, count: u64| {
            let labels = Labels::of(name.as_ref()).and("way", way).and("reason", reason);
            ConstCounter::new(count).encode(rows.encode_family(&labels)?)
        };
        // A kernel that does not answer has no table that could refuse anything.
        let refused = firewall::refused(&Table::of(name.as_ref())).unwrap_or_default();
        for (refusal, count) in refused.iter() {
            let (way, reason) = match refusal {
                Refusal::Stranger => ("vxlan", "stranger"),
                Refusal::Inner => ("vxlan", "inner"),
                Refusal::Container => ("plain", "container"),
                Refusal::Underlay => ("plain", "underlay"),
            };
            row(way, reason, count.packets)?;
        }
        let tunnels = board.meters().running();
        let sum = |event| tunnels.iter().map(|(_device, counters)| counters.count(event)).sum();
        row("udp", "stranger", sum(Event::UnknownSender))?;
        let inner: u64 = sum(Event::ForeignSource);
        row("udp", "inner", inner + sum(Event::ForeignDestination))?;
    }
    Ok(())
}

/// Of the `udp` backend alone: the kernel counts for the others.
fn tunnels(to: &mut DescriptorEncoder<'_>, all: &[(Option<NetworkName>, Board)]) -> fmt::Result {
    let tunnels: Vec<_> = all
        .iter()
        .flat_map(|(name, board)| {
            let running = board.meters().running().into_iter();
            running.map(move |(device, counters)| {
                (Labels::of(name.as_ref()).and("device", device), counters)
            })
        })
        .collect();
    if tunnels.is_empty() {
        return Ok(());
    }
    let help = "Packets that a tunnel carried, in user space or by the shortcut";
    let mut rows = to.encode_descriptor("tunnel_packets", help, None, MetricType::Counter)?;
    for (device, counters) in &tunnels {
        for (event, direction) in [(Event::Sent, "out"), (Event::Received, "in")] {
            let labels = device.clone().and("direction", direction);
            let count = ConstCounter::new(counters.count(event));
            count.encode(rows.encode_family(&labels)?)?;
        }
    }
    by_shortcut(to, &tunnels)?;
    let help = "Bytes of the packets that a tunnel carried";
    let mut rows = to.encode_descriptor("tunnel_bytes", help, None, MetricType::Counter)?;
    for (device, counters) in &tunnels {
        for (bytes, direction) in
            [(counters.bytes_sent(), "out"), (counters.bytes_received(), "in")]
        {
            let labels = device.clone().and("direction", direction);
            ConstCounter::new(bytes).encode(rows.encode_family(&labels)?)?;
        }
    }
    let help = "Packets that a tunnel did not carry, by reason";
    let mut rows = to.encode_descriptor("tunnel_drops", help, None, MetricType::Counter)?;
    for (device, counters) in &tunnels {
        for (event, count) in counters.iter() {
            if !matches!(event, Event::Sent | Event::Received) {
                let labels = device.clone().and("reason", event.name());
                ConstCounter::new(count).encode(rows.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

/// Of the packets of the tunnels, those that the kernel carried by itself, and their bytes.
fn by_shortcut(to: &mut DescriptorEncoder<'_>, tunnels: &[(Labels, Arc<Counters>)]) -> fmt::Result {
    type Series = (&'static str, &'static str, fn(&Counters) -> (u64, u64));
    let packets = "Of the packets that a tunnel carried, those that took the shortcut";
    let series: [Series; 2] = [
        ("tunnel_shortcut_packets", packets, Counters::by_shortcut),
        ("tunnel_shortcut_bytes", "Bytes of those packets", Counters::bytes_by_shortcut),
    ];
    for (name, help, counts) in series {
        let mut rows = to.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (device, counters) in tunnels {
            let (sent, received) = counts(counters);
            for (count, direction) in [(sent, "out"), (received, "in")] {
                let labels = device.clone().and("direction", direction);
                ConstCounter::new(count).encode(rows.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

fn of_status(to: &mut DescriptorEncoder<'_>, joined: &[Of<'_, Status>]) -> fmt::Result {
    if joined.is_empty() {
        return Ok(());
    }
    let of = |value: fn(&Status) -> u64| -> Vec<Of<'_, u64>> {
        joined.iter().map(|(name, status)| (*name, value(status))).collect()
    };
    let help = "Writes that the kernel still lacks; 0 when converged";
    gauges(to, ("pending_rows", help), &of(|status| status.pending.len().number()))?;
    let help = "Hosts that this one sends to";
    gauges(to, ("peers", help), &of(|status| status.peers.len().number()))?;
    let help = "1 if the watch on etcd stands";
    let connected = |status: &Status| (status.etcd == EtcdState::Connected).number();
    gauges(to, ("etcd_connected", help), &of(connected))?;
    // A reservation never ends.
    let ends = joined.iter().filter_map(|(name, status)| Some((*name, status.lease_expires?)));
    let ends: Vec<Of<'_, u64>> = ends.collect();
    let help = "When the lease ends unless it is renewed, in seconds since 1970";
    gauges(to, ("lease_expiry_timestamp_seconds", help), &ends)?;
    let help = "Leases of which this host makes no use, by reason";
    let mut rows = to.encode_descriptor("ignored_leases", help, None, MetricType::Gauge)?;
    for (name, status) in joined {
        let mut counts: BTreeMap<Reason, usize> = Reason::ALL.iter().map(|why| (*why, 0)).collect();
        for lease in &status.ignored {
            *counts.entry(lease.reason).or_default() += 1;
        }
        for (reason, count) in counts {
            let labels = Labels::of(*name).and("reason", reason.name());
            ConstGauge::new(count.number()).encode(rows.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// One number of each network.
fn gauges(
    to: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    values: &[Of<'_, u64>],
) -> fmt::Result {
    match values {
        [] => return Ok(()),
        // A network without a name is alone on its host.
        [(None, value)] => return gauge(to, (name, help), *value),
        _named => {}
    }
    let mut rows = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (network, value) in values {
        let labels = Labels::of(*network);
        ConstGauge::new(*value).encode(rows.encode_family(&labels)?)?;
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
