//! `twill attach`: input and output of a running container.

use crate::Paths;
use crate::commands::Code;

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Do not send standard input
    #[arg(long)]
    pub no_stdin: bool,
    /// The container, by name, id or the start of its id
    pub container: String,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    anyhow::bail!("attach is not built yet: {args:?} {paths:?}")
}
