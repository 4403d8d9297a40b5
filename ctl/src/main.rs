//! twillctl, the administrator's tool of the Twill overlay network.

mod agent;
mod args;
mod environment;
mod failure;
mod generate;
#[cfg(test)]
mod golden;
mod leases;
mod network;
mod nodes;
mod report;
mod revoke;
mod run;
mod status;
mod table;

use std::io::Write as _;
use std::process::ExitCode;

use crate::report::Report;

fn main() -> ExitCode {
    let cli = match args::parse() {
        Ok(cli) => cli,
        // Also how `--help` and `--version` arrive.
        Err(error) => return print_usage(&error),
    };
    match run::run(cli) {
        Ok(report) => print(&report),
        Err(failure) => {
            say(&failure.to_string());
            failure.exit_code().into()
        }
    }
}

fn print_usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when the terminal is gone.
    _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn print(report: &Report) -> ExitCode {
    for note in &report.notes {
        say(&format!("twillctl: {note}"));
    }
    match std::io::stdout().write_all(report.data.as_bytes()) {
        // `twillctl lease list | head -1` is no failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            say(&format!("twillctl: cannot write to stdout: {error}"));
            ExitCode::FAILURE
        }
        _ => report.code.into(),
    }
}

fn say(line: &str) {
    _ = writeln!(std::io::stderr(), "{line}");
}
