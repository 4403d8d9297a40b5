//! `twill`: runs containers on the host's subnet. All that it does lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    twill::cli::main()
}
