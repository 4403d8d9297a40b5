//! The lab: hosts on one underlay network, all on this machine.
//!
//! ```text
//!   network namespace "underlay"
//!  ┌──────────────────────────────────────────────────────────┐
//!  │   bridge br0   192.168.140.1/24, the hosts' default route │
//!  │    │ node1            │ node2             │ node3         │
//!  └────┼──────────────────┼───────────────────┼───────────────┘
//!       │ veth             │ veth              │ veth
//!  ┌────┴─────────┐   ┌────┴─────────┐    ┌────┴─────────┐
//!  │ eth0 .140.22 │   │ eth0 .140.23 │    │ eth0 .140.24 │   one host: namespaces of its own
//!  │              │   │              │    │              │   (mount, network, UTS, IPC, PID,
//!  │ etcd         │   │              │    │              │   cgroup), a /run, /var/lib and
//!  │ twilld       │   │ twilld       │    │ twilld       │   /etc of its own, and this
//!  │ flannel.1 or flannel0 ═ tunnel ═══════════════════  │   machine's /usr
//!  │ twill0       │   │ twill0       │    │ twill0       │
//!  │  │ veth      │   │  │ veth      │    │  │ veth      │
//!  │ [container]  │   │ [container]  │    │ [container]  │
//!  └──────────────┘   └──────────────┘    └──────────────┘
//! ```
//!
//! Nothing of the machine itself is touched: no interface, route, rule or mount outside these
//! namespaces, and control groups only below our own.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::guardian::{Guardian, Stop};
use crate::host::{Host, Owner};
use crate::machine::Machine;
use crate::process::Children;
use crate::programs::Programs;
use crate::registry;

/// The first host's last octet: the lab is the one of the course, 192.168.140.22 and up.
const FIRST: usize = 22;

/// Where the hosts' default routes lead.
pub(crate) const ROUTER: &str = "192.168.140.1";

/// A lab. Dropping it takes everything down, and prints the transcripts unless
/// [`Lab::finish`] was reached.
#[derive(Debug)]
pub struct Lab {
    // Fields drop in order; the guardian goes last.
    hosts: BTreeMap<String, Host>,
    machines: usize,
    underlay: Host,
    owner: Owner,
    ended: bool,
    guardian: Guardian,
}

impl Lab {
    /// An underlay with `hosts` hosts on it: `node1`, `node2`, ….
    ///
    /// # Errors
    /// Without root, or when a program or a kernel feature is missing.
    pub fn new(hosts: usize) -> Result<Self> {
        let programs = Programs::find()?;
        let mut guardian = Guardian::start(&programs)?;
        let init = guardian.host("underlay").context("cannot make the underlay")?;
        let lab = guardian.dir().to_owned();
        let owner = Owner { lab, programs, children: Children::default() };
        let underlay = Host::new("underlay", init, &owner);
        ip(&underlay, &["link", "set", "lo", "up"])?;
        ip(&underlay, &["link", "add", "br0", "type", "bridge"])?;
        ip(&underlay, &["address", "add", &format!("{ROUTER}/24"), "dev", "br0"])?;
        ip(&underlay, &["link", "set", "br0", "up"])?;
        let hosts_of_it = BTreeMap::new();
        let (machines, ended) = (0, false);
        let mut lab = Self { hosts: hosts_of_it, machines, underlay, owner, ended, guardian };
        for _ in 0..hosts {
            lab.add_host()?;
        }
        Ok(lab)
    }

    /// Adds the next host.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn add_host(&mut self) -> Result<Host> {
        let number = self.hosts.len() + self.machines + 1;
        let name = format!("node{number}");
        let init = self.guardian.host(&name)?;
        let host = Host::new(&name, init, &self.owner);
        ip(&host, &["link", "set", "lo", "up"])?;
        self.hosts.insert(name, host.clone());
        self.connect(number)?;
        self.name_hosts()?;
        Ok(host)
    }

    /// Adds a machine that is switched off: the next host, with a systemd of its own.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn add_machine(&mut self) -> Result<Machine> {
        let number = self.hosts.len() + self.machines + 1;
        let name = format!("node{number}");
        let init = self.guardian.host(&name)?;
        self.machines += 1;
        Machine::new(Host::new(&name, init, &self.owner), &self.underlay, address(number))
    }

    /// Gives a host without an uplink one: `eth0`, with its address and the default route.
    ///
    /// # Errors
    /// When it has one.
    pub fn connect(&self, number: usize) -> Result<()> {
        let host = self.node(number);
        plug_in(&self.underlay, host)?;
        ip(host, &["address", "add", &format!("{}/24", address(number)), "dev", "eth0"])?;
        ip(host, &["link", "set", "eth0", "up"])?;
        ip(host, &["route", "add", "default", "via", ROUTER])
    }

    /// The host number `number`, counted from 1 as in its name.
    ///
    /// # Panics
    /// When there is none.
    pub fn node(&self, number: usize) -> &Host {
        &self.hosts[&format!("node{number}")]
    }

    /// All hosts, in order.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// The namespace that carries the wire between the hosts.
    pub fn underlay(&self) -> &Host {
        &self.underlay
    }

    /// What all hosts see as `/run/lab/share`.
    pub fn share(&self) -> PathBuf {
        self.dir().join("share")
    }

    /// The lab's own directory; its last part is the lab's name.
    pub fn dir(&self) -> &Path {
        self.guardian.dir()
    }

    /// The programs under test.
    pub fn programs(&self) -> &Programs {
        &self.owner.programs
    }

    /// A handle with which another thread can end the lab.
    ///
    /// # Errors
    /// Never in practice: process numbers fit.
    pub fn stop(&self) -> Result<Stop> {
        self.guardian.stop(&self.owner.children)
    }

    /// Takes the lab down, and fails if anything of it is still on this machine.
    ///
    /// # Errors
    /// Then.
    pub fn finish(mut self) -> Result<()> {
        self.owner.children.end();
        self.guardian.finish()?;
        let left = registry::traces(self.dir())?;
        if !left.is_empty() {
            bail!("the lab left behind: {}", left.join(", "));
        }
        self.ended = true;
        Ok(())
    }

    /// Leaves the lab standing when this process goes.
    ///
    /// # Errors
    /// When the guardian is gone.
    pub fn keep(mut self) -> Result<()> {
        self.guardian.keep()?;
        self.ended = true;
        Ok(())
    }

    // Every host knows every host by name.
    fn name_hosts(&self) -> Result<()> {
        let lines = (1..=self.hosts.len() + self.machines)
            .map(|number| format!("{} node{number}\n", address(number)));
        let text: String =
            std::iter::once("127.0.0.1 localhost\n".to_owned()).chain(lines).collect();
        for host in self.hosts() {
            fs::write(host.path("/etc/hosts"), &text).context("cannot write /etc/hosts")?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    #[expect(clippy::print_stderr, reason = "the transcripts of a failed test belong there")]
    fn drop(&mut self) {
        if self.ended || self.owner.children.have_ended() {
            return;
        }
        for entry in fs::read_dir(self.dir().join("log")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            if !text.is_empty() {
                eprintln!("--- {} ---\n{text}", entry.file_name().display());
            }
        }
        self.owner.children.end();
    }
}

/// Gives a host an `eth0` that leads to the underlay.
pub(crate) fn plug_in(underlay: &Host, host: &Host) -> Result<()> {
    let (name, pid) = (host.name(), host.init().to_string());
    let link = ["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", &pid];
    ip(underlay, &link)?;
    ip(underlay, &["link", "set", name, "master", "br0", "up"])
}

/// The underlay address of a host.
pub(crate) fn address(number: usize) -> Ipv4Addr {
    // A lab has a few dozen hosts; one that has more gets none.
    let last = u8::try_from(FIRST + number - 1).unwrap_or_default();
    Ipv4Addr::new(192, 168, 140, last)
}

/// Runs this machine's `ip` inside the host's network, but with our own process numbers.
pub(crate) fn ip(host: &Host, arguments: &[&str]) -> Result<()> {
    let output = host.within(|| {
        let mut command = Command::new("ip");
        command.args(arguments).output().context("cannot start ip: is iproute2 installed?")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{}: ip {}: {}", host.name(), arguments.join(" "), said.trim());
    }
    Ok(())
}
