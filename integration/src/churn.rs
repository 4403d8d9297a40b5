//! A soak of the data path of `udp`: two hosts under full load, while others come and go in etcd.
//!
//! ```text
//!   node1: etcd, twilld, pod ◄══ TCP both ways, datagrams both ways ══► pod, twilld :node2
//!                         │
//!                         └──── datagrams to strangers, of whom there is nothing but a lease
//!   etcd: strangers come, go, move, in crowds and one by one
//! ```
//!
//! Every byte of the streams is compared, every datagram that arrives too, and the kernels count packets
//! whose checksums are wrong: there may be none. Streams may not stand still for longer than `STALL`,
//! unless this machine stood still as well. In the end both agents have as many file descriptors and
//! threads as before, and not more than `GROWTH` of memory in addition.

pub(crate) mod command;
mod datagrams;
mod pulse;
mod report;
mod strangers;
mod vitals;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::container::Endpoint;
use crate::fabric::{Backend, Fabric};
use crate::flow::Flow;
use crate::host::Host;
use crate::lab::Lab;
use crate::wait::{pace, wait_until};

use datagrams::Datagrams;
use pulse::Pulse;
use strangers::Strangers;
use vitals::Vitals;

pub use report::Report;

/// Four retransmissions of TCP lost in a row: 0.2, 0.4, 0.8 and 1.6 seconds.
const STALL: Duration = Duration::from_secs(3);

/// What an agent's memory may differ by between two moments without traffic and strangers, in KiB.
const GROWTH: u64 = 4096;

/// Threads that an agent's pool may keep for its next work at one moment and not at the other.
const POOL: u64 = 4;

/// How many streams there are each way.
const STREAMS: usize = 2;

/// How long everything may take to be as before.
const SETTLES: Duration = Duration::from_mins(1);

/// From one look at the streams to the next.
const LOOK: Duration = Duration::from_secs(1);

/// A soak to come.
#[derive(Clone, Copy, Debug)]
pub struct Churn {
    /// How much of it.
    pub length: Length,
    /// Which one it is.
    pub seed: u64,
    /// Who carries the packets of `udp`.
    pub carrier: Carrier,
}

/// Who carries the packets of `udp`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Carrier {
    /// The agent.
    UserSpace,
    /// The kernel, but for what is not ordinary.
    Shortcut,
}

/// How much of a soak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Length {
    /// Some seconds, on a machine that may have other things to do: how long streams stand still is told
    /// and is no reason to fail.
    Short(Duration),
    /// For so long; no stream stands still for long without a reason.
    Lasting(Duration),
}

/// How streams have stood still.
#[derive(Clone, Copy, Debug, Default)]
struct Stalls {
    longest: Duration,
    /// Longer than the limit.
    count: u32,
    /// Of these, while the whole machine did.
    explained: u32,
}

/// The two hosts and what is between them.
struct World {
    fabric: Fabric,
    pods: [Endpoint; 2],
}

impl Churn {
    /// Lets it happen in a lab of its own, of which `made` is told. Each line for `say` is about what
    /// happened just now.
    ///
    /// # Errors
    /// When a byte is wrong, a stream stands still, or anything is left at the end.
    pub fn run(self, made: impl FnOnce(&Lab) -> Result<()>, say: &dyn Fn(&str)) -> Result<Report> {
        let mut world = World::new(self.carrier, made)?;
        let own =
            [1, 2].map(|number| world.fabric.subnet(number).map(|own| own.subnet.to_string()));
        let own = own.into_iter().collect::<Result<Vec<_>>>()?;
        let etcd = world.fabric.node(1).clone();
        // Tables, buffers and stacks have been as big once as they will ever be.
        let first = Duration::from_secs(2);
        world.load(first, &mut Stalls::default(), &|_line| ())?;
        let strangers = Strangers::start((&etcd, &own), &world.pods[0], self.seed)?;
        world.load(first, &mut Stalls::default(), &|_line| ())?;
        strangers.finish()?;
        world.settles()?;
        let before = world.vitals()?;

        let (start, mut stalls) = (Instant::now(), Stalls::default());
        let strangers = Strangers::start((&etcd, &own), &world.pods[0], self.seed)?;
        let (Length::Short(length) | Length::Lasting(length)) = self.length;
        let carried = world.load(length, &mut stalls, say)?;
        let events = strangers.finish()?;
        let took = start.elapsed();
        world.settles()?;
        let after = world.settled(&before)?;
        world.finish()?;
        let strict = matches!(self.length, Length::Lasting(_));
        let report = Report { churn: self, took, carried, events, stalls, before, after };
        ensure!(!strict || stalls.count == stalls.explained, "streams stood still:\n{report}");
        Ok(report)
    }
}

impl Carrier {
    fn backend(self) -> Backend {
        match self {
            Self::UserSpace => Backend::Udp,
            Self::Shortcut => Backend::UdpShortcut,
        }
    }
}

impl World {
    fn new(carrier: Carrier, made: impl FnOnce(&Lab) -> Result<()>) -> Result<Self> {
        let fabric = Fabric::with_agents(2, carrier.backend())?;
        made(fabric.lab())?;
        let [one, two] = [1, 2].map(|number| Endpoint::pod(fabric.node(number), "pod"));
        Ok(Self { fabric, pods: [one?, two?] })
    }

    /// Full load for so long; answers how many bytes the streams, and which datagrams, have carried.
    fn load(
        &self,
        length: Duration,
        stalls: &mut Stalls,
        say: &dyn Fn(&str),
    ) -> Result<(u64, datagrams::Count)> {
        let [one, two] = &self.pods;
        let ways = (0..STREAMS).flat_map(|_stream| [(one, two), (two, one)]);
        let flows: Vec<Flow> =
            ways.map(|(from, to)| Flow::start(from, to)).collect::<Result<_>>()?;
        let datagrams = [Datagrams::start(one, two)?, Datagrams::start(two, one)?];
        let pulse = Pulse::start();
        let (start, mut told) = (Instant::now(), 0);
        while start.elapsed() < length {
            pace(LOOK.min(length.saturating_sub(start.elapsed())));
            stalls.note(&flows, pulse.take());
            let minutes = start.elapsed().as_secs() / 60;
            if minutes > told {
                told = minutes;
                let arrived: u64 = flows.iter().map(Flow::arrived).sum();
                say(&format!("{minutes} min: {} MiB, {stalls}", arrived >> 20));
            }
        }
        let arrived = flows.into_iter().map(Flow::finish).sum::<Result<u64>>()?;
        let [there, back] = datagrams.map(Datagrams::finish);
        Ok((arrived, there?.and(back?)))
    }

    /// Waits until nobody but the two hosts is known, and looks whether a kernel has seen anything broken.
    fn settles(&self) -> Result<()> {
        self.fabric.meet(2)?;
        for pod in &self.pods {
            let own = ["cat", "/proc/net/snmp"];
            let network = format!("--net={}", pod.network);
            let inside = ["nsenter", &network].into_iter().chain(own);
            broken(&pod.host, &pod.host.ok(own)?)?;
            broken(&pod.host, &pod.host.ok(inside)?)?;
        }
        Ok(())
    }

    fn vitals(&mut self) -> Result<[Vitals; 2]> {
        Ok([Vitals::of(self.fabric.agent(1)?.pid())?, Vitals::of(self.fabric.agent(2)?.pid())?])
    }

    /// Waits until both agents have no more of anything than `before`.
    fn settled(&mut self, before: &[Vitals; 2]) -> Result<[Vitals; 2]> {
        let (mut last, limit) = (*before, SETTLES);
        let settled = wait_until("the agents are as before", limit, || {
            let now = self.vitals();
            last = now.as_ref().map_or(last, |now| *now);
            now.is_ok_and(|now| now.iter().zip(before).all(|(now, before)| now.fits(before)))
        });
        settled.with_context(|| format!("before: {before:?}, now: {last:?}"))?;
        Ok(last)
    }

    fn finish(self) -> Result<()> {
        let Self { fabric, pods } = self;
        pods.into_iter().try_for_each(Endpoint::remove_pod)?;
        fabric.finish()
    }
}

impl Stalls {
    /// `pulse` is the longest time for which this machine kept a thread waiting that only slept.
    fn note(&mut self, flows: &[Flow], pulse: Duration) {
        for silence in flows.iter().map(Flow::take_silence) {
            self.longest = self.longest.max(silence);
            if silence > STALL {
                self.count += 1;
                self.explained += u32::from(silence.saturating_sub(pulse) <= STALL);
            }
        }
    }
}

/// Fails if the kernel has counted a packet with a wrong checksum or header (/proc/net/snmp).
fn broken(host: &Host, table: &str) -> Result<()> {
    let lines: Vec<&str> = table.lines().collect();
    for pair in lines.chunks(2) {
        let [names, values] = pair else { continue };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            let is_bad = matches!(name, "InCsumErrors" | "InHdrErrors") && value != "0";
            ensure!(!is_bad, "{}: {name} is {value}: {names}\n{values}", host.name());
        }
    }
    Ok(())
}
