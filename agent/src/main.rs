//! `twilld`, the agent of the Twill overlay network.
//!
//! Once, in this order: read the configuration, claim a subnet, make the device, write the firewall
//! and the rows towards the peers, publish `subnet.env`. Then, for ever: keep the kernel equal to
//! etcd, and the lease ours. A stop leaves all of it standing.

mod bootstrap;
mod claim;
mod clash;
mod datapath;
mod failure;
mod files;
mod firewall;
mod flags;
mod follow;
mod http;
mod identity;
mod keeper;
mod lock;
mod logs;
mod patience;
mod publish;
mod reconcile;
mod session;
mod status;
mod supervise;
mod trouble;

use std::process::ExitCode;

use flags::Flags;

fn main() -> ExitCode {
    let parsed = match Flags::parse_from(std::env::args_os(), |name| std::env::var_os(name)) {
        Ok(parsed) => parsed,
        Err(answer) => return failure::usage(&answer),
    };
    logs::start(parsed.flags.log_format, parsed.flags.verbosity);
    match supervise::run(parsed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
