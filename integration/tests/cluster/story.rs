//! What happens to etcd and to the hosts, one thing after the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use twill_core::ids::{NodeId, Subnet};
use twill_core::status::EtcdState;
use twill_integration::{status, wait_until};

use crate::world::{LIMIT, World};

/// Longer than the pause after which members of etcd elect another leader, twice.
const ELECTION: Duration = Duration::from_secs(2);

/// Whose agent sleeps while etcd is put back.
const SLEEPER: usize = 15;

/// Whose agent dies and comes back while etcd is away: one with a flow.
const RESTARTED: usize = 5;

/// The copy of etcd that is put back in the end.
const COPY: &str = "an-hour-ago.db";

impl World {
    pub(crate) fn etcd_is_copied(&mut self) -> Result<()> {
        self.copied = self.subnets()?;
        self.fabric.cluster()?.save(COPY)
    }

    /// What the copy does not know: an hour in which two hosts lost their subnets to new ones.
    pub(crate) fn subnets_change_hands(&mut self) -> Result<()> {
        let (one, other) = (self.subnet(11)?, self.subnet(12)?);
        // The first is off when its lease is taken away, the second sleeps, as a laptop does.
        self.fabric.stop_agent(11, Signal::SIGTERM)?;
        self.fabric.agent(12)?.signal(Signal::SIGSTOP)?;
        for subnet in [one, other] {
            self.revoke(subnet)?;
            self.join(Some(subnet))?;
            ensure!(self.subnet(self.hosts)? == subnet, "the new host took another subnet");
        }
        self.fabric.start_agent(11)?;
        self.fabric.agent(12)?.signal(Signal::SIGCONT)?;
        for (number, lost) in [(11, one), (12, other)] {
            let moved = || self.subnet(number).is_ok_and(|now| now != lost);
            wait_until(&format!("node{number} has moved"), LIMIT, moved)?;
        }
        // And one whose lease is taken away by mistake.
        let kept = self.subnet(13)?;
        self.revoke(kept)?;
        self.owns(13, Some(kept))?;
        self.all_is_well("three subnets were revoked, two changed hands")
    }

    pub(crate) fn a_member_dies_and_comes_back(&mut self) -> Result<()> {
        let cluster = self.fabric.cluster()?;
        let follower =
            (1..=3).find(|number| cluster.leader().is_ok_and(|leader| leader != *number));
        let follower = follower.context("all members lead")?;
        cluster.kill(follower)?;
        self.join(None)?;
        self.all_is_well("a member of etcd is dead")?;
        self.fabric.cluster()?.restart(follower)?;
        let leader = self.fabric.cluster()?.leader()?;
        self.fabric.cluster()?.kill(leader)?;
        self.join(None)?;
        self.fabric.cluster()?.restart(leader)?;
        self.all_is_well("it came back, and the leader died and came back")
    }

    pub(crate) fn the_leader_is_cut_off(&mut self) -> Result<()> {
        let cluster = self.fabric.cluster()?;
        let leader = cluster.leader()?;
        let cut = Instant::now();
        cluster.cut_off(leader)?;
        self.without = Some(leader);
        let cluster = self.fabric.cluster()?;
        cluster.leader_other_than(leader)?;
        self.join(None)?;
        // It stays away until it knows itself that it leads nobody.
        wait_until("the cut lasts", LIMIT, || cut.elapsed() > ELECTION)?;
        self.all_is_well("the leader is cut off")?;
        self.fabric.cluster()?.reconnect(leader)?;
        self.without = None;
        self.join(None)?;
        self.all_is_well("the leader is one of them again")
    }

    /// One agent sleeps while a host joins and etcd forgets that it did.
    pub(crate) fn history_is_forgotten(&mut self) -> Result<()> {
        self.fabric.agent(14)?.signal(Signal::SIGSTOP)?;
        self.join(None)?;
        let revision = self.fabric.cluster()?.revision()?;
        // Whoever judges the history has to have read it.
        self.observer.reach(revision)?;
        self.fabric.cluster()?.compact(revision)?;
        self.fabric.agent(14)?.signal(Signal::SIGCONT)?;
        self.all_is_well("etcd has forgotten its history")
    }

    /// One agent sleeps through all of it, and wakes when the new history is longer than the one that
    /// it knows.
    pub(crate) fn etcd_is_put_back(&mut self) -> Result<()> {
        let before = self.subnets()?;
        self.fabric.agent(SLEEPER)?.signal(Signal::SIGSTOP)?;
        self.without = Some(SLEEPER);
        let revision = self.fabric.cluster()?.revision()?;
        self.observer.reach(revision)?;
        self.fabric.cluster()?.stop();
        for number in self.awake() {
            let host = self.fabric.node(number);
            let away = || status(host).is_ok_and(|status| status.etcd == EtcdState::Away);
            wait_until(&format!("{} knows that etcd is away", host.name()), LIMIT, away)?;
        }
        // One agent dies in that hour, and has to come up from what it remembers.
        self.fabric.stop_agent(RESTARTED, Signal::SIGKILL)?;
        self.fabric.start_agent(RESTARTED)?;
        self.flows_go_on("without etcd")?;
        self.observer.announce_restore();
        self.listener.forget();
        self.fabric.cluster()?.restore(COPY)?;
        self.observer.follows_restore(1)?;
        self.settle()?;
        self.listener.forget();
        self.join(None)?;
        self.overtake(revision)?;
        self.fabric.agent(SLEEPER)?.signal(Signal::SIGCONT)?;
        self.without = None;
        self.settle()?;
        self.who_moved_had_to(&before)?;
        self.join(None)?;
        self.all_is_well("etcd was put back from the copy")
    }

    /// A host may lose its subnet to the one that had it when the copy was made. Who lost one that way takes
    /// another that nobody has written yet, and may so be before a host that is about to write its own
    /// again: that host had to move as well. Nobody else may.
    fn who_moved_had_to(&self, before: &BTreeMap<NodeId, Subnet>) -> Result<()> {
        let after = self.subnets()?;
        let ousted = |node: &NodeId, was: &Subnet| {
            self.copied.iter().any(|(owner, subnet)| owner != node && subnet == was)
        };
        let overtaken = |node: &NodeId, was: &Subnet| {
            let ousted = before.iter().filter(|(other, theirs)| ousted(other, theirs));
            ousted
                .map(|(other, _theirs)| other)
                .any(|other| other != node && after.get(other) == Some(was))
        };
        for (node, was) in before {
            let is = after.get(node).with_context(|| format!("{node} is gone"))?;
            ensure!(
                is == was || ousted(node, was) || overtaken(node, was),
                "{node} had {was}, and left it for {is} without a reason"
            );
        }
        Ok(())
    }
}
