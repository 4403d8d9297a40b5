//! Rights as the unit files give them, so that what runs in a lab runs with what systemd leaves it.

use std::fs;
use std::io::{Read, Write, copy};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::host::Host;
use crate::process::Daemon;
use crate::wait::wait_until;

/// The agent's.
pub const AGENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/twilld.service");
/// What is put beside it for the shortcut of `udp`.
const SHORTCUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/examples/shortcut.conf");
/// What the agent's hook starts.
pub const SYNC: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/twill-network-sync.service");

/// Where a host's manager of units listens.
const MANAGER: &str = "/run/manager.sock";
/// What the agent runs as its hook.
pub(crate) const HOOK: &str = "/run/subnet-hook";

/// How long the manager may take to come up on a busy machine.
const START: Duration = Duration::from_secs(20);

/// Words before a command that leave it the capabilities of a unit, and no way to others.
///
/// # Errors
/// When the unit does not say which those are.
pub fn of_unit(unit: &str) -> Result<[String; 3]> {
    let text = fs::read_to_string(unit).with_context(|| format!("cannot read {unit}"))?;
    ensure!(text.lines().any(|line| line == "NoNewPrivileges=yes"), "{unit}: new privileges");
    let bounds = bounds(unit)?;
    Ok(["setpriv".into(), "--no-new-privs".into(), format!("--bounding-set=-all,{bounds}")])
}

/// The same for the agent, with what its options take beside its unit.
///
/// # Errors
/// As [`of_unit`].
pub(crate) fn of_agent(options: &[String]) -> Result<[String; 3]> {
    let [program, privileges, set] = of_unit(AGENT)?;
    let more = if options.iter().any(|option| option == "--udp-shortcut=auto") {
        format!(",{}", bounds(SHORTCUT)?)
    } else {
        String::new()
    };
    Ok([program, privileges, set + &more])
}

/// In the words of `setpriv`.
fn bounds(unit: &str) -> Result<String> {
    let text = fs::read_to_string(unit).with_context(|| format!("cannot read {unit}"))?;
    let bounds = text.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let bounds = bounds.with_context(|| format!("{unit}: no capabilities"))?;
    Ok(bounds.to_lowercase().replace("cap_", "+").replace(' ', ","))
}

/// Starts what systemd is to the agent's hook: somebody with all rights who starts a unit on demand.
/// The hook asks it.
///
/// # Errors
/// When it does not come up.
pub(crate) fn manager(host: &Host) -> Result<Daemon> {
    let words = of_unit(SYNC)?;
    let command = ["twill-lab", "manage", MANAGER, "--"].into_iter();
    let command = command.chain(words.iter().map(String::as_str));
    let manager = host.spawn("manager", command.chain(["twill", "network", "sync"]))?;
    let hook = format!("#!/bin/sh\nexec twill-lab demand {MANAGER}\n");
    fs::write(host.path(HOOK), hook)?;
    host.ok(["chmod", "755", HOOK])?;
    wait_until("the manager listens", START, || host.path(MANAGER).exists())?;
    Ok(manager)
}

/// The manager itself: runs the command once for each who asks, one after the other.
///
/// # Errors
/// When it cannot listen.
pub(crate) fn manage(socket: &Path, command: &[String]) -> Result<()> {
    let [program, arguments @ ..] = command else { anyhow::bail!("no command given") };
    // Of an earlier one.
    drop(fs::remove_file(socket));
    for stream in UnixListener::bind(socket)?.incoming() {
        let mut stream = stream?;
        let output = || stream.try_clone().map(OwnedFd::from).map(Stdio::from);
        let mut unit = Command::new(program);
        unit.args(arguments).stdin(Stdio::null()).stdout(output()?).stderr(output()?);
        let status = unit.status().with_context(|| format!("cannot start {program}"))?;
        // Whoever asked may have gone.
        drop(write!(stream, "\0{}", status.code().unwrap_or(255)));
    }
    Ok(())
}

/// The hook: asks the manager, and ends as what that ran.
///
/// # Errors
/// When it does not answer.
pub(crate) fn demand(socket: &Path) -> Result<ExitCode> {
    let mut said = Vec::new();
    UnixStream::connect(socket)?.read_to_end(&mut said)?;
    let end = said.iter().rposition(|byte| *byte == 0).context("the manager has gone")?;
    let (said, code) = said.split_at(end);
    copy(&mut &*said, &mut std::io::stdout())?;
    let code = String::from_utf8_lossy(code);
    Ok(ExitCode::from(code.trim_start_matches('\0').parse::<u8>()?))
}
