//! etcd as it should be run: three members on three hosts, each of which may die, be cut off, and
//! come back, and all of which may be put back from a copy.
//!
//! ```text
//!   node1 .140.22        node2 .140.23        node3 .140.24
//!  ┌──────────────┐     ┌──────────────┐     ┌──────────────┐
//!  │ etcd :2380 ──┼─────┼── etcd ──────┼─────┼── etcd       │   members among each other
//!  │      :2379   │     │   :2379      │     │   :2379      │   clients, from every host
//!  └──────────────┘     └──────────────┘     └──────────────┘
//! ```

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use twill_core::ids::Revision;

use super::{START, is_healthy};
use crate::host::Host;
use crate::process::Daemon;
use crate::wait::{probe, wait_until};

/// Where a member keeps its data.
const DATA: &str = "/var/lib/etcd";

/// The chain that cuts a member off, in its host's own firewall.
const CHAIN: &str = "LAB-CUT";

/// Three members; the first is member 1. Dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
    /// How often all of it was put back from a copy.
    restored: usize,
}

#[derive(Debug)]
struct Member {
    host: Host,
    address: Ipv4Addr,
    daemon: Option<Daemon>,
    is_cut_off: bool,
}

impl Cluster {
    /// Starts a member on each of these hosts, given with their addresses, and waits until they
    /// have a leader.
    ///
    /// # Errors
    /// When they do not find together.
    pub fn start(hosts: impl IntoIterator<Item = (Host, Ipv4Addr)>) -> Result<Self> {
        let member = |(host, address)| Member { host, address, daemon: None, is_cut_off: false };
        let mut cluster = Self { members: hosts.into_iter().map(member).collect(), restored: 0 };
        cluster.start_all()?;
        Ok(cluster)
    }

    /// Where clients find the members.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("http://{}:2379", member.address)).collect()
    }

    /// The number of the member that leads, as most of those see it that can be asked.
    ///
    /// # Errors
    /// When none leads for a while.
    pub fn leader(&self) -> Result<usize> {
        probe("the cluster has a leader", START, || self.find_leader().ok()).map(|(found, _)| found)
    }

    /// Waits until another member leads, and answers its number.
    ///
    /// # Errors
    /// When none does for a while.
    pub fn leader_other_than(&self, before: usize) -> Result<usize> {
        let look = || self.find_leader().ok().filter(|now| *now != before);
        probe("another member leads", START, look).map(|(found, _)| found)
    }

    /// Ends a member as a crash does; its data stays.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        self.member(number)?.daemon.take().context("this member does not run")?.kill()
    }

    /// Starts a member again, and waits until it answers and has a leader.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self, number: usize) -> Result<()> {
        self.spawn(number)?;
        self.await_health(number)
    }

    /// Cuts a member off from everybody but its own host, as a broken switch would: nothing is
    /// refused, packets just vanish.
    ///
    /// # Errors
    /// When its host's firewall cannot be changed.
    pub fn cut_off(&mut self, number: usize) -> Result<()> {
        let member = self.member(number)?;
        let own = member.address;
        // The jumps last: the cut is whole or not there.
        member.host.sh(&format!(
            "set -e
            iptables -w -N {CHAIN}
            for here in {own} 127.0.0.1; do
                iptables -w -A {CHAIN} -s $here -d $here -j RETURN
            done
            for side in sport dport; do
                iptables -w -A {CHAIN} -p tcp --$side 2379:2380 -j DROP
            done
            for way in INPUT OUTPUT; do iptables -w -I $way -j {CHAIN}; done"
        ))?;
        member.is_cut_off = true;
        Ok(())
    }

    /// Undoes [`Cluster::cut_off`] and waits until the member has a leader again.
    ///
    /// # Errors
    /// When its host's firewall cannot be changed, or the others do not take it back.
    pub fn reconnect(&mut self, number: usize) -> Result<()> {
        let member = self.member(number)?;
        member.host.sh(&format!(
            "set -e
            for way in INPUT OUTPUT; do iptables -w -D $way -j {CHAIN}; done
            iptables -w -F {CHAIN}
            iptables -w -X {CHAIN}"
        ))?;
        member.is_cut_off = false;
        self.await_health(number)
    }

    /// Where etcd's history stands.
    ///
    /// # Errors
    /// When no member answers.
    pub fn revision(&self) -> Result<Revision> {
        let answer = self.ctl(&["get", "/", "-w", "json"])?;
        let answer: Value = serde_json::from_str(&answer)?;
        let revision = answer["header"]["revision"].as_i64();
        revision.map(Revision).with_context(|| format!("no revision in {answer}"))
    }

    /// Makes etcd forget everything before `revision`, on disk as well.
    ///
    /// # Errors
    /// When it refuses.
    pub fn compact(&self, revision: Revision) -> Result<()> {
        self.ctl(&["compaction", "--physical", &revision.to_string()]).map(drop)
    }

    /// Copies all of etcd, as it is now, into what the hosts share, under `name`.
    ///
    /// # Errors
    /// When no member answers.
    pub fn save(&self, name: &str) -> Result<()> {
        self.ctl(&["snapshot", "save", &shared(name)]).map(drop)
    }

    /// Ends all members and puts each back from the copy of that name: a new cluster with old data.
    ///
    /// # Errors
    /// When the copy is not good, or the new cluster does not come up.
    pub fn restore(&mut self, name: &str) -> Result<()> {
        self.stop();
        self.restored += 1;
        for (member, number) in self.members.iter().zip(1..) {
            let mut command = vec!["etcdctl".to_owned(), "snapshot".to_owned()];
            command.extend(["restore".to_owned(), shared(name)]);
            command.extend(self.identity(number));
            member.host.sh(&format!("rm -rf {DATA}"))?;
            member.host.ok(command)?;
        }
        self.start_all()
    }

    /// Ends all members at once; their data stays.
    pub fn stop(&mut self) {
        for member in &mut self.members {
            drop(member.daemon.take());
        }
    }

    /// Starts all members, and waits until they have a leader.
    ///
    /// # Errors
    /// When they do not find together.
    pub fn start_all(&mut self) -> Result<()> {
        (1..=self.members.len()).try_for_each(|number| self.spawn(number))?;
        (1..=self.members.len()).try_for_each(|number| self.await_health(number))
    }

    /// Runs `etcdctl` on the host of a member that can be asked, and answers what it says.
    ///
    /// # Errors
    /// When it fails, or no member can be asked.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let usable = |member: &&Member| member.daemon.is_some() && !member.is_cut_off;
        match self.members.iter().find(usable) {
            Some(member) => member.ctl(arguments),
            None => bail!("no member of etcd can be asked"),
        }
    }

    /// Lets the members run on after this process.
    pub(crate) fn leave(self) {
        self.members.into_iter().filter_map(|member| member.daemon).for_each(Daemon::leave);
    }

    fn member(&mut self, number: usize) -> Result<&mut Member> {
        let index = number.checked_sub(1).context("members count from 1")?;
        self.members.get_mut(index).with_context(|| format!("no member {number}"))
    }

    fn spawn(&mut self, number: usize) -> Result<()> {
        let identity = self.identity(number);
        let member = self.member(number)?;
        let client = format!("http://{}:2379", member.address);
        let flags = [
            "--listen-client-urls=http://0.0.0.0:2379".to_owned(),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls=http://{}:2380", member.address),
        ];
        let argv = std::iter::once("etcd".to_owned()).chain(identity).chain(flags);
        member.daemon = Some(member.host.spawn("etcd", argv)?);
        Ok(())
    }

    fn await_health(&self, number: usize) -> Result<()> {
        let member = &self.members[number - 1];
        let daemon = member.daemon.as_ref().context("this member does not run")?;
        let healthy = || !daemon.is_running() || is_healthy(&member.host);
        wait_until(&format!("member {number} of etcd answers"), START, healthy)?;
        ensure!(daemon.is_running(), "etcd ended: {}", daemon.transcript());
        Ok(())
    }

    // What a new member is told about itself, and a restored one likewise. The token makes a
    // restored cluster another one, as etcd's own documents ask for.
    fn identity(&self, number: usize) -> [String; 5] {
        let peer = |member: &Member| format!("http://{}:2380", member.address);
        let all = self.members.iter().zip(1..);
        let all: Vec<String> = all.map(|(other, n)| format!("member{n}={}", peer(other))).collect();
        [
            format!("--name=member{number}"),
            format!("--data-dir={DATA}"),
            format!("--initial-advertise-peer-urls={}", peer(&self.members[number - 1])),
            format!("--initial-cluster={}", all.join(",")),
            format!("--initial-cluster-token=lab-{}", self.restored),
        ]
    }

    fn find_leader(&self) -> Result<usize> {
        let mut views = Vec::new();
        for (member, number) in self.members.iter().zip(1..) {
            let Ok(text) = member.ctl(&["endpoint", "status", "-w", "json"]) else { continue };
            let all: Value = serde_json::from_str(&text)?;
            let status = &all[0]["Status"];
            let own = status["header"]["member_id"].as_u64();
            views.push((status["raftTerm"].as_u64(), status["leader"].as_u64() == own, number));
        }
        // One that is cut off goes on in its own old term, and may take itself for the leader.
        let term = views.iter().map(|(term, _leads, _number)| *term).max().context("no answer")?;
        let leads = views.iter().find(|(its, leads, _number)| *its == term && *leads);
        leads.map(|(_term, _leads, number)| *number).context("no leader")
    }
}

impl Member {
    fn ctl(&self, arguments: &[&str]) -> Result<String> {
        ensure!(self.daemon.is_some(), "this member does not run");
        let command = ["etcdctl", "--endpoints=http://127.0.0.1:2379"];
        self.host.ok(command.iter().chain(arguments))
    }
}

fn shared(name: &str) -> String {
    format!("/run/lab/share/{name}")
}
