//! The CNI plugin of the Twill overlay network: joins a container to its host's subnet.
//!
//! Called by containerd, CRI-O, Podman or Nomad as the CNI specification (1.1.0) says: a verb and
//! the container in the environment, the network's configuration on stdin, a result or an error as
//! JSON on stdout, and an exit code. It asks nobody: a file says which subnet the host has, and
//! addresses come from a pool on disk, so that containers start while the agent restarts.

mod agent;
mod config;
mod document;
mod environment;
mod error;
mod help;
mod outcome;
mod verbs;
mod version;
mod wish;

use std::io::{self, Write};
use std::process::ExitCode;

use environment::Environment;
use help::HELP;
use version::Version;

fn main() -> ExitCode {
    if std::env::var_os("CNI_COMMAND").is_none() {
        // A person looks what this is; every answer to a runtime starts with a command.
        let versions = Version::ALL.map(Version::as_str).join(", ");
        let release = env!("CARGO_PKG_VERSION");
        let help = std::env::args_os().skip(1).any(|word| word == "--help" || word == "-h");
        let about = writeln!(
            io::stderr(),
            "twill-cni {release}: CNI plugin of the Twill overlay network; speaks CNI {versions}"
        );
        let told = about.and_then(|()| if help { write!(io::stdout(), "{HELP}") } else { Ok(()) });
        return exit_code(told.is_ok());
    }
    let environment = Environment::new(|name| std::env::var_os(name));
    let (answer, succeeded) = match verbs::run(&environment, io::stdin()) {
        Ok(answer) => (answer, true),
        Err(failure) => (Some(failure.to_json()), false),
    };
    // In one piece: a runtime sees all of it or nothing.
    let text = answer.map_or_else(String::new, |answer| format!("{answer:#}\n"));
    let written = io::stdout().write_all(text.as_bytes());
    exit_code(succeeded && written.is_ok())
}

fn exit_code(succeeded: bool) -> ExitCode {
    if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
