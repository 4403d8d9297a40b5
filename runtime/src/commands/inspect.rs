//! `twill inspect`: all that is known, in Docker's field names.

use crate::Paths;
use crate::commands::Code;

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Names, ids or starts of ids
    #[arg(required = true)]
    pub names: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    anyhow::bail!("inspect is not built yet: {args:?} {paths:?}")
}
