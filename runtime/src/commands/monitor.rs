//! The hidden command behind every container: see [`crate::monitor`].

use crate::Paths;
use crate::commands::Code;

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Full id
    pub id: String,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    crate::monitor::run(paths, &args.id)?;
    Ok(Code::OK)
}
