//! `twill kill`: a signal for the first process of a container.

use crate::Paths;
use crate::commands::Code;

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Signal, by name or number
    #[arg(short, long, default_value = "KILL")]
    pub signal: crate::signals::Signal,
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    anyhow::bail!("kill is not built yet: {args:?} {paths:?}")
}
