//! The agents of a fabric: started, awaited, ended.

use std::ops::RangeInclusive;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{Fabric, READY, SUBNET_FILE};
use crate::host::Host;
use crate::process::Daemon;
use crate::rights;
use crate::wait::wait_until;

/// The line of its log, which flanneld has too.
const READY_WORDS: &str = "bootstrap done";

impl Fabric {
    /// Starts the agent of a host and waits until it says that it is ready, with subnet.env in
    /// place. Answers how long that took.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_agent(&mut self, number: usize) -> Result<Duration> {
        let start = Instant::now();
        self.start_agents(number..=number)?;
        Ok(start.elapsed())
    }

    /// Starts the agents of several hosts at once, and waits until each is ready.
    ///
    /// # Errors
    /// When one does not get ready.
    pub fn start_agents(&mut self, numbers: RangeInclusive<usize>) -> Result<()> {
        for number in numbers.clone() {
            let host = self.node(number).clone();
            let agent = self.spawn_agent(&host)?;
            self.agents.insert(host.name().to_owned(), agent);
        }
        numbers.into_iter().try_for_each(|number| self.await_agent(number))
    }

    fn await_agent(&mut self, number: usize) -> Result<()> {
        let host = self.node(number).clone();
        let file = host.path(SUBNET_FILE);
        let agent = self.agent(number)?;
        wait_until(&format!("the agent of {} is ready", host.name()), READY, || {
            !agent.is_running() || file.exists() && agent.transcript().contains(READY_WORDS)
        })?;
        if !agent.is_running() {
            anyhow::bail!("{}: twilld ended: {}", host.name(), agent.transcript());
        }
        Ok(())
    }

    /// Starts the agent of a host as its unit does, with no more rights, and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_agent(&self, host: &Host) -> Result<Daemon> {
        let endpoints = self.endpoints();
        let hook = format!("TWILLD_SUBNET_HOOK={}", rights::HOOK);
        let command = ["env", &hook, "twilld", "--etcd-endpoints", &endpoints];
        self.ensure_manager(host)?;
        let mut bounds = rights::of_agent(&self.options)?;
        if let Some(denied) = self.denied {
            let last = bounds.len() - 1;
            bounds[last] = bounds[last].replace(&format!(",+{denied}"), "");
        }
        let bounded = bounds.iter().map(String::as_str).chain(command);
        host.spawn("twilld", bounded.chain(self.options.iter().map(String::as_str)))
    }

    /// Starts what systemd is to the agent's hook, unless it runs.
    pub(crate) fn ensure_manager(&self, host: &Host) -> Result<()> {
        let mut managers = self.managers.lock().unwrap_or_else(PoisonError::into_inner);
        if !managers.contains_key(host.name()) {
            managers.insert(host.name().to_owned(), rights::manager(host)?);
        }
        Ok(())
    }

    /// Agents that are started from now on get these options.
    pub fn give_agents(&mut self, options: &[impl ToString]) {
        self.options = options.iter().map(ToString::to_string).collect();
    }

    /// Agents that are started from now on lack one of the rights of their unit, in the words of `setpriv`.
    pub fn deny_agents(&mut self, right: Option<&'static str>) {
        self.denied = right;
    }

    /// The running agent of a host.
    ///
    /// # Errors
    /// When there is none.
    pub fn agent(&mut self, number: usize) -> Result<&mut Daemon> {
        let name = format!("node{number}");
        self.agents.get_mut(&name).with_context(|| format!("no agent runs on {name}"))
    }

    /// Ends the agent of a host: with SIGKILL as a crash does, or as systemd does.
    ///
    /// # Errors
    /// When there is none, or it had ended, or it does not end.
    pub fn stop_agent(&mut self, number: usize, signal: Signal) -> Result<()> {
        let name = format!("node{number}");
        let agent = self.agents.remove(&name).with_context(|| format!("no agent on {name}"))?;
        match signal {
            Signal::SIGKILL => agent.kill(),
            _ => agent.terminate(Duration::from_secs(10)).map(drop),
        }
    }
}
