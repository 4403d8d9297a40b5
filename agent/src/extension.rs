//! The `extension` backend at work: runs the administrator's commands, one that fails again and again,
//! until each other host is what the commands were told last.
//!
//! A task of its own, so that a command that hangs keeps nobody's rows waiting, and each host has its
//! own turn: one whose command fails delays none of the others.

mod record;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tracing::Instrument as _;
use twill_core::config::Backend;
use twill_core::extension::{Command, Extension, Host, Hosts};
use twill_core::ids::{Subnet, Underlay};
use twill_core::peers::{Peer, View};
use twill_core::serving::Way;

use crate::failure::Failure;
use crate::setup::{Half, Setup};
use crate::status::Board;
use record::Record;
use worker::Worker;

/// How long one run of a command may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Options of ours that may hold a password.
const HIDDEN: [&str; 2] = ["TWILLD_", "FLANNELD_"];
/// What an agent of flannel's says of the family that a network lacks.
const NO_SUBNET: &str = "::/0";
const NO_ADDRESS: &str = "<nil>";

/// What to run, and what for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Order {
    pub(crate) commands: Extension,
    pub(crate) network: Subnet,
    pub(crate) subnet: Subnet,
    pub(crate) public_ip: Underlay,
}

/// Who has to be told of what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    pub(crate) board: Board,
    /// Where it is kept what was done.
    pub(crate) record: PathBuf,
    /// Told when the start succeeded or failed.
    pub(crate) wake: Arc<Notify>,
}

/// How far it is.
#[derive(Clone, Debug, Eq, PartialEq)]
enum State {
    Starting,
    Failed(String),
    Stands,
}

/// The task. Dropping it leaves everything as it is, and kills the command that is being run.
#[derive(Debug)]
pub(crate) struct Runner {
    order: Order,
    hosts: watch::Sender<Hosts>,
    state: watch::Receiver<State>,
    retire: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Runner {
    /// Begins with `PostStartupCommand`.
    pub(crate) fn start(order: Order, hosts: Hosts, ends: Ends) -> Self {
        let (hosts, to_reach) = watch::channel(hosts);
        let (said, state) = watch::channel(State::Starting);
        let (retire, retires) = watch::channel(false);
        let worker = Worker::new(order.clone(), (to_reach, retires, said), ends);
        let task = Some(tokio::spawn(worker.run().in_current_span()));
        Self { order, hosts, state, retire, task }
    }

    /// Is this what it does?
    pub(crate) fn follows(&self, order: &Order) -> bool {
        self.order == *order
    }

    /// The hosts that it has to reach from now on.
    pub(crate) fn reach(&self, hosts: Hosts) {
        self.hosts.send_if_modified(|last| {
            let differs = *last != hosts;
            *last = hosts;
            differs
        });
    }

    /// Waits until the start has succeeded, or failed once.
    pub(crate) async fn begun(&mut self) {
        // Without its sender the task is over, and the state says why.
        drop(self.state.wait_for(|state| *state != State::Starting).await);
    }

    /// Does it stand?
    pub(crate) fn outcome(&self) -> Result<(), Failure> {
        match &*self.state.borrow() {
            State::Stands => Ok(()),
            State::Starting => {
                Err(Failure::refused(anyhow::Error::msg("PostStartupCommand has not ended yet")))
            }
            State::Failed(line) => Err(Failure::refused(anyhow::Error::msg(line.clone())).hint(
                "run that command by hand, or correct it with `twillctl network set --json`",
            )),
        }
    }

    /// Nobody needs it any more: removes every host, then runs `ShutdownCommand`, and is gone.
    pub(crate) fn retire(mut self) {
        self.hosts.send_replace(Hosts::new());
        self.retire.send_replace(true);
        // Not stopped, but left to itself.
        self.task = None;
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// What the administrator's first command says, which is what other hosts' commands read.
pub(crate) async fn pre_startup(command: &Command) -> Result<String, Failure> {
    run(command, &[], "\n").await.map_err(|error| failure("PreStartupCommand", error))
}

/// The agent was told to stop, and the administrator wants something done then.
pub(crate) async fn shut_down(setup: &Setup, record: &Path) {
    // It carries one family.
    let Some(half) = setup.halves().next() else { return };
    for served in half.serving.all() {
        let Backend::Extension(commands) = &served.backend else { continue };
        let Some(command) = &commands.shutdown else { continue };
        match run(command, &surroundings(&order(commands, &half)), "\n").await {
            // What it took away the next start does not have to.
            Ok(_said) => Record::new(record.to_owned()).forget(),
            Err(error) => {
                tracing::error!("{}", failure("ShutdownCommand", error).line());
            }
        }
    }
}

/// Whom the commands have to reach.
pub(crate) fn hosts(view: &View) -> Hosts {
    let peers = view.peers.iter().filter(|peer| peer.by == Way::Extension);
    let host =
        |peer: &Peer| Host { public_ip: peer.underlay, data: view.data.get(&peer.subnet).cloned() };
    peers.map(|peer| (peer.subnet, host(peer))).collect()
}

/// What a host is to do under that setup.
pub(crate) fn order(commands: &Extension, setup: &Half) -> Order {
    let (network, subnet) = (setup.config.network, setup.subnet);
    Order { commands: commands.clone(), network, subnet, public_ip: setup.public_ip }
}

/// The variables of the commands that concern this host itself, by flannel's names.
fn surroundings(order: &Order) -> Vec<(&'static str, String)> {
    vec![
        ("NETWORK", order.network.to_string()),
        ("SUBNET", order.subnet.to_string()),
        ("IPV6SUBNET", NO_SUBNET.to_owned()),
        ("PUBLIC_IP", order.public_ip.to_string()),
        ("PUBLIC_IPV6", NO_ADDRESS.to_owned()),
    ]
}

async fn run(
    command: &Command,
    environment: &[(&'static str, String)],
    input: &str,
) -> Result<String, twill_net::Error> {
    let variable = |name: &str| {
        let given = environment.iter().find(|(known, _value)| *known == name);
        let ours = || {
            (!HIDDEN.iter().any(|prefix| name.starts_with(prefix)))
                .then(|| std::env::var(name).ok())
        };
        given.map(|(_name, value)| value.clone()).or_else(|| ours().flatten())
    };
    let words = command.words(variable);
    let command = twill_net::command::Command {
        words: &words,
        environment,
        hidden: &HIDDEN,
        input,
        deadline: DEADLINE,
    };
    let said = command.run().await?;
    tracing::debug!(command = words.join(" "), said, "ran");
    Ok(said)
}

fn failure(name: &'static str, error: twill_net::Error) -> Failure {
    let hint = error.hint();
    let error = anyhow::Error::new(error).context(format!("Backend.{name} of the network"));
    let failure = Failure::refused(error);
    failure.hint(
        hint.unwrap_or(
            "run that command by hand, or correct it with `twillctl network set --json`",
        ),
    )
}
