//! How each kind of fault is done, and what has to be so at its end.

use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::fault::{Fault, Trouble, Turn, Work};
use super::script::Act;
use super::world::Turned;
use super::{Run, Step};
use crate::deeds::Deed;
use crate::wait::pace;

impl Run<'_> {
    pub(super) fn happen(&mut self, act: Act) -> Result<()> {
        let fault = self.faults[act.fault].clone();
        match fault.work {
            Work::Deed(deed) => self.deed(deed, (fault, act)),
            Work::Turn(turn) => self.turn(turn, (fault, act)),
            Work::Unplug => self.unplug((fault, act)),
            Work::Agent(signal) => self.agent(signal, (fault, act)),
            Work::While(trouble, deed) => self.troubled((trouble, deed), (fault, act)),
            Work::Etcd => self.etcd((fault, act)),
        }
    }

    fn deed(&mut self, deed: &Deed, (fault, act): (Fault, Act)) -> Result<()> {
        let destroys = self.fill(deed.destroys, (&fault, act));
        let step = Step { destroys: &destroys, ..Step::of(&fault, act) };
        self.step(&step, |run| {
            let mut lines = deed.types.iter();
            run.types(lines.next().context("nothing is typed")?, (&fault, act))?;
            if deed.destroys == "UPLINK" {
                pace(act.away);
            }
            for line in lines {
                // The agent may have undone the first line before the next one is typed, which then
                // finds something else. What has to be put back by hand has to be put back.
                let typed = run.types(line, (&fault, act));
                if !deed.destroys.is_empty() {
                    typed?;
                }
            }
            if deed.destroys == "UPLINK" {
                run.world.replug(act.host)?;
            }
            Ok(Instant::now())
        })?;
        self.plant_again(&destroys, act)
    }

    fn turn(&mut self, turn: &Turn, (fault, act): (Fault, Act)) -> Result<()> {
        let destroys = self.fill(turn.destroys, (&fault, act));
        let pair = |words: &[&str; 2]| words.map(|word| self.fill(word, (&fault, act)));
        let words: Vec<[String; 2]> = turn.words.iter().map(pair).collect();
        let renamed = words.iter().find(|[before, _now]| before == "eth0");
        let uplink = renamed.map_or_else(|| "eth0".to_owned(), |[_before, now]| now.clone());
        let turned = Turned { here: words, everywhere: turn.everywhere };
        let there = Step { destroys: &destroys, turned, uplink: &uplink, ..Step::of(&fault, act) };
        self.step(&there, |run| run.types_all(turn.there, (&fault, act)))?;
        pace(act.away);
        let says = format!("{}, and back", fault.says);
        let back = Step { says, destroys: &destroys, ..Step::of(&fault, act) };
        self.step(&back, |run| run.types_all(turn.back, (&fault, act)))?;
        self.plant_again(&destroys, act)
    }

    fn unplug(&mut self, (fault, act): (Fault, Act)) -> Result<()> {
        // Everything of others that hangs on the link is gone, and the device with what is on it.
        let step = Step { destroys: " ", ..Step::of(&fault, act) };
        self.step(&step, |run| {
            run.types("ip link del UPLINK", (&fault, act))?;
            pace(act.away);
            run.world.fabric.lab().connect(act.host + 1)?;
            run.world.replug(act.host)?;
            Ok(Instant::now())
        })?;
        self.plant_again(" ", act)
    }

    fn agent(&mut self, signal: Signal, (fault, act): (Fault, Act)) -> Result<()> {
        self.step(&Step::of(&fault, act), |run| {
            run.world.fabric.stop_agent(act.host + 1, signal)?;
            pace(act.away);
            run.starts_agent(act.host + 1)
        })
    }

    fn troubled(
        &mut self,
        (trouble, deed): (Trouble, &'static Deed),
        (fault, act): (Fault, Act),
    ) -> Result<()> {
        let destroys = self.fill(deed.destroys, (&fault, act));
        let step = Step { destroys: &destroys, ..Step::of(&fault, act) };
        let number = act.host + 1;
        match trouble {
            Trouble::AgentDead => self.step(&step, |run| {
                run.world.fabric.stop_agent(number, Signal::SIGKILL)?;
                run.types_all(deed.types, (&fault, act))?;
                pace(act.away);
                run.starts_agent(number)
            })?,
            Trouble::AgentHangs => self.step(&step, |run| {
                run.world.fabric.agent(number)?.signal(Signal::SIGSTOP)?;
                run.types_all(deed.types, (&fault, act))?;
                pace(act.away);
                run.world.fabric.agent(number)?.signal(Signal::SIGCONT)?;
                Ok(Instant::now())
            })?,
            Trouble::EtcdAway => {
                self.world.fabric.stop_etcd()?;
                pace(act.away);
                let step = Step { content: false, ..step };
                self.step(&step, |run| run.types_all(deed.types, (&fault, act)))?;
                self.world.fabric.start_etcd()?;
                self.world.well()?;
            }
        }
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

    /// Answers from when on the agent can do something.
    fn starts_agent(&mut self, number: usize) -> Result<Instant> {
        let start = Instant::now();
        self.world.fabric.start_agent(number)?;
        Ok(start)
    }

    /// Answers when all was typed.
    fn types_all(&self, lines: &[&str], of: (&Fault, Act)) -> Result<Instant> {
        lines.iter().try_for_each(|line| self.types(line, of))?;
        Ok(Instant::now())
    }

    fn types(&self, line: &str, of: (&Fault, Act)) -> Result<()> {
        self.world.types(of.1.host, &self.fill(line, of))
    }

    fn fill(&self, line: &str, (fault, act): (&Fault, Act)) -> String {
        self.world.fill(line, (act.host, act.peer), fault.words)
    }

    fn plant_again(&self, destroys: &str, act: Act) -> Result<()> {
        if destroys.is_empty() { Ok(()) } else { self.world.plant_again(act.host) }
    }
}
