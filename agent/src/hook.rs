//! Runs a program when this host has another subnet, or its containers another MTU: what runs already
//! has to be told. Nothing here waits for it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use twill_core::ids::NetworkName;
use twill_core::subnet_env::{Ipv6Blocks, SubnetEnv};
use twill_net::errand::{Errand, Said};

use crate::failure::Failure;
use crate::flags::{Files, Flags};
use crate::trouble::Trouble;

mod hooks;
pub(crate) mod runner;

pub(crate) use hooks::Hooks;
use hooks::Speaker;
use runner::Runner;

/// How long one run may take: a host has hundreds of containers, and each takes milliseconds.
const DEADLINE: Duration = Duration::from_mins(1);

/// How many complaints are remembered, so that tries that fail alike are not told again and again.
const MOST_COMPLAINTS: usize = 500;

/// What the administrator says about the hook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Choice {
    /// There is none.
    Nothing,
    /// This program, without arguments.
    Program(PathBuf),
}

impl FromStr for Choice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "" | "none" => Self::Nothing,
            path => Self::Program(path.into()),
        })
    }
}

/// Where to say what was published.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    published: watch::Sender<Option<SubnetEnv>>,
}

/// What runs the program, until it is told to stop.
#[derive(Debug)]
pub(crate) enum Running {
    /// There is none.
    Nothing,
    /// This process has no other rights than the program needs, or nobody has others to give.
    Here(JoinHandle<()>),
    /// Another process, with the rights that this one gives up.
    Beside(watch::Sender<bool>, JoinHandle<()>),
    /// The same, which does it for every network that comes.
    Shared(Speaker, JoinHandle<()>),
}

/// What is run.
#[derive(Clone, Debug)]
struct Command {
    program: PathBuf,
    arguments: Vec<String>,
    subnet_file: PathBuf,
    /// Of several.
    network: Option<NetworkName>,
}

impl Hook {
    pub(crate) fn new() -> Self {
        Self { published: watch::Sender::new(None) }
    }

    /// Whoever reads the files finds this in them. Only another subnet, of either family, or another MTU is
    /// news.
    pub(crate) fn published(&self, env: &SubnetEnv) {
        let place = |env: &SubnetEnv| (env.subnet, env.ipv6.map(Ipv6Blocks::subnet), env.mtu);
        self.published.send_if_modified(|last| {
            let news = last.is_none_or(|last| place(&last) != place(env));
            *last = Some(*env);
            news
        });
    }

    /// Starts to listen, if there is a program to run. While this process has all the rights that it
    /// was given: entering containers takes more of them than the agent keeps.
    fn start(&self, network: Option<&NetworkName>, flags: &Flags) -> Result<Running, Failure> {
        let executable = std::env::current_exe().ok();
        let Some(command) = Command::new(&flags.files, executable.as_deref()) else {
            return Ok(Running::Nothing);
        };
        let command = Command { network: network.cloned(), ..command };
        let published = self.published.subscribe();
        if !twill_net::rights::are_surplus(flags.udp.duty()) {
            return Ok(Running::Here(tokio::spawn(attend(command, published))));
        }
        let (stop, stopped) = watch::channel(false);
        let runner = Runner::start(&command, flags)?;
        Ok(Running::Beside(stop, tokio::spawn(runner.relay(published, stopped))))
    }
}

impl Running {
    /// Kills what runs.
    pub(crate) async fn stop(self) {
        match self {
            Self::Nothing => {}
            Self::Here(task) => {
                task.abort();
                drop(task.await);
            }
            Self::Beside(stop, task) => {
                stop.send_replace(true);
                drop(task.await);
            }
            Self::Shared(speaker, task) => {
                task.abort();
                drop(task.await);
                speaker.leave().await;
            }
        }
    }
}

impl Command {
    /// Of networks that come: the administrator's, if there is one.
    fn of_several(files: &Files) -> Option<Self> {
        match files.subnet_hook {
            Some(Choice::Program(_)) => Self::new(files, None),
            Some(Choice::Nothing) | None => None,
        }
    }

    /// Unless told otherwise, the runtime that was installed with the agent, if it was.
    fn new(files: &Files, executable: Option<&Path>) -> Option<Self> {
        let subnet_file = files.subnet_file.clone();
        match &files.subnet_hook {
            Some(Choice::Nothing) => None,
            Some(Choice::Program(program)) => {
                let (program, arguments) = (program.clone(), Vec::new());
                Some(Self { program, arguments, subnet_file, network: None })
            }
            None => {
                let program = beside(executable?).find(|program| program.is_file())?;
                let arguments = ["network", "sync"].map(str::to_owned).to_vec();
                Some(Self { program, arguments, subnet_file, network: None })
            }
        }
    }

    async fn run(&self, env: &SubnetEnv, said: &mut BTreeSet<String>) -> Result<(), Failure> {
        let file = self.subnet_file.to_string_lossy();
        let text = env.render();
        let told = text.lines().filter_map(|line| line.split_once('='));
        let network = self.network.as_ref().map(|name| ("TWILL_NETWORK", name.as_str()));
        let told = told.chain([("TWILL_SUBNET_FILE", &*file)]).chain(network);
        let told: Vec<(&str, &str)> = told.collect();
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let errand = Errand {
            program: &self.program,
            arguments: &arguments,
            variables: &told,
            keeps_back: is_ours,
            deadline: DEADLINE,
        };
        let run = errand.run(|line| match line {
            Said::Out(line) => tracing::info!("subnet hook: {line}"),
            Said::Err(line) => {
                if said.len() < MOST_COMPLAINTS && said.insert(line.clone()) {
                    tracing::warn!("subnet hook: {line}");
                }
            }
        });
        run.await.map_err(|error| self.failure(error))
    }

    fn failure(&self, error: twill_net::Error) -> Failure {
        let program = self.program.to_string_lossy();
        let arguments = self.arguments.iter().map(String::as_str);
        let by_hand: Vec<&str> = std::iter::once(&*program).chain(arguments).collect();
        let hint = format!(
            "running containers may be left in the former subnet or with the former MTU until it succeeds: \
             `{}` runs it by hand, --subnet-hook chooses another program or `none`",
            by_hand.join(" ")
        );
        Failure::refused(error).hint(hint)
    }
}

/// `twill` lies where `twilld` does, or in the `bin` next to its `sbin`.
fn beside(executable: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = executable.parent();
    let next = folder.filter(|folder| folder.ends_with("sbin")).and_then(Path::parent);
    [folder.map(Path::to_owned), next.map(|next| next.join("bin"))]
        .into_iter()
        .flatten()
        .map(|folder| folder.join("twill"))
}

/// Options of ours hold secrets, and systemd must not take the program for us.
fn is_ours(variable: &str) -> bool {
    variable.starts_with("TWILLD_")
        || variable.starts_with("FLANNELD_")
        || ["NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "WATCHDOG_PID", "WATCHDOG_USEC"]
            .contains(&variable)
}

/// One run at a time, for the newest of what was published. One that fails is tried again until it
/// succeeds or something else is published.
async fn attend(command: Command, mut published: watch::Receiver<Option<SubnetEnv>>) {
    let (mut trouble, mut said) = (Trouble::default(), BTreeSet::new());
    loop {
        let env = *published.borrow_and_update();
        let wait = match env {
            None => None,
            Some(env) => match command.run(&env, &mut said).await {
                Ok(()) => {
                    if trouble.over() {
                        tracing::info!("the subnet hook has succeeded");
                    }
                    None
                }
                Err(failure) => {
                    let line = failure.line();
                    let (wait, new) = trouble.meet(&line);
                    if new {
                        let hint = failure.way_out();
                        tracing::error!(hint, "the subnet hook has failed, trying again: {line}");
                    }
                    Some(wait)
                }
            },
        };
        let changed = match wait {
            Some(wait) => match timeout(wait, published.changed()).await {
                Err(_elapsed) => continue,
                Ok(changed) => changed,
            },
            None => published.changed().await,
        };
        if changed.is_err() {
            return;
        }
        (trouble, said) = (Trouble::default(), BTreeSet::new());
    }
}

#[cfg(test)]
mod tests;
