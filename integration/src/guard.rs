//! The guardian: one process per lab that makes its hosts and outlives its owner just long
//! enough to take everything down.
//!
//! It speaks lines over its standard input and output. The input is also the owner's lifeline:
//! when the owner is gone, however it went, the input ends and the guardian cleans up. When the
//! guardian itself is killed, the hosts' own lifelines end; what is then left are files and empty
//! control groups, which the next lab sweeps.
//!
//! ```text
//! > host node1       < ok 4711      the process that is node1's init
//! > keep             < ok           from now on only SIGTERM ends the lab
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::{Pid, setsid};

use crate::cgroups::hierarchies;
use crate::registry::{self, Claim};

/// A running host, as its guardian sees it.
struct Held {
    holder: Child,
    init: Pid,
    // Its end is the host's end.
    lifeline: ChildStdin,
}

/// Guards the lab `name` until its owner is gone or asks for the end.
///
/// # Errors
/// When the lab cannot be made, or something resisted its removal.
pub fn run(name: &str) -> Result<()> {
    // Away from the owner's terminal: Ctrl-C is for the owner. Fails if we lead a group already.
    setsid().ok();
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().context("cannot block signals")?;
    let signals = SignalFd::new(&signals).context("cannot receive signals")?;

    let claim = registry::claim(name)?;
    let log = OpenOptions::new().create(true).append(true).open(claim.dir.join("log/guardian"))?;
    nix::unistd::dup2_stderr(&log)?;
    say(&format!("ready {}", claim.dir.display()))?;
    let mut hosts = Vec::new();
    let served = serve(&claim, &signals, &mut hosts);
    served.and(take_down(&claim.dir, hosts))
}

fn serve(claim: &Claim, signals: &SignalFd, hosts: &mut Vec<Held>) -> Result<()> {
    let mut owner = File::from(stdin().as_fd().try_clone_to_owned()?);
    let mut kept = false;
    let mut typed = Vec::new();
    loop {
        let mut sources = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if !kept {
            sources.push(PollFd::new(owner.as_fd(), PollFlags::POLLIN));
        }
        poll(&mut sources, PollTimeout::NONE).context("cannot wait for the owner")?;
        if sources[0].any() == Some(true) {
            return Ok(());
        }
        let mut bytes = [0; 256];
        let length = owner.read(&mut bytes)?;
        if length == 0 {
            return Ok(());
        }
        typed.extend_from_slice(&bytes[..length]);
        while let Some(end) = typed.iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&typed[..end]).into_owned();
            typed.drain(..=end);
            kept |= line == "keep";
            say(&answer(&line, claim, hosts))?;
        }
    }
}

fn answer(line: &str, claim: &Claim, hosts: &mut Vec<Held>) -> String {
    match line.split_once(' ') {
        None if line == "keep" => "ok".to_owned(),
        Some(("host", name)) => match hold(&claim.dir, name) {
            Ok(host) => {
                let init = host.init;
                hosts.push(host);
                format!("ok {init}")
            }
            Err(error) => format!("error {error:#}"),
        },
        _ => format!("error no such command: {line}"),
    }
}

// Makes the host's control groups, then its holder, which makes its namespaces.
fn hold(lab: &Path, name: &str) -> Result<Held> {
    let dir = lab.join("hosts").join(name);
    fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let lab_name = lab.file_name().unwrap_or_default().to_string_lossy();
    let top = format!("twill-lab-{lab_name}");
    let mut owned = OpenOptions::new().create(true).append(true).open(lab.join("cgroups"))?;
    let mut groups = Vec::new();
    for hierarchy in hierarchies()? {
        // On record before it exists: whoever dies here leaves nothing that is not listed.
        writeln!(owned, "{}", hierarchy.below(&top).display())?;
        let group = hierarchy.ensure(&format!("{top}/{name}"))?;
        groups.push(group.display().to_string());
    }
    fs::write(dir.join("groups"), groups.join("\n"))?;

    let mut holder = Command::new(std::env::current_exe()?)
        .arg("hold")
        .arg(lab)
        .arg(name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the holder of a host")?;
    let lifeline = holder.stdin.take().context("a holder without input")?;
    let told = BufReader::new(holder.stdout.take().context("a holder without output")?);
    match init_of(told) {
        Ok(init) => {
            fs::write(dir.join("pid"), init.to_string())?;
            Ok(Held { holder, init, lifeline })
        }
        Err(error) => {
            drop(lifeline);
            holder.wait()?;
            Err(error.context(format!("cannot make the host {name}")))
        }
    }
}

// The number comes from the holder and `ready` from the init itself, in either order.
fn init_of(told: impl BufRead) -> Result<Pid> {
    let (mut init, mut ready) = (None, false);
    for line in told.lines() {
        match line?.split_once(' ') {
            Some(("pid", number)) => init = Some(Pid::from_raw(number.parse()?)),
            Some(("ready", _)) => ready = true,
            Some(("error", why)) => bail!("{why}"),
            _ => {}
        }
        if let (Some(init), true) = (init, ready) {
            return Ok(init);
        }
    }
    bail!("its holder died")
}

fn take_down(lab: &Path, hosts: Vec<Held>) -> Result<()> {
    let mut first = Ok(());
    for host in &hosts {
        // The kernel kills all others of a PID namespace when its init dies.
        first = first.and(kill(host.init, Signal::SIGKILL).context("cannot kill a host"));
    }
    for mut host in hosts {
        drop(host.lifeline);
        first = first.and(host.holder.wait().map(drop).context("cannot reap a holder"));
    }
    first.and(registry::erase(lab))
}

fn say(line: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")?;
    out.flush().context("cannot answer the owner")
}
