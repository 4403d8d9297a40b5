//! A storm in the store's twin: the agent's own code on a clock that passes at once, with calls and
//! watches that go wrong in every way that a seed draws. A night of it takes a moment.
//!
//! The seed gives the faults and the acts. Hosts draw by themselves, as hosts do, so that the same seed
//! is the same weather and not the same story.

mod faults;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::FutureExt as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use twill_core::ids::Revision;
use twill_core::lease::Event;
use twill_store::{Memory, MemoryWatch, Scope, Seen, Store, Watch};

use super::script::Left;
use super::slot::{Death, Slot, State, address};
use super::world::World;
use crate::observer::{Ledger, Write};

pub use faults::Faults;
pub use watch::FaultyWatch;

const TTL: Duration = Duration::from_secs(30);

/// How long the weather is bad.
const STORM: Duration = Duration::from_mins(3);

/// Leases of hosts that were wiped have to run out first.
const SETTLE: Duration = Duration::from_secs(50);

/// How long everything is watched when all is well.
const QUIET: Duration = Duration::from_mins(1);

/// How often time passes in the store.
const TICK: Duration = Duration::from_millis(100);

/// What a host may send within a second, whatever happens to it.
const MOST_IN_A_SECOND: u64 = 60;

/// What a host may send in a quiet minute: one that waits for a subnet looks every few seconds.
const MOST_IN_QUIET: u64 = 40;

/// What the cases have shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// The most calls of a host in one second.
    pub in_a_second: u64,
    /// The most calls of a host in a quiet minute.
    pub in_quiet: u64,
    /// The longest time until all were in place.
    pub settled: Duration,
}

struct Case {
    memory: Memory,
    observer: MemoryWatch,
    ledger: Ledger,
    world: Arc<World>,
    slots: Vec<(Slot, Faults<Memory>)>,
    tasks: JoinSet<Result<()>>,
    subnets: usize,
}

/// One storm, on tokio's paused clock.
///
/// # Errors
/// When a subnet had two owners, a host is too busy, or not all are in place in the end.
pub async fn blow(seed: u64) -> Result<Outcome> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut case = Case::start(&mut chance).await?;
    let end = Instant::now() + STORM;
    let mut next = Instant::now();
    while Instant::now() < end {
        if Instant::now() >= next {
            case.act(&mut chance)?;
            next = Instant::now() + Duration::from_secs(5).mul_f64(chance.random());
        }
        case.tick().await?;
    }
    case.finish().await
}

impl Case {
    async fn start(chance: &mut StdRng) -> Result<Self> {
        let (hosts, subnets) = (chance.random_range(2..6), chance.random_range(2..5));
        let memory = Memory::default();
        let observer = memory.watch(Revision(0), Scope::Leases).await?;
        let config = format!(
            r#"{{"Network":"10.88.0.0/16","SubnetMin":"10.88.1.0","SubnetMax":"10.88.{subnets}.0"}}"#
        );
        memory.put_raw("/coreos.com/network/config", config.as_bytes());
        let world = Arc::new(World::new(TTL));
        let (mut slots, mut tasks) = (Vec::new(), JoinSet::new());
        for number in 0..hosts {
            let faults = Faults::new(memory.clone(), chance.random());
            let way = faults.clone();
            let (slot, body) = Slot::before(number, move || Ok(way.clone()));
            tasks.spawn(body.run(world.clone()));
            slots.push((slot, faults));
        }
        let ledger = Ledger::default();
        Ok(Self { memory, observer, ledger, world, slots, tasks, subnets })
    }

    fn act(&mut self, chance: &mut StdRng) -> Result<()> {
        let host = chance.random_range(0..self.slots.len());
        let lasting = (2 * TTL).mul_f64(chance.random());
        let left = [Left::Everything, Left::NodeId, Left::Nothing][chance.random_range(0..3)];
        match chance.random_range(0..8) {
            0..3 => self.slots[host].0.kill(Death { down: Some(lasting / 2), left }),
            3..5 => self.slots[host].0.pause(lasting),
            // Not before the observer has read what is forgotten then.
            5 => {
                if self.read()? {
                    self.memory.compact();
                }
            }
            _ => {
                let memory = self.memory.clone();
                memory.set_away(true);
                tokio::spawn(async move {
                    sleep(lasting / 4).await;
                    memory.set_away(false);
                });
            }
        }
        Ok(())
    }

    /// A moment passes, for etcd as well, and is judged.
    async fn tick(&mut self) -> Result<()> {
        sleep(TICK).await;
        self.memory.expire_due();
        self.read()?;
        self.world.check()?;
        if let Some(ended) = self.tasks.try_join_next() {
            ended??;
            bail!("a host ended");
        }
        for (_slot, faults) in &self.slots {
            let most = faults.most_in_a_second();
            ensure!(most <= MOST_IN_A_SECOND, "a host sent {most} requests within a second");
        }
        Ok(())
    }

    /// Judges everything that was written; answers whether that was all, as it is unless the store is
    /// away.
    fn read(&mut self) -> Result<bool> {
        while let Some(seen) = self.observer.next().now_or_never() {
            let Ok(seen) = seen else { return Ok(false) };
            let Seen::Event(event) = seen else { bail!("the observer was too late") };
            let revision = event.revision();
            // The others wrote no lease.
            for other in self.ledger.at().revision.0 + 1..revision.0 {
                self.ledger.write(Revision(other), []);
            }
            match event {
                Event::Put(lease) => {
                    let (key, value) = (lease.key.to_string(), lease.value.to_json());
                    self.ledger.write(revision, [(key.as_str(), Write::Put(value.as_bytes()))]);
                }
                Event::Gone(key, _) => {
                    self.ledger.write(revision, [(key.to_string().as_str(), Write::Gone)]);
                }
                other => bail!("no host writes that: {other:?}"),
            }
        }
        let wrong = self.ledger.violations();
        ensure!(wrong.is_empty(), "ownership was not unique: {}", wrong[0]);
        Ok(true)
    }

    async fn finish(mut self) -> Result<Outcome> {
        self.memory.set_away(false);
        self.world.calm();
        for (slot, faults) in &self.slots {
            slot.calm();
            faults.calm();
        }
        let start = Instant::now();
        while !self.in_place() {
            let all: Vec<State> = self.slots.iter().map(|(slot, _)| slot.state()).collect();
            ensure!(start.elapsed() < SETTLE, "not in place: {all:?}, {:?}", self.ledger.held());
            self.tick().await?;
        }
        let settled = start.elapsed();
        let before: Vec<u64> = self.slots.iter().map(|(_, faults)| faults.calls()).collect();
        let start = Instant::now();
        while start.elapsed() < QUIET {
            self.tick().await?;
        }
        ensure!(self.in_place(), "a quiet minute changed something");
        let sent = self.slots.iter().zip(before).map(|((_, faults), n)| faults.calls() - n);
        let in_quiet = sent.max().context("no host")?;
        ensure!(in_quiet <= MOST_IN_QUIET, "a host sent {in_quiet} requests in a quiet minute");
        let most = self.slots.iter().map(|(_, faults)| faults.most_in_a_second());
        Ok(Outcome { in_a_second: most.max().unwrap_or(0), in_quiet, settled })
    }

    /// Every subnet has one owner that knows of it, as long as there are hosts; the others say that
    /// there is none for them.
    fn in_place(&self) -> bool {
        let held = self.ledger.held();
        let right = |(number, (slot, _)): (usize, &(Slot, Faults<Memory>))| match slot.state() {
            State::Holds(subnet) => {
                held.get(&subnet.into()).is_some_and(|owner| owner.address == address(number))
            }
            State::Full(_) => held.len() == self.subnets,
            State::Down | State::Joining => false,
        };
        held.len() == self.subnets.min(self.slots.len()) && self.slots.iter().enumerate().all(right)
    }
}
