//! A lab with the whole of Twill on it: etcd on node1, the network's configuration, an agent and
//! the image on every host.

mod agents;
mod backend;

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use twill_core::status::Status;
use twill_core::subnet_env::SubnetEnv;

use crate::container::Endpoint;
use crate::etcd::{self, Cluster};
use crate::host::Host;
use crate::image;
use crate::lab::{Lab, address};
use crate::process::Daemon;
use crate::status::status;
use crate::wait::wait_until;

pub use backend::Backend;

/// The overlay network of the course.
pub const NETWORK: &str = "10.88.0.0/16";

/// Where the agent says which subnet the host has.
pub const SUBNET_FILE: &str = "/run/flannel/subnet.env";

/// How long an agent may take to be ready on a busy machine.
const READY: Duration = Duration::from_secs(20);

/// See the module's own words. Dropping it takes everything down.
#[derive(Debug)]
pub struct Fabric {
    agents: BTreeMap<String, Daemon>,
    /// What every agent is told besides where etcd is.
    options: Vec<String>,
    /// Which of the rights of their unit they lack.
    denied: Option<&'static str>,
    /// What systemd is to the hooks of the agents, a process for each host that had one.
    managers: Mutex<BTreeMap<String, Daemon>>,
    etcd: Option<Daemon>,
    cluster: Option<Cluster>,
    lab: Lab,
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
        let (agents, options) = (BTreeMap::new(), Vec::new());
        let (managers, denied) = (Mutex::default(), None);
        Ok(Self { agents, options, denied, managers, etcd: None, cluster: None, lab })
    }

    /// The same, of hosts that know each other by IPv6 as well: the first one is `fd00:140::1`.
    ///
    /// # Errors
    /// As [`Self::bare`].
    pub fn bare_of_both(hosts: usize) -> Result<Self> {
        let fabric = Self::bare(hosts)?;
        for (number, host) in (1..).zip(fabric.lab.hosts()) {
            let address = format!("fd00:140::{number}/64");
            host.ok(["ip", "address", "add", &address, "dev", "eth0", "nodad"])?;
            host.ok(["ip6tables", "-P", "FORWARD", "DROP"])?;
        }
        Ok(fabric)
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
        Self::with_agents_told(hosts, backend, &[])
    }

    /// The same, with more options for the agents.
    ///
    /// # Errors
    /// When one of them does not get ready.
    pub fn with_agents_told(hosts: usize, backend: Backend, options: &[&str]) -> Result<Self> {
        let mut fabric = Self::bare(hosts)?;
        fabric.give_agents(&[options, backend.options()].concat());
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
        (1..=hosts).try_for_each(|number| self.knows(number, hosts - 1))
    }

    /// Waits until the agent of a host has so many others in its kernel.
    ///
    /// # Errors
    /// When it does not find them.
    pub fn knows(&self, number: usize, peers: usize) -> Result<()> {
        let host = self.node(number);
        let all = |status: Status| status.peers.len() == peers && status.pending.is_empty();
        let what = format!("{} has {peers} peers", host.name());
        wait_until(&what, READY, || status(host).is_ok_and(all)).map(drop)
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

    /// Starts an etcd of three members on the first three hosts, in place of the single one.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_cluster(&mut self) -> Result<()> {
        let member = |number| (self.node(number).clone(), address(number));
        self.cluster = Some(Cluster::start((1..=3).map(member))?);
        Ok(())
    }

    /// The etcd of three members.
    ///
    /// # Errors
    /// When there is none.
    pub fn cluster(&mut self) -> Result<&mut Cluster> {
        self.cluster.as_mut().context("etcd runs alone, or not at all")
    }

    /// Where clients find etcd, all of its members.
    pub fn endpoints(&self) -> String {
        let of_cluster = |cluster: &Cluster| cluster.endpoints().join(",");
        self.cluster.as_ref().map_or_else(|| etcd::ENDPOINT.to_owned(), of_cluster)
    }

    /// Kills etcd; its data stays.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop_etcd(&mut self) -> Result<()> {
        self.etcd.take().context("etcd does not run")?.kill()
    }

    /// Sends etcd a signal: SIGSTOP is an etcd that hears and does not answer.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal_etcd(&self, signal: Signal) -> Result<()> {
        self.etcd.as_ref().context("etcd does not run")?.signal(signal)
    }

    /// Writes the network's configuration; one that is there is replaced.
    ///
    /// # Errors
    /// When `twillctl` refuses.
    pub fn init_network(&self, backend: Backend) -> Result<()> {
        self.init_network_with(backend, &[])
    }

    /// As [`Fabric::init_network`], with more options.
    ///
    /// # Errors
    /// When `twillctl` refuses.
    pub fn init_network_with(&self, backend: Backend, options: &[&str]) -> Result<()> {
        let command = ["network", "init", "--network", NETWORK, "--force"];
        let backend = ["--backend", backend.name()];
        self.ctl(&[&command[..], &backend, options].concat()).map(drop)
    }

    /// Runs `twillctl` on node1, against etcd wherever it is, and answers what it says.
    ///
    /// # Errors
    /// When it refuses.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let endpoints = self.endpoints();
        let command = ["twillctl", "--etcd-endpoints", endpoints.as_str()];
        self.node(1).ok(command.iter().chain(arguments))
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
        let Self { agents, managers, etcd, cluster, lab, .. } = self;
        drop((agents, managers, etcd, cluster));
        lab.finish()
    }

    /// Leaves everything standing when this process goes, the daemons too.
    ///
    /// # Errors
    /// When the guardian is gone.
    pub fn keep(self) -> Result<()> {
        let Self { agents, managers, etcd, cluster, lab, .. } = self;
        let managers = managers.into_inner().unwrap_or_else(PoisonError::into_inner);
        let daemons = agents.into_values().chain(managers.into_values());
        daemons.chain(etcd).for_each(Daemon::leave);
        cluster.into_iter().for_each(Cluster::leave);
        lab.keep()
    }
}

fn drop_forwarded(host: &Host) -> Result<()> {
    host.ok(["iptables", "-P", "FORWARD", "DROP"]).map(drop)
}
