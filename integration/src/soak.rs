//! A soak: five hosts, an agent and a container on each, datagrams between all containers, and for as
//! long as it lasts one fault after the other. Packets travel in any of the ways, rules are written with
//! either engine, and there are addresses of either family or of both.
//!
//! ```text
//!            50 datagrams a second on each of 20 ways (40 with both families), each numbered
//!   node1: etcd, twilld, c ◄──────────► c, twilld :node2 … node5
//!             ▲                                ▲
//!             └──── somebody: deletes a route, takes the uplink down, kills the agent, …
//! ```
//!
//! A fault has a host, and says on which ways it may cost packets until it is undone. A datagram that is
//! lost on another way, or at another time, has no explanation and ends the soak. So does a fault that is
//! not undone, or that is undone too late, and a row of others that is not as it was.

pub(crate) mod command;
mod fault;
mod ledger;
mod perform;
mod report;
mod script;
mod setting;
mod traffic;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use twill_core::ids::Family;

use crate::deeds::Hurts;
use crate::lab::Lab;
use crate::wait::pace;
use fault::{Fault, faults, ways};
use report::Event;
use script::{Act, Script};
use traffic::{Traffic, name};
use world::{Turned, World};

pub use report::Report;
pub use setting::{Addresses, Engine, Setting, Travel};

/// How many hosts there are.
const HOSTS: usize = 5;

/// Within what everything is undone of which the kernel speaks.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A soak to come.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// In which world.
    pub setting: Setting,
    /// How much of it.
    pub length: Length,
    /// Which one it is.
    pub seed: u64,
}

/// How much of a soak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Length {
    /// Every fault once, on a machine that may have other things to do: how long it takes until one is
    /// undone is told and is no reason to fail.
    EachOnce,
    /// For so long; each fault that the kernel speaks of is undone within a second.
    Lasting(Duration),
}

/// A soak under way.
struct Run<'a> {
    soak: Soak,
    faults: Vec<Fault>,
    world: World,
    traffic: Traffic,
    events: Vec<Event>,
    say: &'a dyn Fn(&str),
}

/// One step of a fault: what has to be so at its end, and what it may cost.
struct Step<'a> {
    says: String,
    act: Act,
    hurts: Hurts,
    hits: &'static [Family],
    at_once: bool,
    /// The interface that rows of others go with.
    destroys: &'a str,
    turned: Turned,
    /// What the uplink is called at its end.
    uplink: &'a str,
    /// Can agents be content while etcd is away?
    content: bool,
}

impl Soak {
    /// Lets it happen in a lab of its own, of which `made` is told. Each line for `say` is about what
    /// happened just now.
    ///
    /// # Errors
    /// When a datagram is lost without a reason, a fault is not undone, or anything is left at the end.
    pub fn run(self, made: impl FnOnce(&Lab) -> Result<()>, say: &dyn Fn(&str)) -> Result<Report> {
        let world = World::new(HOSTS, self.setting, made)?;
        let traffic = Traffic::start(&world.containers, self.setting.families())?;
        let (faults, events) = (faults(self.setting), Vec::new());
        let mut run = Run { soak: self, faults, world, traffic, events, say };
        run.endure()?;
        run.finish()
    }
}

impl Run<'_> {
    fn endure(&mut self) -> Result<()> {
        let start = Instant::now();
        let firsts = self.faults.iter().map(|fault| usize::from(fault.spares_etcd)).collect();
        let longest = match self.soak.length {
            Length::EachOnce => Duration::from_millis(500),
            Length::Lasting(_) => Duration::from_secs(2),
        };
        let faults = (self.world.len(), firsts);
        let mut script = Script::new(self.soak.seed, faults, longest);
        let mut count = 0;
        while let Some(act) = script.next().filter(|_act| match self.soak.length {
            Length::EachOnce => count < self.faults.len(),
            Length::Lasting(time) => start.elapsed() < time,
        }) {
            let happened = self.happen(act);
            happened
                .with_context(|| format!("{}: {}", name(act.host), self.faults[act.fault].says))?;
            pace(act.rest);
            self.traffic.check()?;
            count += 1;
        }
        Ok(())
    }

    fn finish(self) -> Result<Report> {
        let Self { soak, world, traffic, events, .. } = self;
        let ledger = traffic.finish()?;
        world.finish()?;
        Ok(Report::new(soak, events, &ledger))
    }

    /// Does it, and sees that it is undone: first on the host, then everywhere, then by packets, and in the
    /// end to the agents' satisfaction. `work` answers from when on it could be undone.
    fn step(&mut self, step: &Step, work: impl FnOnce(&mut Self) -> Result<Instant>) -> Result<()> {
        let Step { act, turned, uplink, .. } = step;
        let number = self.events.len();
        let hit = ways((step.hurts, step.hits), (act.host, act.peer), self.world.len());
        let hit = self.traffic.under_way(&hit);
        let began = self.traffic.now();
        let done = work(self)?;
        let wanted = self.world.wanted(act.host, (turned, step.destroys));
        let healed = self.world.until_right(act.host, (&wanted, uplink))? - done;
        for other in (0..self.world.len()).filter(|other| *other != act.host) {
            let nowhere = Turned::default();
            let turned = if turned.everywhere { turned } else { &nowhere };
            let wanted = self.world.wanted(other, (turned, ""));
            self.world.until_right(other, (&wanted, "eth0"))?;
        }
        let right = self.traffic.now();
        let flows = self.traffic.flows_again(hit, right, number)?;
        if step.content {
            self.world.well()?;
        }
        let well = done.elapsed();
        let event = Event { says: step.says.clone(), at_once: step.at_once, healed, flows, well };
        (self.say)(&format!("{:8.2} s {}: {event}", began.as_secs_f64(), name(act.host)));
        self.events.push(event);
        let strict = step.at_once && self.soak.length != Length::EachOnce;
        ensure!(!strict || healed < AT_ONCE, "it took {healed:?} until it was undone");
        Ok(())
    }
}

impl Step<'_> {
    fn of(fault: &Fault, act: Act) -> Self {
        Self {
            says: fault.says.clone(),
            act,
            hurts: fault.hurts,
            hits: fault.hits,
            at_once: fault.at_once,
            destroys: "",
            turned: Turned::default(),
            uplink: "eth0",
            content: true,
        }
    }
}
