//! The lab by hand: builds hosts on this machine, enters them, shows the main job.

use std::process::ExitCode;

fn main() -> ExitCode {
    twill_integration::cli::main()
}
