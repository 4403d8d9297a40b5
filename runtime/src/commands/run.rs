//! `twill run`: a container from an image, started.

use crate::Paths;
use crate::commands::{Code, create};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  twill run --rm busybox echo hello             run once, keep nothing
  twill run -d --name web busybox httpd -f      stay in the background
  echo data | twill run -i --rm busybox wc -c   feed it
  twill run -it --rm busybox sh                 sit in it; ctrl-p ctrl-q leaves it running

The exit code is the command's own, 128+n if signal n ended it, 127 if there is no such command,
126 if it cannot be invoked, 125 if twill itself failed."
)]
pub struct Args {
    /// Print the id and leave the container running
    #[arg(short, long)]
    pub detach: bool,
    /// What to create.
    #[command(flatten)]
    pub create: create::Args,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    anyhow::bail!("run is not built yet: {args:?} {paths:?}")
}
