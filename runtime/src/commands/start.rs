//! `twill start`: a container that rests runs again, with what it left on disk.

use crate::Paths;
use crate::commands::Code;

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Connect to its output, and end with its exit code
    #[arg(short, long)]
    pub attach: bool,
    /// Connect standard input too
    #[arg(short, long)]
    pub interactive: bool,
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    anyhow::bail!("start is not built yet: {args:?} {paths:?}")
}
