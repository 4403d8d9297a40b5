//! The hosts, the traffic between them, and those who watch.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use twill_core::ids::{NodeId, Revision, Subnet};
use twill_core::status::EtcdState;
use twill_core::subnet_env::SubnetEnv;
use twill_integration::container::Endpoint;
use twill_integration::fabric::{Backend, Fabric, SUBNET_FILE};
use twill_integration::flow::Flow;
use twill_integration::observer::{Listener, Observer};
use twill_integration::{status, wait_until};

/// The hosts that are there from the start.
const HOSTS: usize = 20;

/// Between which of them TCP flows, all the time: two that etcd runs on, one of those and another,
/// and two others.
const PAIRS: [(usize, usize); 3] = [(1, 2), (3, 4), (5, 6)];

/// Between two blocks of 64 KiB.
const PACE: Duration = Duration::from_millis(20);

/// What a busy machine may need for something that takes milliseconds on an idle one.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// All of it.
pub(crate) struct World {
    flows: Vec<Flow>,
    pub(crate) listener: Listener,
    pub(crate) observer: Observer,
    pub(crate) fabric: Fabric,
    pub(crate) hosts: usize,
    /// Who had what when the copy was made.
    pub(crate) copied: BTreeMap<NodeId, Subnet>,
    /// The host whose agent knows nothing of what happens: the one where etcd's member is cut off, or
    /// that sleeps.
    pub(crate) without: Option<usize>,
    began: Instant,
}

impl World {
    pub(crate) fn start() -> Result<Self> {
        let began = Instant::now();
        let mut fabric = Fabric::bare(HOSTS)?;
        fabric.start_cluster()?;
        let underlay = fabric.lab().underlay().network_of(1);
        let observer = Observer::start(&underlay, &fabric.cluster()?.endpoints());
        fabric.init_network(Backend::Vxlan)?;
        fabric.start_agents(1..=HOSTS)?;
        let listener = Listener::start();
        (1..=HOSTS).for_each(|number| listener.add(fabric.node(number)));
        fabric.meet(HOSTS)?;
        let pod = |number| Endpoint::pod(fabric.node(number), "pod");
        let flow = |(from, to)| Flow::paced(&pod(from)?, &pod(to)?, PACE);
        let flows = PAIRS.into_iter().map(flow).collect::<Result<_>>()?;
        let copied = BTreeMap::new();
        let world =
            Self { flows, listener, observer, fabric, hosts: HOSTS, copied, without: None, began };
        world.all_is_well("twenty hosts have joined at once")?;
        Ok(world)
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        let revision = self.fabric.cluster()?.revision()?;
        for flow in self.flows {
            let silence = flow.longest_silence();
            println!(
                "a flow carried {} KiB, never silent for longer than {silence:.0?}",
                flow.finish()? / 1024
            );
        }
        let tally = self.observer.finish(revision)?;
        println!("{tally:?}, {:.0?}", self.began.elapsed());
        self.fabric.finish()
    }

    /// One more host; with `had`, one that finds in its files that it had this subnet.
    pub(crate) fn join(&mut self, had: Option<Subnet>) -> Result<()> {
        let host = self.fabric.add_host()?;
        self.hosts += 1;
        if let Some(subnet) = had {
            let example = fs::read_to_string(self.fabric.node(1).path(SUBNET_FILE))?;
            let mut env = SubnetEnv::parse(&example)?;
            env.subnet = subnet;
            host.sh("mkdir -p /run/flannel")?;
            fs::write(host.path(SUBNET_FILE), env.render())?;
        }
        self.fabric.start_agent(self.hosts)?;
        self.listener.add(&host);
        Ok(())
    }

    pub(crate) fn revoke(&self, subnet: Subnet) -> Result<()> {
        self.listener.forget();
        self.fabric.ctl(&["lease", "revoke", &subnet.to_string(), "--yes"]).map(drop)
    }

    pub(crate) fn all_is_well(&self, after: &str) -> Result<()> {
        let all_is_well = || -> Result<()> {
            self.settle()?;
            self.flows_go_on(after)?;
            self.listener.check()?;
            self.observer.check()
        };
        all_is_well().with_context(|| format!("when {after}"))?;
        println!("{:5.1?}: {after}; {} hosts", self.began.elapsed(), self.hosts);
        Ok(())
    }

    /// Every agent is in touch with etcd, knows all others, and owns what etcd says it owns.
    pub(crate) fn settle(&self) -> Result<()> {
        for number in self.awake() {
            self.fabric.knows(number, self.hosts - 1)?;
            let host = self.fabric.node(number);
            let connected = || status(host).is_ok_and(|status| status.etcd == EtcdState::Connected);
            wait_until(&format!("{} has etcd", host.name()), LIMIT, connected)?;
            self.owns(number, None)?;
        }
        let greedy = || self.observer.ledger().greedy();
        let alone = || greedy().is_empty();
        let settled = wait_until("each host has one subnet", LIMIT, alone);
        settled.map(drop).with_context(|| format!("these have more: {:?}", greedy()))
    }

    /// Both the agent and etcd say that the host owns its subnet, or just this one.
    pub(crate) fn owns(&self, number: usize, only: Option<Subnet>) -> Result<()> {
        let host = self.fabric.node(number);
        let owns = || {
            let Ok(status) = status(host) else { return false };
            let held = self.observer.ledger().held().get(&status.subnet.into()).copied();
            only.is_none_or(|only| status.subnet == only)
                && held.is_some_and(|owner| owner.node == Some(status.node))
        };
        wait_until(&format!("node{number} owns its subnet"), LIMIT, owns).map(drop)
    }

    pub(crate) fn awake(&self) -> impl Iterator<Item = usize> + use<> {
        let without = self.without;
        (1..=self.hosts).filter(move |number| without != Some(*number))
    }

    /// Writes until etcd's history is longer than `revision`.
    pub(crate) fn overtake(&mut self, revision: Revision) -> Result<()> {
        let cluster = self.fabric.cluster()?;
        while cluster.revision()? <= revision {
            cluster.ctl(&["put", "/lab", "x"])?;
        }
        Ok(())
    }

    pub(crate) fn flows_go_on(&self, when: &str) -> Result<()> {
        for (flow, pair) in self.flows.iter().zip(PAIRS) {
            let seen = flow.arrived();
            let what = format!("{when}: the flow of {pair:?} goes on");
            wait_until(&what, LIMIT, || flow.arrived() > seen)?;
        }
        Ok(())
    }

    pub(crate) fn subnets(&self) -> Result<BTreeMap<NodeId, Subnet>> {
        let one = |number| {
            let status = status(self.fabric.node(number))?;
            Ok((status.node, status.subnet))
        };
        (1..=self.hosts).map(one).collect()
    }

    pub(crate) fn subnet(&self, number: usize) -> Result<Subnet> {
        Ok(status(self.fabric.node(number))?.subnet)
    }
}
