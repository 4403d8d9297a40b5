//! What is measured, and how one measurement goes.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::cpu::{Used, Watch};
use super::events::{Counts, Kind};
use super::lane::Lane;
use super::load::Load;
use super::traffic::{self, Direction};
use super::{number, ping};
use crate::wait::pace;

/// From the start of the traffic until it counts: slow start is over by then.
const WARM_UP: Duration = Duration::from_millis(300);
/// After the end of the traffic: queues run dry.
const REST: Duration = Duration::from_millis(100);

/// IP and UDP headers.
const HEADERS: usize = 28;

/// One kind of traffic and what is counted of it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub(super) enum Measure {
    /// One TCP stream
    Tcp1,
    /// Four TCP streams
    Tcp4,
    /// Sixteen TCP streams
    Tcp16,
    /// One TCP stream, the other way
    Tcp1Back,
    /// Four TCP streams, the other way
    Tcp4Back,
    /// Sixteen TCP streams, the other way
    Tcp16Back,
    /// Two TCP streams each way at once
    Tcp4Both,
    /// Datagrams of 64 bytes
    Udp64,
    /// Datagrams of 512 bytes
    Udp512,
    /// Datagrams that fill the interface
    UdpFull,
    /// A byte there and a byte back on one TCP connection
    Rr1,
    /// The same on sixteen connections at once
    Rr16,
    /// TCP connections, each for one question and one answer
    Connections,
    /// ICMP echo while nothing else happens
    Ping,
    /// ICMP echo beside one TCP stream at full speed
    PingLoaded,
}

/// What the numbers of a measure mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meaning {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    /// What `second` of a sample is, if it is anything.
    pub(super) second: Option<&'static str>,
    /// The unit of its cost in processor time.
    pub(super) cost: &'static str,
    /// What events are counted for, and how many units that is.
    pub(super) events: (&'static str, f64),
    pub(super) less_is_better: bool,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) value: f64,
    pub(super) second: f64,
    /// Processor time for each unit that came through, of all who had to do with it.
    pub(super) cost: f64,
    /// The part of it that the programs on the way took.
    pub(super) of_path: f64,
    /// The part of the machine that others used meanwhile, from 0 to 1.
    pub(super) others: f64,
    /// Of each kind, so many for what the meaning says.
    pub(super) events: [f64; Kind::ALL.len()],
}

impl Measure {
    pub(super) fn meaning(self) -> Meaning {
        const LOSS: Option<&str> = Some("lost, %");
        const LATE: Option<&str> = Some("99th percentile, µs");
        let bulk = |title| (title, "Gbit/s", None, "ns/byte");
        let small = |title| (title, "packets/s", LOSS, "µs/packet");
        let asks = |title| (title, "per second", LATE, "µs each");
        let echo = |title| (title, "µs", LATE, "µs each");
        let (title, unit, second, cost) = match self {
            Self::Tcp1 => bulk("TCP, 1 stream"),
            Self::Tcp4 => bulk("TCP, 4 streams"),
            Self::Tcp16 => bulk("TCP, 16 streams"),
            Self::Tcp1Back => bulk("TCP, 1 stream back"),
            Self::Tcp4Back => bulk("TCP, 4 streams back"),
            Self::Tcp16Back => bulk("TCP, 16 streams back"),
            Self::Tcp4Both => bulk("TCP, 2 and 2 streams"),
            Self::Udp64 => small("UDP, 64 bytes"),
            Self::Udp512 => small("UDP, 512 bytes"),
            Self::UdpFull => small("UDP, full size"),
            Self::Rr1 => asks("requests, 1 flow"),
            Self::Rr16 => asks("requests, 16 flows"),
            Self::Connections => asks("connections"),
            Self::Ping => echo("ping, idle, median"),
            Self::PingLoaded => echo("ping under load, median"),
        };
        let events = match cost {
            "ns/byte" => ("for each MB", 1e6),
            "µs/packet" => ("for each packet", 1.0),
            _each => ("for each", 1.0),
        };
        let less_is_better = matches!(self, Self::Ping | Self::PingLoaded);
        Meaning { title, unit, second, cost, events, less_is_better }
    }

    fn start(self, lane: &Lane) -> Result<Load> {
        match self {
            Self::Tcp1 => traffic::bulk(lane, (1, Direction::There)),
            Self::Tcp4 => traffic::bulk(lane, (4, Direction::There)),
            Self::Tcp16 => traffic::bulk(lane, (16, Direction::There)),
            Self::Tcp1Back => traffic::bulk(lane, (1, Direction::Back)),
            Self::Tcp4Back => traffic::bulk(lane, (4, Direction::Back)),
            Self::Tcp16Back => traffic::bulk(lane, (16, Direction::Back)),
            Self::Tcp4Both => traffic::bulk(lane, (4, Direction::Both)),
            Self::Udp64 => traffic::datagrams(lane, 64),
            Self::Udp512 => traffic::datagrams(lane, 512),
            Self::UdpFull => traffic::datagrams(lane, lane.mtu - HEADERS),
            Self::Rr1 => traffic::requests(lane, 1),
            Self::Rr16 => traffic::requests(lane, 16),
            Self::Connections => traffic::connections(lane),
            Self::Ping => ping::ping(lane, 0),
            Self::PingLoaded => ping::ping(lane, 1),
        }
    }

    /// A lost echo must not be all that is seen.
    fn at_least(self) -> Duration {
        match self {
            Self::Ping | Self::PingLoaded => Duration::from_secs(1),
            _many => Duration::ZERO,
        }
    }

    /// Measures once.
    pub(super) fn take(self, lane: &Lane, watch: &mut Watch, length: Duration) -> Result<Sample> {
        let load = self.start(lane)?;
        pace(WARM_UP);
        let tally = load.tally();
        let before = (watch.read(&lane.programs)?, tally.arrived(), tally.sent());
        tally.count(true);
        pace(length.max(self.at_least()));
        tally.count(false);
        let after = (watch.read(&lane.programs)?, tally.arrived(), tally.sent());
        let took = load.finish()?;
        pace(REST);
        let (arrived, sent) = (number(after.1 - before.1), number(after.2 - before.2));
        ensure!(arrived > 0.0, "nothing came through");
        Ok(self.sample(after.0.since(&before.0), (arrived, sent), &took))
    }

    fn sample(self, used: Used, (arrived, sent): (f64, f64), took: &[u64]) -> Sample {
        let rate = arrived / used.wall.as_secs_f64();
        let each = |time: Duration| time.as_secs_f64() / arrived;
        let (cost, of_path) = (each(used.by_all), each(used.by_path));
        let microseconds = |share| percentile(took, share) / 1e3;
        let (value, second, scale) = match self.meaning().unit {
            "Gbit/s" => (rate * 8.0 / 1e9, 0.0, 1e9),
            "packets/s" => (rate, 100.0 * (1.0 - arrived / sent).max(0.0), 1e6),
            "µs" => (microseconds(0.5), microseconds(0.99), 1e6),
            _asks => (rate, microseconds(0.99), 1e6),
        };
        let others = used.by_others;
        let events = counted(used.events, arrived / self.meaning().events.1);
        Sample { value, second, cost: cost * scale, of_path: of_path * scale, others, events }
    }
}

fn counted(counts: Counts, units: f64) -> [f64; Kind::ALL.len()] {
    counts.map(|count| number(count) / units)
}

/// Of sorted numbers; 0 where there are none.
fn percentile(sorted: &[u64], share: f64) -> f64 {
    let last = number(sorted.len().saturating_sub(1) as u64);
    let wanted = (last * share).round();
    let found = sorted.iter().enumerate().find(|(at, _)| number(*at as u64) >= wanted);
    found.map_or(0.0, |(_, value)| number(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let hundred: Vec<u64> = (0..=100).collect();
        for (share, wanted) in [(0.0, 0.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            assert!((percentile(&hundred, share) - wanted).abs() < 1e-9, "{share}");
        }
        assert!(percentile(&[], 0.5).abs() < 1e-9);
    }

    #[test]
    fn what_counts_becomes_rates_and_costs() {
        let used = Used {
            wall: Duration::from_secs(2),
            by_all: Duration::from_secs(3),
            by_path: Duration::from_secs(1),
            by_others: 0.25,
            events: [0, 2_000_000_000, 50],
        };
        let bulk = Measure::Tcp1.sample(used, (1e9, 0.0), &[]);
        assert!((bulk.value - 4.0).abs() < 1e-9 && (bulk.cost - 3.0).abs() < 1e-9, "{bulk:?}");
        assert!((bulk.events[1] - 2e6).abs() < 1e-3, "for each of 1000 MB");
        let small = Measure::Udp64.sample(used, (100.0, 400.0), &[]);
        assert!((small.value - 50.0).abs() < 1e-9 && (small.second - 75.0).abs() < 1e-9);
        assert!((small.events[2] - 0.5).abs() < 1e-9, "for each packet");
        let echo = Measure::Ping.sample(used, (3.0, 3.0), &[1000, 2000, 9000]);
        assert!((echo.value - 2.0).abs() < 1e-9 && (echo.second - 9.0).abs() < 1e-9);
    }
}
