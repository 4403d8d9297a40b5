//! What the kernel counts: of this process, under the names that all programs have for it, and of the
//! tunnel devices.

use std::fmt;

use procfs::process::{LimitValue, Process as This, Stat};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use twill_core::serving::is_tunnel;

use super::moment::gauge;

/// `process_…`.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut to;
        let Ok(this) = This::myself() else { return Ok(()) };
        if let Ok(stat) = this.stat() {
            of_stat(to, &stat)?;
        }
        if let Ok(open) = this.fd_count() {
            gauge(to, ("process_open_fds", "Files and sockets that are open"), open)?;
        }
        if let Ok(limits) = this.limits()
            && let LimitValue::Value(most) = limits.max_open_files.soft_limit
        {
            gauge(to, ("process_max_fds", "How many may be open"), most)?;
        }
        Ok(())
    }
}

fn of_stat(to: &mut DescriptorEncoder<'_>, stat: &Stat) -> fmt::Result {
    let ticks = seconds(stat.utime + stat.stime);
    let help = "Time that processors spent on this process";
    let metric = to.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
    ConstCounter::new(ticks).encode(metric)?;
    let resident = stat.rss * procfs::page_size();
    gauge(to, ("process_resident_memory_bytes", "Memory in use"), resident)?;
    gauge(to, ("process_virtual_memory_bytes", "Memory that is mapped"), stat.vsize)?;
    let threads = u64::try_from(stat.num_threads).unwrap_or(0);
    gauge(to, ("process_threads", "Threads"), threads)?;
    if let Ok(booted) = procfs::boot_time_secs() {
        let help = "When this process started, in seconds since 1970";
        let metric =
            to.encode_descriptor("process_start_time_seconds", help, None, MetricType::Gauge)?;
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit by far")]
        ConstGauge::new(booted as f64 + seconds(stat.starttime)).encode(metric)?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "half a million years of ticks fit")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / procfs::ticks_per_second() as f64
}

/// `twill_device_…`: these counts are the kernel's and live as long as the device. What takes the shortcut of `udp`
/// passes them by and has series of its own, which begin with the process.
#[derive(Debug)]
pub(super) struct Devices;

/// A column of the kernel's table: name, meaning, and which it is.
type Column = (&'static str, &'static str, fn(&procfs::net::DeviceStatus) -> u64);

const COLUMNS: [Column; 6] = [
    ("device_receive_bytes", "Bytes from peers", |row| row.recv_bytes),
    ("device_receive_packets", "Packets from peers", |row| row.recv_packets),
    ("device_receive_drops", "Packets from peers that the kernel dropped", |row| row.recv_drop),
    ("device_transmit_bytes", "Bytes to peers", |row| row.sent_bytes),
    ("device_transmit_packets", "Packets to peers", |row| row.sent_packets),
    ("device_transmit_drops", "Packets to peers that the kernel dropped", |row| row.sent_drop),
];

impl Collector for Devices {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(all) = procfs::net::dev_status() else { return Ok(()) };
        let mut ours: Vec<_> = all.values().filter(|row| is_tunnel(&row.name)).collect();
        if ours.is_empty() {
            return Ok(());
        }
        ours.sort_by(|one, other| one.name.cmp(&other.name));
        for (name, help, column) in COLUMNS {
            let mut rows = to.encode_descriptor(name, help, None, MetricType::Counter)?;
            for row in &ours {
                let labels = [("device", row.name.as_str())];
                ConstCounter::new(column(row)).encode(rows.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// All of `twill_device_…`, whatever devices there are.
#[cfg(test)]
pub(super) fn device_names() -> impl Iterator<Item = String> {
    COLUMNS.iter().map(|(name, ..)| format!("twill_{name}_total"))
}
