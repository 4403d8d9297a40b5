//! `twill wait`: block until containers have ended.

use crate::commands::{Code, each};
use crate::container::{Container, Store};
use crate::monitor::session::Session;
use crate::{Paths, output};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    Ok(each::container(&store, &args.containers, |Container { record, state }, name| {
        if !state.status.is_alive() {
            output::line(state.exit_code);
            return Ok(());
        }
        match Session::join(paths, &record, None).and_then(Session::wait_for_end) {
            Ok(code) => output::line(code),
            // It ended, or lost its monitor, just now; its state knows.
            Err(_gone) => output::line(each::one(&store, name)?.state.exit_code),
        }
        Ok(())
    }))
}
