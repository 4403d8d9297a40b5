//! `twilld`, the agent of the Twill overlay network.
//!
//! Once, in this order: read the configuration, claim a subnet, make the device, write the firewall
//! and the rows towards the peers, publish `subnet.env`. Then, for ever: keep the kernel equal to
//! etcd, and the lease ours. A stop leaves all of it standing.

mod access;
mod blueprint;
mod books;
mod bootstrap;
mod clash;
mod cleanup;
mod datapath;
mod departed;
mod doctor;
mod extension;
mod failure;
mod files;
mod firewall;
mod flags;
mod follow;
mod gate;
mod heritage;
mod hook;
mod host;
mod http;
mod identity;
mod live;
mod lock;
mod logs;
mod memory;
mod metrics;
mod names;
mod network;
mod offline;
pub mod ownership;
mod patience;
mod ports;
mod prefix;
mod publish;
mod reconcile;
mod session;
mod setup;
mod shelf;
mod site;
mod status;
mod stay;
mod supervise;
mod trace;
mod trouble;
mod visit;
mod visits;
mod wake;
mod watchdog;

use std::process::ExitCode;

use flags::Flags;

/// The whole program.
pub fn run() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|word| word == cleanup::COMMAND) {
        return cleanup::run(arguments.into_iter().skip(1));
    }
    if let Some(command) = arguments.get(1).and_then(|word| offline::Command::named(word)) {
        return offline::run(command, arguments.into_iter().skip(1));
    }
    if arguments.get(1).is_some_and(|word| word == hook::runner::COMMAND) {
        return hook::runner::run(arguments.into_iter().skip(1));
    }
    let parsed = match Flags::parse_from(arguments, |name| std::env::var_os(name)) {
        Ok(parsed) => parsed,
        Err(answer) => return failure::usage(&answer),
    };
    logs::start(parsed.flags.log_format, parsed.flags.verbosity);
    if let Err(error) = flags::hide_password() {
        tracing::error!(%error, "cannot hide the password for etcd: everybody on this host can read it");
    }
    match supervise::run(parsed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
