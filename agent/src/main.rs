//! `twilld`, the agent of the Twill overlay network.

use std::process::ExitCode;

fn main() -> ExitCode {
    twill_agent::run()
}
