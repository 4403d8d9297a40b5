//! `twill logs`: what a container wrote, from the file that its monitor keeps.

use crate::Paths;
use crate::commands::Code;

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Go on until the container ends
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "NUMBER", default_value = "all")]
    pub tail: crate::logs::Tail,
    /// Begin each line with its time
    #[arg(short, long)]
    pub timestamps: bool,
    /// The container, by name, id or the start of its id
    pub container: String,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    anyhow::bail!("logs is not built yet: {args:?} {paths:?}")
}
