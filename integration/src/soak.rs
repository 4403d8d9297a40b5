//! A soak: five hosts, an agent and a container on each, datagrams between all containers, and for as
//! long as it lasts one fault after the other.
//!
//! ```text
//!            50 datagrams a second on each of 20 ways, each numbered
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
mod report;
mod script;
mod traffic;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::deeds::{Deed, Hurts};
use crate::fabric::Backend;
use crate::lab::Lab;
use crate::wait::pace;
use fault::{Fault, Turn, Work, faults, ways};
use report::Event;
use script::{Act, Script};
use traffic::{Traffic, name};
use world::{Turned, World};

pub use report::Report;

/// How many hosts there are.
const HOSTS: usize = 5;

/// Within what everything is undone of which the kernel speaks.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A soak to come.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// How packets travel.
    pub backend: Backend,
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
    at_once: bool,
    /// The interface that rows of others go with.
    destroys: &'a str,
    turned: Turned,
    /// What the uplink is called at its end.
    uplink: &'a str,
}

impl Soak {
    /// Lets it happen in a lab of its own, of which `made` is told. Each line for `say` is about what
    /// happened just now.
    ///
    /// # Errors
    /// When a datagram is lost without a reason, a fault is not undone, or anything is left at the end.
    pub fn run(self, made: impl FnOnce(&Lab) -> Result<()>, say: &dyn Fn(&str)) -> Result<Report> {
        let world = World::new(HOSTS, self.backend, made)?;
        let traffic = Traffic::start(&world.containers)?;
        let (faults, events) = (faults(self.backend), Vec::new());
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

    fn happen(&mut self, act: Act) -> Result<()> {
        let fault = self.faults[act.fault].clone();
        match fault.work {
            Work::Deed(deed) => self.deed(deed, (fault, act)),
            Work::Turn(turn) => self.turn(turn, (fault, act)),
            Work::Unplug => self.unplug((fault, act)),
            Work::Agent(signal) => self.agent(signal, (fault, act)),
            Work::Behind(deed) => self.behind(deed, (fault, act)),
            Work::Etcd => self.etcd((fault, act)),
        }
    }

    fn deed(&mut self, deed: &Deed, (fault, act): (Fault, Act)) -> Result<()> {
        let destroys = self.world.fill(deed.destroys, act.host, act.peer);
        let step = Step { destroys: &destroys, ..Step::of(&fault, act) };
        self.step(&step, |run| {
            let mut lines = deed.types.iter();
            run.types(lines.next().context("nothing is typed")?, act)?;
            if deed.destroys == "UPLINK" {
                pace(act.away);
            }
            for line in lines {
                // The agent may have undone the first line before the next one is typed, which then
                // finds something else. What has to be put back by hand has to be put back.
                let typed = run.types(line, act);
                if !deed.destroys.is_empty() {
                    typed?;
                }
            }
            Ok(Instant::now())
        })?;
        self.plant_again(&destroys, act)
    }

    fn turn(&mut self, turn: &Turn, (fault, act): (Fault, Act)) -> Result<()> {
        let destroys = self.world.fill(turn.destroys, act.host, act.peer);
        let words = turn.words.map(|word| self.world.fill(word, act.host, act.peer));
        let uplink = if words[0] == "eth0" { words[1].clone() } else { "eth0".to_owned() };
        let turned = Turned { here: Some(words), everywhere: turn.everywhere };
        let there = Step { destroys: &destroys, turned, uplink: &uplink, ..Step::of(&fault, act) };
        let type_all = |lines: &'static [&'static str]| {
            move |run: &mut Self| -> Result<Instant> {
                for line in lines {
                    run.types(line, act)?;
                }
                Ok(Instant::now())
            }
        };
        self.step(&there, type_all(turn.there))?;
        pace(act.away);
        let says = format!("{}, and back", fault.says);
        let back = Step { says, destroys: &destroys, ..Step::of(&fault, act) };
        self.step(&back, type_all(turn.back))?;
        self.plant_again(&destroys, act)
    }

    fn unplug(&mut self, (fault, act): (Fault, Act)) -> Result<()> {
        // Everything of others that hangs on the link is gone, and the device with what is on it.
        let step = Step { destroys: " ", ..Step::of(&fault, act) };
        self.step(&step, |run| {
            run.types("ip link del UPLINK", act)?;
            pace(act.away);
            run.world.fabric.lab().connect(act.host + 1)?;
            Ok(Instant::now())
        })?;
        self.plant_again(" ", act)
    }

    fn agent(&mut self, signal: Signal, (fault, act): (Fault, Act)) -> Result<()> {
        self.step(&Step::of(&fault, act), |run| {
            run.world.fabric.stop_agent(act.host + 1, signal)?;
            pace(act.away);
            let start = Instant::now();
            run.world.fabric.start_agent(act.host + 1)?;
            Ok(start)
        })
    }

    fn behind(&mut self, deed: &Deed, (fault, act): (Fault, Act)) -> Result<()> {
        let destroys = self.world.fill(deed.destroys, act.host, act.peer);
        let step = Step { destroys: &destroys, ..Step::of(&fault, act) };
        self.step(&step, |run| {
            run.world.fabric.stop_agent(act.host + 1, Signal::SIGKILL)?;
            deed.types.iter().try_for_each(|line| run.types(line, act))?;
            pace(act.away);
            let start = Instant::now();
            run.world.fabric.start_agent(act.host + 1)?;
            Ok(start)
        })?;
        self.plant_again(&destroys, act)
    }

    fn etcd(&mut self, (fault, act): (Fault, Act)) -> Result<()> {
        self.step(&Step::of(&fault, act), |run| {
            run.world.fabric.stop_etcd()?;
            pace(act.away);
            let start = Instant::now();
            run.world.fabric.start_etcd()?;
            Ok(start)
        })
    }

    fn types(&self, line: &str, act: Act) -> Result<()> {
        self.world.types(act.host, &self.world.fill(line, act.host, act.peer))
    }

    fn plant_again(&self, destroys: &str, act: Act) -> Result<()> {
        if destroys.is_empty() { Ok(()) } else { self.world.plant_again(act.host) }
    }

    /// Does it, and sees that it is undone: first on the host, then everywhere, then by packets, and in the
    /// end to the agents' satisfaction. `work` answers from when on it could be undone.
    fn step(&mut self, step: &Step, work: impl FnOnce(&mut Self) -> Result<Instant>) -> Result<()> {
        let Step { act, turned, uplink, .. } = step;
        let number = self.events.len();
        let hit = ways(step.hurts, (act.host, act.peer), self.world.len());
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
        self.world.well()?;
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
            at_once: fault.at_once,
            destroys: "",
            turned: Turned::default(),
            uplink: "eth0",
        }
    }
}
