//! twillctl, the administrator's tool of the Twill overlay network.

mod access;
mod agent;
mod args;
mod ask;
mod cni;
mod doctor;
mod environment;
mod failure;
mod gc;
mod generate;
#[cfg(test)]
mod golden;
mod host;
mod lease;
mod leases;
mod names;
mod network;
mod nodes;
mod peers;
mod report;
mod reserve;
mod revoke;
mod run;
mod show;
mod status;
mod table;
mod trace;
mod twilld;
mod watch;

use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::failure::Failure;

fn main() -> ExitCode {
    let cli = match args::parse() {
        Ok(cli) => cli,
        // Also how `--help` and `--version` arrive.
        Err(error) => return print_usage(&error),
    };
    match run::run(cli) {
        Ok(report) => report.print().into(),
        Err(failure) => {
            report::say(&failure);
            failure.exit_code().into()
        }
    }
}

fn print_usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let failure = Failure::usage(&error.to_string());
        report::say(&failure);
        return failure.exit_code().into();
    }
    // Nobody is left to tell when the terminal is gone.
    _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}
