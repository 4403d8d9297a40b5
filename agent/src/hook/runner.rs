//! The process that runs the hook with the rights that the agent gives up.
//!
//! Which program that is was settled when it was started; all that it can be told is what was published,
//! as text on its stdin. It ends with the agent, however that ends.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
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
    #[arg(long)]
    subnet_file: PathBuf,
    #[arg(long)]
    network: Option<NetworkName>,
    program: PathBuf,
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Runner {
    pub(super) fn start(command: &Command, flags: &Flags) -> Result<Self, Failure> {
        let format = flags.log_format.to_possible_value();
        let format = format.map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut words: Vec<OsString> = vec![COMMAND.into()];
        words.extend(["--log-format".into(), format.into()]);
        words.extend(["--verbosity".into(), flags.verbosity.to_string().into()]);
        words.extend(["--subnet-file".into(), command.subnet_file.clone().into()]);
        if let Some(network) = &command.network {
            words.extend(["--network".into(), network.as_str().into()]);
        }
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
                && let Err(error) = self.0.tell(&format!("{}\n", env.render())).await
            {
                let hint = error.hint();
                let error = anyhow::Error::new(error);
                tracing::error!(hint, "containers do not follow this host any more: {error:#}");
                return;
            }
            tokio::select! {
                _stopped = stop.wait_for(|stop| *stop) => break,
                changed = published.changed() => if changed.is_err() { break },
            }
        }
        self.0.end().await;
    }
}

/// The whole of the process; `arguments` begin with the command's name.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let told = match Told::try_parse_from(arguments) {
        Ok(told) => told,
        Err(answer) => return failure::usage(&answer),
    };
    logs::start(told.log_format, told.verbosity);
    let Told { program, arguments, subnet_file, network, .. } = told;
    match serve(Command { program, arguments, subnet_file, network }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn serve(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    runtime.block_on(async {
        let (publish, published) = watch::channel(None);
        let ears = std::io::stdin().as_fd().try_clone_to_owned().and_then(Receiver::from_owned_fd);
        let ears = ears.context("cannot listen to the agent")?;
        tokio::select! {
            () = attend(command, published) => Ok(()),
            heard = listen(ears, publish) => heard,
        }
    })
}

/// Until the agent has ended.
async fn listen(ears: Receiver, publish: watch::Sender<Option<SubnetEnv>>) -> Result<(), Failure> {
    let mut lines = BufReader::new(ears).lines();
    let mut text = String::new();
    while let Some(line) = lines.next_line().await.context("cannot listen to the agent")? {
        if line.is_empty() {
            let env = SubnetEnv::parse(&text).context("the agent said something else")?;
            publish.send_replace(Some(env));
            text.clear();
        } else {
            text.push_str(&line);
            text.push('\n');
        }
    }
    Ok(())
}
