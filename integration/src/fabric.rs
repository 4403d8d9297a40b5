//! A lab with the whole of Twill on it: etcd on node1, the network's configuration, an agent and
//! the image on every host.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use twill_core::status::Status;
use twill_core::subnet_env::SubnetEnv;

use crate::container::Endpoint;
use crate::etcd;
use crate::host::Host;
use crate::image;
use crate::lab::Lab;
use crate::process::Daemon;
use crate::wait::wait_until;

/// The overlay network of the course.
pub const NETWORK: &str = "10.88.0.0/16";

/// Where the agent says which subnet the host has.
pub const SUBNET_FILE: &str = "/run/flannel/subnet.env";

/// The line of its log, which flanneld has too.
const READY_WORDS: &str = "bootstrap done";

/// How long an agent may take to be ready on a busy machine.
const READY: Duration = Duration::from_secs(20);

/// How packets travel between hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Backend {
    /// Through a TUN device and a user-space process, flannel's default.
    Udp,
    /// By the kernel.
    Vxlan,
}

/// See the module's own words. Dropping it takes everything down.
#[derive(Debug)]
pub struct Fabric {
    agents: BTreeMap<String, Daemon>,
    etcd: Option<Daemon>,
    lab: Lab,
}

impl Backend {
    /// The word for it in configurations and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Vxlan => "vxlan",
        }
    }

    /// The tunnel's device.
    pub fn device(self) -> &'static str {
        match self {
            Self::Udp => "flannel0",
            Self::Vxlan => "flannel.1",
        }
    }

    /// What a container's interface carries on an underlay of 1500 bytes.
    pub fn mtu(self) -> usize {
        match self {
            Self::Udp => 1472,
            Self::Vxlan => 1450,
        }
    }
}

impl Fabric {
    /// Hosts and nothing running on them.
    ///
    /// As on a host where Docker runs, the policy of the FORWARD chain is DROP: what the agent
    /// promises, it has to open itself.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn bare(hosts: usize) -> Result<Self> {
        let lab = Lab::new(hosts)?;
        image::write(&lab.share().join("busybox.tar"))?;
        lab.hosts().try_for_each(drop_forwarded)?;
        Ok(Self { agents: BTreeMap::new(), etcd: None, lab })
    }

    /// Everything up and ready, on `hosts` hosts, and the image on each.
    ///
    /// # Errors
    /// When a part does not come up.
    pub fn start(hosts: usize, backend: Backend) -> Result<Self> {
        let fabric = Self::with_agents(hosts, backend)?;
        fabric.lab.hosts().try_for_each(Endpoint::import_image)?;
        Ok(fabric)
    }

    /// As [`Fabric::start`], but without the image: for what needs no container.
    ///
    /// # Errors
    /// When a part does not come up.
    pub fn with_agents(hosts: usize, backend: Backend) -> Result<Self> {
        let mut fabric = Self::bare(hosts)?;
        fabric.start_etcd()?;
        fabric.init_network(backend)?;
        for number in 1..=hosts {
            fabric.start_agent(number)?;
        }
        fabric.meet(hosts)?;
        Ok(fabric)
    }

    /// Waits until the agents of the first `hosts` hosts have each other in their kernels.
    ///
    /// # Errors
    /// When they do not find together.
    pub fn meet(&self, hosts: usize) -> Result<()> {
        for number in 1..=hosts {
            let host = self.node(number);
            let what = format!("{} has {} peers", host.name(), hosts - 1);
            wait_until(&what, READY, || {
                let said = host.ok(["twillctl", "status", "-o", "json"]).unwrap_or_default();
                let status: Option<Status> = serde_json::from_str(&said).ok();
                status.is_some_and(|s| s.peers.len() == hosts - 1 && s.pending.is_empty())
            })?;
        }
        Ok(())
    }

    /// Adds one more host, with the image and without an agent.
    ///
    /// # Errors
    /// As [`Lab::add_host`].
    pub fn add_host(&mut self) -> Result<Host> {
        let host = self.lab.add_host()?;
        drop_forwarded(&host)?;
        Endpoint::import_image(&host)?;
        Ok(host)
    }

    /// The lab below.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The host number `number`, counted from 1.
    pub fn node(&self, number: usize) -> &Host {
        self.lab.node(number)
    }

    /// Starts etcd on node1.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_etcd(&mut self) -> Result<()> {
        self.etcd = Some(etcd::start(self.node(1))?);
        Ok(())
    }

    /// Kills etcd; its data stays.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop_etcd(&mut self) -> Result<()> {
        self.etcd.take().context("etcd does not run")?.kill()
    }

    /// Writes the network's configuration; one that is there is replaced.
    ///
    /// # Errors
    /// When `twillctl` refuses.
    pub fn init_network(&self, backend: Backend) -> Result<()> {
        let command = ["twillctl", "network", "init", "--network", NETWORK, "--force"];
        self.node(1).ok(command.iter().chain(&["--backend", backend.name()]))?;
        Ok(())
    }

    /// Starts the agent of a host and waits until it says that it is ready, with subnet.env in
    /// place. Answers how long that took.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_agent(&mut self, number: usize) -> Result<Duration> {
        let host = self.node(number).clone();
        let file = host.path(SUBNET_FILE);
        let start = Instant::now();
        let agent = self.spawn_agent(&host)?;
        wait_until("the agent is ready", READY, || {
            !agent.is_running() || file.exists() && agent.transcript().contains(READY_WORDS)
        })?;
        let took = start.elapsed();
        if !agent.is_running() {
            anyhow::bail!("{}: twilld ended: {}", host.name(), agent.transcript());
        }
        self.agents.insert(host.name().to_owned(), agent);
        Ok(took)
    }

    /// Starts the agent of a host and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_agent(&self, host: &Host) -> Result<Daemon> {
        host.spawn("twilld", ["twilld", "--etcd-endpoints", etcd::ENDPOINT])
    }

    /// The running agent of a host.
    ///
    /// # Errors
    /// When there is none.
    pub fn agent(&mut self, number: usize) -> Result<&mut Daemon> {
        let name = format!("node{number}");
        self.agents.get_mut(&name).with_context(|| format!("no agent runs on {name}"))
    }

    /// Ends the agent of a host: with SIGKILL as a crash does, or as systemd does.
    ///
    /// # Errors
    /// When there is none, or it had ended, or it does not end.
    pub fn stop_agent(&mut self, number: usize, signal: Signal) -> Result<()> {
        let name = format!("node{number}");
        let agent = self.agents.remove(&name).with_context(|| format!("no agent on {name}"))?;
        match signal {
            Signal::SIGKILL => agent.kill(),
            _ => agent.terminate(Duration::from_secs(10)).map(drop),
        }
    }

    /// What the agent of a host has published.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be read.
    pub fn subnet(&self, number: usize) -> Result<SubnetEnv> {
        let text = fs::read_to_string(self.node(number).path(SUBNET_FILE))?;
        SubnetEnv::parse(&text).with_context(|| format!("in {SUBNET_FILE}"))
    }

    /// Takes everything down, and fails if anything is still on this machine.
    ///
    /// # Errors
    /// Then.
    pub fn finish(self) -> Result<()> {
        let Self { agents, etcd, lab } = self;
        drop((agents, etcd));
        lab.finish()
    }

    /// Leaves everything standing when this process goes, the daemons too.
    ///
    /// # Errors
    /// When the guardian is gone.
    pub fn keep(self) -> Result<()> {
        let Self { agents, etcd, lab } = self;
        agents.into_values().chain(etcd).for_each(Daemon::leave);
        lab.keep()
    }
}

fn drop_forwarded(host: &Host) -> Result<()> {
    host.ok(["iptables", "-P", "FORWARD", "DROP"]).map(drop)
}
