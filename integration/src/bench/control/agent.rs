//! The agent under measurement: what it is given, and what that costs its host.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use twill_core::device::IfIndex;
use twill_net::Kernel;
use twill_net::blocking::{self, Route};
use twill_net::kernel::Event;

use super::cost::{self, Cost, Trace};
use super::leases::{Leases, NETWORK, UNDERLAY};
use super::{ROUNDS, TRACED, Way};
use crate::fabric::Fabric;
use crate::guardian::Stop;
use crate::host::Host;
use crate::process::Daemon;
use crate::wait::{probe, wait_until};
use crate::{etcd, http, rights};

/// How long the agent may take for anything with the most peers.
const LIMIT: Duration = Duration::from_mins(2);

/// In seconds: no timer of that kind goes off while we measure.
const NEVER: &str = "86400";

/// Where strace writes on the host.
const SUMMARY: &str = "/run/strace";

/// What an earlier agent would have left on the host.
const LAST_TIME: &str = "FLANNEL_NETWORK=10.64.0.0/10\nFLANNEL_SUBNET=10.127.0.1/24\n\
                         FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n";

/// What the agent says of its looks at rows and at the firewall.
const LOOKS: &str = "twill_reconcile_duration_seconds_count";
const LOOKED: &str = "twill_reconcile_duration_seconds_sum";
const FIREWALL: &str = "twill_firewall_checks_total{outcome=\"unchanged\"}";

/// etcd on node1, the agent on node2, and node3 for what flannel's design costs.
pub(super) struct Stand {
    // The agent goes first.
    agent: Option<Daemon>,
    fabric: Fabric,
    way: Way,
    /// So many reasons to look there were.
    trifles: u8,
}

impl Stand {
    /// A network without peers, and no agent yet.
    pub(super) fn new(way: Way) -> Result<Self> {
        let mut fabric = Fabric::bare(3)?;
        fabric.start_etcd()?;
        fabric.ctl(&["network", "init", "--network", NETWORK, "--backend", way.name()])?;
        for number in [2, 3] {
            // With host-gw peers have to be on the link.
            fabric.node(number).ok(["ip", "route", "add", UNDERLAY, "dev", "eth0"])?;
        }
        // The subnet of last time, which no peer has.
        let directory = fabric.node(2).path("/run/flannel");
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("subnet.env"), LAST_TIME)?;
        Ok(Self { agent: None, fabric, way, trifles: 0 })
    }

    pub(super) fn way(&self) -> Way {
        self.way
    }

    pub(super) fn stop(&self) -> Result<Stop> {
        self.fabric.lab().stop()
    }

    /// The host without an agent.
    pub(super) fn bare(&self) -> &Host {
        self.fabric.node(3)
    }

    pub(super) fn finish(self) -> Result<()> {
        let Self { agent, fabric, .. } = self;
        drop(agent);
        fabric.finish()
    }

    /// So many peers, from the first.
    pub(super) fn fill(&self, peers: usize) -> Result<()> {
        let way = self.way;
        self.on_the_host(|runtime| {
            runtime.block_on(async { Leases::new(way).await?.put(1..peers + 1).await })
        })
    }

    /// A start on a host whose kernel knows nobody, until nothing happens any more. The agent runs
    /// afterwards.
    pub(super) fn starts(&mut self) -> Result<Cost> {
        let mut traced = Vec::new();
        for _round in 0..TRACED {
            // Not as its parent, who would keep signals from it.
            self.restart(&["strace", "-D", "-f", "-c", "-o", SUMMARY], NEVER)?;
            self.end()?;
            let summary = self.host().path(SUMMARY);
            let (counts, _took) =
                probe("strace has counted", LIMIT, || cost::counts_in(&summary).ok())?;
            traced.push(counts);
            fs::remove_file(summary)?;
        }
        let mut plain = Vec::new();
        for _round in 0..ROUNDS {
            plain.push(self.restart(&[], NEVER)?);
        }
        Ok(cost::both(&plain, &traced))
    }

    /// One more peer than `peers`.
    pub(super) fn joins(&mut self, peers: usize) -> Result<Cost> {
        self.come_or_go(peers + 1, true)
    }

    /// One more peer than `peers` goes.
    pub(super) fn leaves(&mut self, peers: usize) -> Result<Cost> {
        self.come_or_go(peers + 1, false)
    }

    fn come_or_go(&self, number: usize, comes: bool) -> Result<Cost> {
        let mut traced = Vec::new();
        for _round in 0..TRACED {
            self.write(number, !comes)?;
            cost::quiet(self.host())?;
            let trace = self.trace()?;
            self.write_and_see(number, comes)?;
            cost::quiet(self.host())?;
            traced.push(trace.end()?);
        }
        let mut plain = Vec::new();
        for _round in 0..ROUNDS {
            self.write(number, !comes)?;
            let before = cost::quiet(self.host())?;
            let wall = self.write_and_see(number, comes)?;
            let cpu = cost::quiet(self.host())?.saturating_sub(before);
            plain.push(Cost { wall, cpu, ..Cost::default() });
        }
        Ok(cost::both(&plain, &traced))
    }

    /// A look at everything, because of something that is none of the agent's business.
    pub(super) fn looks(&mut self) -> Result<Cost> {
        let mut traced = Vec::new();
        for _round in 0..TRACED {
            cost::quiet(self.host())?;
            let trace = self.trace()?;
            self.give_a_reason()?;
            cost::quiet(self.host())?;
            traced.push(trace.end()?);
        }
        let mut plain = Vec::new();
        for _round in 0..ROUNDS {
            let [looks, looked] = [self.says(LOOKS)?, self.says(LOOKED)?];
            let before = cost::quiet(self.host())?;
            self.give_a_reason()?;
            let cpu = cost::quiet(self.host())?.saturating_sub(before);
            let seen = self.says(LOOKS)? - looks;
            ensure!((seen - 1.0).abs() < 0.5, "the agent looked {seen} times for one reason");
            let wall = Duration::from_secs_f64(self.says(LOOKED)? - looked);
            plain.push(Cost { wall, cpu, ..Cost::default() });
        }
        Ok(cost::both(&plain, &traced))
    }

    /// A look at the firewall with nothing to do, by its timer. Its wall is not known.
    pub(super) fn firewall(&mut self) -> Result<Cost> {
        self.restart(&[], "1")?;
        let trace = self.trace()?;
        let looks = self.ten_looks()?;
        let traced = trace.end()?.divided(looks);
        let before = cost::cpu(self.host())?;
        let looks = self.ten_looks()?;
        let cpu = cost::cpu(self.host())?.saturating_sub(before);
        let plain = Cost { cpu, ..Cost::default() }.divided(looks);
        Ok(cost::both(&[plain], &[traced]))
    }

    /// As many looks at the firewall as pass in ten seconds.
    fn ten_looks(&self) -> Result<usize> {
        let (before, start) = (self.says(FIREWALL)?, Instant::now());
        let time = Duration::from_secs(10);
        wait_until("time passes", time * 2, || start.elapsed() > time)?;
        let looks = self.says(FIREWALL)? - before;
        ensure!(looks >= 1.0, "the agent did not look at the firewall");
        Ok(format!("{looks:.0}").parse()?)
    }

    fn host(&self) -> &Host {
        self.fabric.node(2)
    }

    fn agent(&self) -> Result<&Daemon> {
        self.agent.as_ref().context("no agent runs")
    }

    fn trace(&self) -> Result<Trace> {
        Trace::of(self.agent()?.pid(), self.host().path(SUMMARY))
    }

    /// Ends the agent, makes the kernel forget what it wrote, and starts it again; until nothing happens.
    fn restart(&mut self, tracer: &[&str], firewall: &str) -> Result<Cost> {
        self.end()?;
        self.forget()?;
        let bounds = rights::of_unit(rights::AGENT)?;
        let program = ["twilld", "--etcd-endpoints", etcd::ENDPOINT, "--subnet-hook=none"];
        let timers = ["--resync", NEVER, "--iptables-resync", firewall];
        let bounds = bounds.iter().map(String::as_str);
        let words = tracer.iter().copied().chain(bounds).chain(program).chain(timers);
        let (before, start) = (cost::cpu(self.host())?, Instant::now());
        let agent = self.host().spawn("twilld", words)?;
        wait_until("the agent is ready", LIMIT, || {
            !agent.is_running() || agent.transcript().contains("bootstrap done")
        })?;
        ensure!(agent.is_running(), "twilld ended: {}", agent.transcript());
        let wall = start.elapsed();
        self.agent = Some(agent);
        let cpu = cost::quiet(self.host())?.saturating_sub(before);
        Ok(Cost { wall, cpu, ..Cost::default() })
    }

    fn end(&mut self) -> Result<()> {
        match self.agent.take() {
            Some(agent) => agent.terminate(LIMIT).map(drop),
            None => Ok(()),
        }
    }

    fn forget(&self) -> Result<()> {
        self.host().sh("ip link del flannel.1 2>/dev/null; ip route flush proto 84; \
             nft delete table ip twill-peers 2>/dev/null; true")?;
        Ok(())
    }

    /// What a line of `/metrics` says.
    fn says(&self, series: &str) -> Result<f64> {
        let socket = self.host().path("/run/twill/agent.sock");
        let stream = std::os::unix::net::UnixStream::connect(socket)?;
        let (_code, text) = http::get(stream, "/metrics")?;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no {series} in /metrics"))?.parse()?)
    }

    /// A route of somebody else's on the uplink.
    fn give_a_reason(&mut self) -> Result<()> {
        self.trifles += 1;
        let destination = format!("198.18.{}.0/24", self.trifles).parse()?;
        self.host().within(|| {
            let mut kernel = blocking::Kernel::here()?;
            let link = kernel.link("eth0")?.map(|link| link.index);
            Ok(kernel.put_route(Route { destination, gateway: None, link, protocol: 4 })?)
        })
    }

    /// The lease of that peer is there, or not.
    fn write(&self, number: usize, there: bool) -> Result<()> {
        let way = self.way;
        self.on_the_host(|runtime| {
            runtime.block_on(async { write(&mut Leases::new(way).await?, number, there).await })
        })
    }

    /// The same, until the kernel has its route, or has it no more. Answers how long that took.
    fn write_and_see(&self, number: usize, there: bool) -> Result<Duration> {
        let way = self.way;
        self.on_the_host(|runtime| {
            let device = blocking::Kernel::here()?.link(way.device())?;
            let device = device.context("no device")?.index;
            runtime.block_on(async {
                let mut leases = Leases::new(way).await?;
                let mut events = Kernel::events()?;
                let start = Instant::now();
                write(&mut leases, number, there).await?;
                timeout(LIMIT, route_through(device, &mut events)).await??;
                Ok(start.elapsed())
            })
        })
    }

    fn on_the_host<T: Send>(&self, work: impl FnOnce(&Runtime) -> Result<T> + Send) -> Result<T> {
        self.host().within(|| work(&Builder::new_current_thread().enable_all().build()?))
    }
}

async fn write(leases: &mut Leases, number: usize, there: bool) -> Result<()> {
    if there { leases.put(number..number + 1).await } else { leases.delete(number).await }
}

async fn route_through(device: IfIndex, events: &mut twill_net::kernel::Events) -> Result<()> {
    while events.next().await? != Event::Route(device) {}
    Ok(())
}
