//! `twill rm`: containers and everything that they left.

use crate::Paths;
use crate::commands::Code;

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Kill what still runs; a container that is not there is no failure
    #[arg(short, long)]
    pub force: bool,
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    anyhow::bail!("rm is not built yet: {args:?} {paths:?}")
}
