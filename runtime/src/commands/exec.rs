//! `twill exec`: one more process in a running container.

use crate::Paths;
use crate::commands::Code;

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Leave it running and return
    #[arg(short, long)]
    pub detach: bool,
    /// Set an environment variable; without `=VALUE`, take it from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Working directory inside; the container's own if not given
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// User and group, by name or number; the container's own if not given
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// The container, then the command
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["CONTAINER", "COMMAND"])]
    pub container_and_command: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    anyhow::bail!("exec is not built yet: {args:?} {paths:?}")
}
