//! A storm: hundreds of hosts on one real etcd and in one process, that die, sleep and lose their
//! way to etcd, in a network that has too few subnets for them.
//!
//! What each host runs is the agent's own code, all of it but what touches the kernel. A host has a
//! cable of its own to etcd, and a gate that stops its agent as SIGSTOP does. An observer reads what
//! etcd says, and the beliefs of all agents are compared to the instant.
//!
//! ```text
//!   agent 1 ──cable──┐
//!   agent 2 ──cable──┼──► etcd ◄── observer
//!      …             │      ▲
//!   agent 200 ─cable─┘      └───── administrator, who takes leases away
//! ```

mod admin;
mod chronicle;
pub mod cost;
mod gate;
mod life;
mod line;
mod metrics;
mod report;
mod script;
mod slot;
mod tenures;
pub mod twin;
mod world;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};

use crate::etcd;
use crate::fabric::NETWORK;
use crate::lab::Lab;
use crate::observer::Observer;
use admin::Admin;
use line::Line;
use slot::{Death, Slot, State};
use world::World;

pub use report::Report;
pub use script::{Act, Cut, Left, Taking, script};
pub use tenures::{Clash, Tenure, Tenures};

/// Where etcd listens on its host.
const ETCD: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2379);

/// Between two looks at the state of all hosts.
const LOOK: Duration = Duration::from_millis(20);

/// How long hosts may take to find their places when they all come at once.
const GATHER: Duration = Duration::from_mins(1);

/// How long everything may take to be in order again.
pub const SETTLE: Duration = Duration::from_secs(10);

/// Of how many hosts a failure tells all.
const TOLD: usize = 3;

/// A storm to come.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// How many hosts want a subnet.
    pub hosts: usize,
    /// How many subnets there are: below 256.
    pub subnets: usize,
    /// How long a lease lives without renewal.
    pub ttl: Duration,
    /// How long it lasts.
    pub length: Duration,
    /// Which storm it is.
    pub seed: u64,
}

/// A storm under way.
struct Run {
    storm: Storm,
    slots: Vec<Slot>,
    world: Arc<World>,
    observer: Observer,
    admin: Admin,
    tasks: JoinSet<Result<()>>,
    report: Report,
}

impl Storm {
    /// Lets it happen in a lab of its own, and answers what was seen.
    ///
    /// # Errors
    /// When a subnet had two owners, or not all settle in the end.
    pub fn run(self) -> Result<Report> {
        alone(self, |observer| self.happen(observer))
    }

    async fn happen(self, observer: Observer) -> Result<Report> {
        let mut run = Run::start(self, observer).await?;
        run.gather().await?;
        run.blow().await?;
        run.settle().await?;
        run.make_room().await?;
        run.finish().await
    }
}

impl Run {
    /// All hosts at once.
    async fn start(storm: Storm, observer: Observer) -> Result<Self> {
        let world = Arc::new(World::new(storm.ttl));
        let (mut slots, mut tasks) = (Vec::new(), JoinSet::new());
        let admin = Admin::new(ETCD).await?;
        let report = Report::new(storm, requests().await?);
        for number in 0..storm.hosts {
            let (line, plug) = Line::new(ETCD).await?;
            tasks.spawn(plug.carry());
            let (slot, body) = Slot::new(number, line);
            tasks.spawn(body.run(world.clone()));
            slots.push(slot);
        }
        Ok(Self { storm, slots, world, observer, admin, tasks, report })
    }

    async fn gather(&mut self) -> Result<()> {
        self.report.gathered = self.all_in_place(GATHER).await.context("at the start")?;
        self.report.gathering = requests().await? - self.report.before;
        Ok(())
    }

    /// The storm itself.
    async fn blow(&mut self) -> Result<()> {
        let Storm { seed, hosts, length, ttl, .. } = self.storm;
        let start = Instant::now();
        let before = requests().await?;
        for (at, act) in script(seed, hosts, (length, ttl)) {
            sleep_until(start + at).await;
            self.report.count(act);
            if let Some(host) = act.host() {
                self.world.happens(host, format!("{act:?}"));
            }
            self.act(act).await?;
            self.check()?;
        }
        self.report.blowing = requests().await? - before;
        Ok(())
    }

    async fn act(&mut self, act: Act) -> Result<()> {
        match act {
            Act::Kill { host, down, left } => {
                self.slots[host].kill(Death { down: Some(down), left });
            }
            Act::Pause { host, lasting } => self.slots[host].pause(lasting),
            Act::Cut { host, lasting, what } => self.slots[host].cut(lasting, what),
            Act::Revoke { nth, how } => self.admin.take_away(nth, how, &self.world).await?,
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<()> {
        self.world.calm();
        self.slots.iter().for_each(Slot::calm);
        self.report.settled = self.all_in_place(SETTLE).await.context("after the storm")?;
        Ok(())
    }

    /// One host leaves, and one that waits gets in.
    async fn make_room(&mut self) -> Result<()> {
        let holds = |slot: &&Slot| matches!(slot.state(), State::Holds(_));
        let leaver = self.slots.iter().find(holds).context("nobody has a subnet")?;
        let State::Holds(subnet) = leaver.state() else { bail!("it had one just now") };
        leaver.kill(Death { down: None, left: Left::Nothing });
        let start = Instant::now();
        self.admin.free(subnet, &self.world).await?;
        loop {
            let gone = |slot: &&Slot| slot.state() == State::Down;
            let full = self.slots.iter().filter(|slot| matches!(slot.state(), State::Full(_)));
            let waiting = full.count();
            if self.held() == self.storm.subnets
                && self.slots.iter().filter(gone).count() == 1
                && waiting + self.storm.subnets + 1 == self.storm.hosts
            {
                self.report.got_in = start.elapsed();
                return Ok(());
            }
            ensure!(start.elapsed() < SETTLE, "nobody took {subnet}: {}", self.picture());
            sleep(LOOK).await;
        }
    }

    async fn finish(mut self) -> Result<Report> {
        self.check()?;
        self.tasks.shutdown().await;
        let last = self.admin.revision().await?;
        let observer = self.observer;
        self.report.tally = spawn_blocking(move || observer.finish(last)).await??;
        Ok(self.report)
    }

    /// Waits until every subnet has one owner that knows of it, and all others say that there is none
    /// for them; answers how long that took.
    async fn all_in_place(&mut self, limit: Duration) -> Result<Duration> {
        let start = Instant::now();
        loop {
            self.check()?;
            let full = self.slots.iter().filter(|slot| matches!(slot.state(), State::Full(_)));
            if full.count() + self.storm.subnets == self.storm.hosts
                && self.held() == self.storm.subnets
                && self.observer.ledger().greedy().is_empty()
            {
                return Ok(start.elapsed());
            }
            ensure!(start.elapsed() < limit, "not in place after {limit:?}: {}", self.picture());
            sleep(LOOK).await;
        }
    }

    /// How many hosts hold what etcd says is theirs.
    fn held(&self) -> usize {
        let ledger = self.observer.ledger();
        let address = |number| slot::address(number);
        let holds = |(number, slot): &(usize, &Slot)| match slot.state() {
            State::Holds(subnet) => {
                let owner = ledger.held().get(&subnet.into());
                owner.is_some_and(|owner| owner.address == address(*number))
            }
            State::Down | State::Joining | State::Full(_) => false,
        };
        let sound = self.slots.iter().enumerate().filter(holds).count();
        if ledger.held().len() == sound { sound } else { 0 }
    }

    fn check(&mut self) -> Result<()> {
        self.observer.check()?;
        if let Some(ended) = self.tasks.try_join_next() {
            ended??;
            bail!("a host ended");
        }
        self.world.check()
    }

    /// For the reader of a failure: how many are where, and what happened to some that look for a
    /// subnet.
    fn picture(&self) -> String {
        let is = |name| move |slot: &Slot| format!("{:?}", slot.state()).starts_with(name);
        let counted = ["Down", "Joining", "Full", "Holds"].map(|name| {
            let there = self.slots.iter().filter(|slot| is(name)(slot));
            format!("{} {name}", there.count())
        });
        let all = self.slots.iter().enumerate();
        let seeking = all.filter(|(_number, slot)| is("Joining")(slot)).map(|(number, _)| number);
        let seeking: Vec<usize> = seeking.take(TOLD).collect();
        let leases = self.observer.ledger().held().len();
        let story = self.world.story(&seeking);
        format!("{}; etcd has {leases} leases\n{story}", counted.join(", "))
    }
}

/// Runs `work` beside an etcd of its own, which holds the configuration of a storm's network and
/// whose history is observed from its beginning.
fn alone<T, F>(storm: Storm, work: impl FnOnce(Observer) -> F + Send) -> Result<T>
where
    T: Send,
    F: Future<Output = Result<T>>,
{
    let lab = Lab::new(1)?;
    let host = lab.node(1);
    let observer = Observer::start(&host.network_of(1), &[format!("http://{ETCD}")]);
    let daemon = etcd::start(host)?;
    let last = format!("10.88.{}.0", storm.subnets);
    let limits = ["--subnet-min", "10.88.1.0", "--subnet-max", &last];
    let init = ["twillctl", "network", "init", "--network", NETWORK, "--backend", "udp"];
    host.ok(init.iter().chain(&limits))?;
    let done = host.within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work(observer))
    })?;
    drop(daemon);
    lab.finish()?;
    Ok(done)
}

/// All that etcd was asked so far.
async fn requests() -> Result<u64> {
    spawn_blocking(|| metrics::requests(ETCD)).await?
}
