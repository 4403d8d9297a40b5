//! `twilld doctor` and `twilld trace`: the same looks at the kernel without an agent, by what the last
//! one left on disk. They print JSON, for `twillctl`, and change nothing.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;
use twill_core::doctor::Finding;
use twill_net::Kernel;

use crate::blueprint::Whole;
use crate::doctor;
use crate::failure::{self, Failure};
use crate::flags::{Flags, complete};
use crate::trace::{Kind, Maps, Question, Refusal};

/// The agent's options, as its unit reads them.
const OPTIONS: &str = "/etc/twill/twilld.env";

/// Which look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Command {
    /// At the host.
    Doctor,
    /// At the way between two containers.
    Trace,
}

/// Looks for what keeps containers from each other, without asking an agent.
///
/// Takes the agent's own options, from the command line, its variables, and /etc/twill/twilld.env.
#[derive(Debug, clap::Parser)]
#[command(name = "twilld doctor", disable_version_flag = true, args_override_self = true)]
struct Examine {
    #[command(flatten)]
    flags: Flags,
}

/// Walks the way between two containers, without asking the agent of this host.
///
/// Takes the agent's own options, from the command line, its variables, and /etc/twill/twilld.env.
#[derive(Debug, clap::Parser)]
#[command(name = "twilld trace", disable_version_flag = true, args_override_self = true)]
struct Walk {
    /// A container of this host, or its address
    #[arg(value_name = "SRC")]
    from: String,
    /// An address in the overlay, or a container of this host
    #[arg(value_name = "DST")]
    to: String,
    /// Port of the other agent's health page, unless it is --healthz-port
    #[arg(long, value_name = "PORT")]
    peer_port: Option<u16>,
    #[command(flatten)]
    flags: Flags,
}

impl Command {
    /// The command of that name.
    pub(crate) fn named(word: &OsStr) -> Option<Self> {
        match word.to_str()? {
            "doctor" => Some(Self::Doctor),
            "trace" => Some(Self::Trace),
            _other => None,
        }
    }
}

/// The whole of it, for `main`; `arguments` begin with the command's name.
pub(crate) fn run(command: Command, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let file = variables(Path::new(OPTIONS));
    let variable = |name: &str| {
        let of_file = || file.iter().rev().find(|(known, _)| known == name);
        std::env::var_os(name).or_else(|| of_file().map(|(_, value)| value.into()))
    };
    let done = match command {
        Command::Doctor => match complete::<Examine>(arguments, variable) {
            Ok((examine, _inherited)) => within(examine_host(&examine.flags)),
            Err(answer) => return failure::usage(&answer),
        },
        Command::Trace => match complete::<Walk>(arguments, variable) {
            Ok((walk, _inherited)) => within(walk_along(&walk)),
            Err(answer) => return failure::usage(&answer),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn within(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(work)
}

async fn examine_host(flags: &Flags) -> Result<(), Failure> {
    let kernel = Kernel::open()?;
    let mut findings = doctor::host();
    let mut wholes = Vec::new();
    for (name, flags) in flags.of_networks() {
        match Whole::from_disk(name.as_ref(), &flags, &kernel).await {
            Ok(whole) => wholes.push((name, whole)),
            Err(failure) => {
                let what =
                    format!("nobody knows what this host should be like: {}", failure.line());
                let hint = failure.way_out().unwrap_or("start twilld");
                let found = vec![Finding::fail("picture", what, hint)];
                findings.extend(doctor::of_network(name.as_ref(), found));
            }
        }
    }
    // The firewall is one for all of them.
    let policies: Vec<_> = wholes.iter().flat_map(|(_name, it)| it.own.clone()).collect();
    for (name, mut whole) in wholes {
        whole.policies.clone_from(&policies);
        let found = doctor::network(&kernel, &whole).await;
        findings.extend(doctor::of_network(name.as_ref(), found));
    }
    print(&findings)
}

async fn walk_along(walk: &Walk) -> Result<(), Failure> {
    let kernel = Kernel::open()?;
    let (mut maps, mut missing) = (Vec::new(), None);
    for (name, flags) in walk.flags.of_networks() {
        match Whole::from_disk(name.as_ref(), &flags, &kernel).await {
            Ok(whole) => maps.push((name, whole)),
            Err(failure) => missing = Some(failure),
        }
    }
    let maps = match (Maps::of(maps), missing) {
        (Some(maps), _) => maps,
        (None, Some(failure)) => return Err(failure),
        (None, None) => return Ok(()),
    };
    let (from, to, port) = (walk.from.clone(), walk.to.clone(), walk.peer_port);
    let question = Question { from, to, port };
    match maps.trace_by_itself(&kernel, walk.flags.healthz_port, &question).await {
        Ok(trace) => print(&trace),
        Err(Refusal { kind, what, hint }) => {
            let error = anyhow::Error::msg(what);
            let failure = match kind {
                Kind::Unknown => Failure::unknown(error),
                Kind::NotReady | Kind::Failed | Kind::Stranger => Failure::refused(error),
            };
            Err(failure.hint(hint))
        }
    }
}

fn print(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).context("cannot write it as JSON")?;
    Ok(writeln!(io::stdout(), "{text}").context("cannot write")?)
}

/// The lines of a file that systemd reads variables from, as far as options of ours need it: comments,
/// and values that may be in quotation marks. Nothing if there is no such file.
fn variables(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    let unquoted = |value: &str| {
        let inner = |mark| value.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
        inner('"').or_else(|| inner('\'')).unwrap_or(value).to_owned()
    };
    pairs.map(|(name, value)| (name.trim().to_owned(), unquoted(value.trim()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_the_unit_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("twilld.env");
        let text = "# a comment\nTWILLD_IFACE=eth1\nTWILLD_STATE_DIR=\"/srv/a b\"\n\nX='y'\n;Z=1\n";
        std::fs::write(&file, text).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let wanted =
            [pair("TWILLD_IFACE", "eth1"), pair("TWILLD_STATE_DIR", "/srv/a b"), pair("X", "y")];
        assert_eq!(variables(&file), wanted);
        assert!(variables(&directory.path().join("none")).is_empty());
    }

    #[test]
    fn the_two_commands_take_the_agents_options() {
        let none = |_: &str| None;
        let words = ["doctor", "--state-dir", "/x", "-ip-masq"].map(OsString::from);
        let (examine, _) = complete::<Examine>(words, none).unwrap();
        assert!(examine.flags.firewall.masquerade.ip_masq);
        let words = ["trace", "web", "10.88.2.2", "--healthz-port", "8471"].map(OsString::from);
        let (walk, _) = complete::<Walk>(words, none).unwrap();
        assert_eq!((walk.from.as_str(), walk.flags.healthz_port), ("web", 8471));
        let variable = |name: &str| (name == "TWILLD_HEALTHZ_PORT").then(|| "8472".into());
        let words = ["trace", "--", "web", "10.88.2.2"].map(OsString::from);
        let (walk, _) = complete::<Walk>(words, variable).unwrap();
        assert_eq!((walk.to.as_str(), walk.flags.healthz_port), ("10.88.2.2", 8472));
    }
}
