//! The process that runs the hook with the rights that the agent gives up.
//!
//! Which program that is was settled when it was started; all that it can be told is what was published,
//! as text on its stdin. It ends with the agent, however that ends.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use twill_core::ids::NetworkName;
use twill_core::subnet_env::SubnetEnv;
use twill_net::attendant::Attendant;

use super::{Command, attend, is_ours};
use crate::failure::{self, Failure};
use crate::flags::{Flags, LogFormat};
use crate::logs;

/// What it is called; people have no use for it.
pub(crate) const COMMAND: &str = "run-subnet-hook";

/// The agent's end of it.
#[derive(Debug)]
pub(super) struct Runner(Attendant);

/// Its own end.
#[derive(Debug, Parser)]
#[command(name = "twilld run-subnet-hook", disable_version_flag = true)]
struct Told {
    #[arg(long)]
    log_format: LogFormat,
    #[arg(long)]
    verbosity: u8,
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    network: Option<NetworkName>,
    program: PathBuf,
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Where it is published.
#[derive(Debug, clap::Args)]
#[group(required = true)]
struct Place {
    #[arg(long)]
    subnet_file: Option<PathBuf>,
    /// Of networks that come, each with a file of its own
    #[arg(long)]
    subnet_dir: Option<PathBuf>,
}

/// In front of what was published, of which of several networks it is.
const NETWORK: &str = "network=";

impl Runner {
    pub(super) fn start(command: &Command, flags: &Flags) -> Result<Self, Failure> {
        let mut place = vec!["--subnet-file".into(), command.subnet_file.clone().into()];
        if let Some(network) = &command.network {
            place.extend(["--network".into(), network.as_str().into()]);
        }
        Self::start_with(place, command, flags)
    }

    /// One that is told of every network that comes; their files are in that directory.
    pub(super) fn start_for_several(
        (command, directory): (&Command, &Path),
        flags: &Flags,
    ) -> Result<Self, Failure> {
        Self::start_with(vec!["--subnet-dir".into(), directory.into()], command, flags)
    }

    fn start_with(place: Vec<OsString>, command: &Command, flags: &Flags) -> Result<Self, Failure> {
        let format = flags.log_format.to_possible_value();
        let format = format.map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut words: Vec<OsString> = vec![COMMAND.into()];
        words.extend(["--log-format".into(), format.into()]);
        words.extend(["--verbosity".into(), flags.verbosity.to_string().into()]);
        words.extend(place);
        words.push(command.program.clone().into());
        words.push("--".into());
        words.extend(command.arguments.iter().map(OsString::from));
        Ok(Self(Attendant::start(words, is_ours)?))
    }

    /// Tells it what was published, until the agent stops.
    pub(super) async fn relay(
        mut self,
        mut published: watch::Receiver<Option<SubnetEnv>>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let env = *published.borrow_and_update();
            if let Some(env) = env
                && !self.tell(&format!("{}\n", env.render())).await
            {
                return;
            }
            tokio::select! {
                _stopped = stop.wait_for(|stop| *stop) => break,
                changed = published.changed() => if changed.is_err() { break },
            }
        }
        self.0.end().await;
    }

    /// The same of every network that comes.
    pub(super) async fn relay_all(
        mut self,
        mut hears: mpsc::Receiver<(NetworkName, Option<SubnetEnv>)>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let told = tokio::select! {
                _stopped = stop.wait_for(|stop| *stop) => None,
                told = hears.recv() => told,
            };
            let Some((network, env)) = told else { break };
            let env = env.map(|env| env.render()).unwrap_or_default();
            if !self.tell(&format!("{NETWORK}{network}\n{env}\n")).await {
                return;
            }
        }
        self.0.end().await;
    }

    /// Nobody is left to be told if that fails.
    async fn tell(&mut self, text: &str) -> bool {
        let told = self.0.tell(text).await;
        let Err(error) = told else { return true };
        let hint = error.hint();
        let error = anyhow::Error::new(error);
        tracing::error!(hint, "containers do not follow this host any more: {error:#}");
        false
    }
}

/// The whole of the process; `arguments` begin with the command's name.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let told = match Told::try_parse_from(arguments) {
        Ok(told) => told,
        Err(answer) => return failure::usage(&answer),
    };
    logs::start(told.log_format, told.verbosity);
    let Told { program, arguments, place, network, .. } = told;
    let Place { subnet_file, subnet_dir } = place;
    let command = |subnet_file| Command { program, arguments, subnet_file, network };
    let served = match (subnet_file, subnet_dir) {
        (Some(file), _) => serve(command(file)),
        (None, Some(directory)) => serve_several(&command(directory)),
        (None, None) => Ok(()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn within(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(work)
}

fn serve(command: Command) -> Result<(), Failure> {
    let (publish, published) = watch::channel(None);
    let hear = move |text: &str| -> anyhow::Result<()> {
        let env = SubnetEnv::parse(text).context("the agent said something else")?;
        publish.send_replace(Some(env));
        Ok(())
    };
    within(async {
        tokio::select! {
            () = attend(command, published) => Ok(()),
            heard = listen(hear) => heard,
        }
    })
}

/// The command's file is the directory of all of them.
fn serve_several(command: &Command) -> Result<(), Failure> {
    let mut attended: BTreeMap<NetworkName, Attended> = BTreeMap::new();
    within(listen(move |text| {
        let (network, env) = told_of(text).context("the agent said something else")?;
        let Some(env) = env else {
            drop(attended.remove(&network));
            return Ok(());
        };
        attended
            .entry(network)
            .or_insert_with_key(|name| Attended::new(command, name))
            .publish
            .send_replace(Some(env));
        Ok(())
    }))
}

/// Of which network it is, and what was published there; nothing when the host has left it.
fn told_of(text: &str) -> anyhow::Result<(NetworkName, Option<SubnetEnv>)> {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let network = first.strip_prefix(NETWORK).context("it does not say of which network")?;
    let env = if rest.is_empty() { None } else { Some(SubnetEnv::parse(rest)?) };
    Ok((network.parse()?, env))
}

/// One of several networks; what runs for it ends with this.
struct Attended {
    publish: watch::Sender<Option<SubnetEnv>>,
    task: JoinHandle<()>,
}

impl Attended {
    fn new(command: &Command, name: &NetworkName) -> Self {
        let (publish, published) = watch::channel(None);
        let subnet_file = command.subnet_file.join(format!("{name}.env"));
        let command = Command { subnet_file, network: Some(name.clone()), ..command.clone() };
        Self { publish, task: tokio::spawn(attend(command, published)) }
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until the agent has ended. Each thing that it says ends with an empty line.
async fn listen(mut hear: impl FnMut(&str) -> anyhow::Result<()>) -> Result<(), Failure> {
    let ears = std::io::stdin().as_fd().try_clone_to_owned().and_then(Receiver::from_owned_fd);
    let ears = ears.context("cannot listen to the agent")?;
    let mut lines = BufReader::new(ears).lines();
    let mut text = String::new();
    while let Some(line) = lines.next_line().await.context("cannot listen to the agent")? {
        if line.is_empty() {
            hear(&text)?;
            text.clear();
        } else {
            text.push_str(&line);
            text.push('\n');
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_several_networks() {
        let env = "FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET=10.88.2.1/24\nFLANNEL_MTU=1450\n\
                   FLANNEL_IPMASQ=false\n";
        let (name, told) = told_of(&format!("network=blue\n{env}")).unwrap();
        assert_eq!((name.as_str(), told.unwrap().render().as_str()), ("blue", env));
        let (name, told) = told_of("network=green\n").unwrap();
        assert_eq!((name.as_str(), told), ("green", None));
        for text in ["", env, "network=a/b\n", "network=blue\nFLANNEL_MTU=x\n"] {
            told_of(text).expect_err(text);
        }
    }
}
