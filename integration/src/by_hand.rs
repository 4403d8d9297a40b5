//! Labs for people: made with `up`, entered, and taken down again.

use std::fs;
use std::io::IsTerminal as _;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::enter::spawn_in;
use crate::fabric::{Backend, Fabric};
use crate::guardian::Stop;
use crate::interrupt::Interrupt;
use crate::join::environment;
use crate::registry::{self, Standing};
use crate::{may_build_labs, programs::Programs};

/// Arguments of `up`.
#[derive(Args, Debug)]
pub(crate) struct Up {
    /// How many hosts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=200))]
    hosts: u8,
    /// How packets travel between them
    #[arg(long, value_enum, default_value_t = Backend::Udp)]
    backend: Backend,
    /// Only hosts and the network between them: no etcd, no agents
    #[arg(long)]
    bare: bool,
    /// Stay, and take the lab down on Ctrl-C
    #[arg(long)]
    foreground: bool,
}

/// Which of several labs.
#[derive(Args, Debug)]
pub(crate) struct Which {
    /// The lab's name, if several stand
    #[arg(long)]
    lab: Option<String>,
}

/// Arguments of `enter`.
#[derive(Args, Debug)]
pub(crate) struct Enter {
    #[command(flatten)]
    which: Which,
    /// The host: node1, node2, …
    host: String,
    /// What to run there
    #[arg(trailing_var_arg = true)]
    command: Vec<String>,
}

pub(crate) fn up(up: &Up) -> Result<()> {
    if !may_build_labs() {
        bail!("labs need root");
    }
    let interrupted = Interrupt::expect()?;
    let hosts = up.hosts.into();
    let fabric = if up.bare { Fabric::bare(hosts)? } else { Fabric::start(hosts, up.backend)? };
    if up.foreground {
        say(&format!("{} stands until Ctrl-C", fabric.lab().dir().display()));
        interrupted.wait()?;
        return fabric.finish();
    }
    fabric.keep()?;
    status()
}

pub(crate) fn down(which: &Which) -> Result<()> {
    let lab = registry::find(which.lab.as_deref())?;
    Stop::of(&lab).stop()?;
    say(&format!("{} is gone", lab.name));
    Ok(())
}

pub(crate) fn status() -> Result<()> {
    let labs = registry::standing()?;
    if labs.is_empty() {
        say("no lab stands");
    }
    for lab in labs {
        say(&format!("{}: {}", lab.name, hosts_of(&lab)?.join(" ")));
        say("  ./lab enter node1     a shell on a host");
        say("  ./lab down            away with it");
    }
    Ok(())
}

pub(crate) fn enter(enter: &Enter) -> Result<ExitCode> {
    let lab = registry::find(enter.which.lab.as_deref())?;
    let host = lab.dir.join("hosts").join(&enter.host);
    let Ok(init) = fs::read_to_string(host.join("pid")) else {
        bail!("no host {} in this lab; there are {}", enter.host, hosts_of(&lab)?.join(", "));
    };
    let mut command = Command::new(Programs::find()?.path("twill-lab")?);
    command.arg("join").arg(&host).arg("--");
    match enter.command.as_slice() {
        [] => command.args(["bash", "--noprofile", "--norc"]),
        words => command.args(words),
    };
    environment(&mut command);
    command.env("PS1", format!("[root@{} \\w]# ", enter.host)).stdin(Stdio::inherit());
    let mut child = spawn_in(format!("/proc/{init}/ns/pid").as_ref(), command)?;
    let status = child.wait().context("cannot wait for the command")?;
    Ok(u8::try_from(status.code().unwrap_or(1)).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Says on standard error what went wrong, once.
#[expect(clippy::print_stderr, reason = "this is the program's own voice")]
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("twill-lab: {error:#}");
}

#[expect(clippy::print_stdout, reason = "this is the program's own voice")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Says on standard error how far it is, if a person looks on.
#[expect(clippy::print_stderr, reason = "this is the program's own voice")]
pub(crate) fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}

fn hosts_of(lab: &Standing) -> Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(lab.dir.join("hosts"))?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}
