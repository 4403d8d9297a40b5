//! The task that runs the commands.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use twill_core::extension::{Command, Host, Hosts, Step, left_over, steps};
use twill_core::ids::Subnet;

use super::record::Record;
use super::{Ends, Order, State, failure, run, surroundings};
use crate::trouble::Trouble;

/// Commands that run at one time, at most.
const AT_ONCE: usize = 8;
/// How often the removal of a host is tried: mostly there is nothing to remove any more.
const REMOVALS: u32 = 5;

type Ended = (Step, Result<String, twill_net::Error>);

pub(super) struct Worker {
    order: Order,
    hosts: watch::Receiver<Hosts>,
    retires: watch::Receiver<bool>,
    state: watch::Sender<State>,
    ends: Ends,
    record: Record,
    /// Which hosts the commands were told of with success.
    done: Hosts,
    running: JoinSet<Ended>,
    busy: BTreeMap<Subnet, Step>,
    failing: BTreeMap<Subnet, Failing>,
}

/// A host whose command failed.
#[derive(Default)]
struct Failing {
    trouble: Trouble,
    times: u32,
    /// Not before then again.
    next: Option<Instant>,
    line: String,
}

impl Worker {
    pub(super) fn new(
        order: Order,
        (hosts, retires, state): (
            watch::Receiver<Hosts>,
            watch::Receiver<bool>,
            watch::Sender<State>,
        ),
        ends: Ends,
    ) -> Self {
        let record = Record::new(ends.record.clone());
        Self {
            order,
            hosts,
            retires,
            state,
            ends,
            record,
            done: Hosts::new(),
            running: JoinSet::new(),
            busy: BTreeMap::new(),
            failing: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self) {
        self.done = left_over(&self.hosts.borrow(), self.record.read());
        self.start().await;
        while !self.is_through() {
            self.begin();
            self.tell();
            let next = self.failing.values().filter_map(|failing| failing.next).min();
            // Then nobody is left to say anything.
            let listens = !*self.retires.borrow();
            tokio::select! {
                Some(ended) = self.running.join_next() => {
                    if let Ok(ended) = ended {
                        self.end(ended);
                    }
                }
                changed = self.hosts.changed(), if listens => if changed.is_err() {
                    return;
                },
                () = until(next) => {}
            }
        }
        self.shut_down().await;
    }

    /// `PostStartupCommand`, until it succeeds.
    async fn start(&mut self) {
        let mut trouble = Trouble::default();
        if let Some(command) = &self.order.commands.post_startup {
            while let Err(error) = run(command, &surroundings(&self.order), "\n").await {
                let line = failure("PostStartupCommand", error).line();
                let (wait, _new) = trouble.meet(&line);
                self.state.send_replace(State::Failed(line));
                self.ends.wake.notify_one();
                sleep(wait).await;
            }
        }
        self.state.send_replace(State::Stands);
        self.ends.wake.notify_one();
    }

    /// Retired, with nothing left to do?
    fn is_through(&self) -> bool {
        *self.retires.borrow() && self.running.is_empty() && self.done.is_empty()
    }

    /// Runs what is due, as far as there is room.
    fn begin(&mut self) {
        let now = Instant::now();
        let wanted = self.hosts.borrow_and_update().clone();
        let open = steps(&wanted, &self.done);
        let is_open = |subnet: &Subnet| open.iter().any(|step| step.subnet() == *subnet);
        self.failing.retain(|subnet, _failing| is_open(subnet));
        let due = open.into_iter().filter(|step| {
            let failing = self.failing.get(&step.subnet()).and_then(|failing| failing.next);
            !self.busy.contains_key(&step.subnet()) && failing.is_none_or(|next| next <= now)
        });
        let due: Vec<Step> = due.take(AT_ONCE.saturating_sub(self.running.len())).collect();
        if due.iter().any(|step| matches!(step, Step::Add(..))) {
            self.keep(&due);
        }
        for step in due {
            if let Some(failing) = self.failing.get_mut(&step.subnet()) {
                failing.next = None;
            }
            self.busy.insert(step.subnet(), step.clone());
            let command = match &step {
                Step::Add(..) => &self.order.commands.subnet_add,
                Step::Remove(..) => &self.order.commands.subnet_remove,
            };
            self.running.spawn(take(step, command.clone()));
        }
    }

    /// What is done, and what may be in a moment.
    fn keep(&self, due: &[Step]) {
        let mut hosts = self.done.clone();
        for step in self.busy.values().chain(due) {
            if let Step::Add(subnet, host) = step {
                hosts.insert(*subnet, host.clone());
            }
        }
        self.record.keep(&hosts);
    }

    fn end(&mut self, (step, result): Ended) {
        let subnet = step.subnet();
        self.busy.remove(&subnet);
        let name = match step {
            Step::Add(..) => "SubnetAddCommand",
            Step::Remove(..) => "SubnetRemoveCommand",
        };
        if let Err(error) = result {
            let failing = self.failing.entry(subnet).or_default();
            failing.line = format!("cannot {step}: {}", failure(name, error).line());
            let (wait, new) = failing.trouble.meet(&failing.line);
            failing.times += 1;
            failing.next = Some(Instant::now() + wait);
            if new {
                tracing::error!("{}", failing.line);
            }
            if matches!(step, Step::Add(..)) || failing.times < REMOVALS {
                return;
            }
            tracing::warn!(%subnet, "giving its removal up");
        }
        self.failing.remove(&subnet);
        match step {
            Step::Add(subnet, host) => drop(self.done.insert(subnet, host)),
            Step::Remove(subnet, _host) => {
                self.done.remove(&subnet);
                self.keep(&[]);
            }
        }
    }

    fn tell(&self) {
        let open = steps(&self.hosts.borrow(), &self.done);
        let error = self.failing.values().next().map(|failing| failing.line.clone());
        self.ends.board.commands(open.iter().map(Step::to_string).collect(), error);
    }

    async fn shut_down(self) {
        self.ends.board.commands(Vec::new(), None);
        if let Some(command) = &self.order.commands.shutdown
            && let Err(error) = run(command, &surroundings(&self.order), "\n").await
        {
            tracing::error!("{}", failure("ShutdownCommand", error).line());
        }
        self.record.forget();
    }
}

/// What flannel's commands get for another host: two variables, and on stdin what that host said.
async fn take(step: Step, command: Option<Command>) -> Ended {
    let Some(command) = command else { return (step, Ok(String::new())) };
    let (Step::Add(subnet, host) | Step::Remove(subnet, host)) = &step;
    let Host { public_ip, data } = host;
    let environment = [("SUBNET", subnet.to_string()), ("PUBLIC_IP", public_ip.to_string())];
    let input = format!("{}\n", data.as_deref().unwrap_or_default());
    let result = run(&command, &environment, &input).await;
    (step, result)
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
