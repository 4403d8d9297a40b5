//! `twill create`: everything of `run` but the start.

use crate::Paths;
use crate::commands::Code;

/// What describes a container to be.
#[derive(Clone, Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Remove the container when it ends
    #[arg(long)]
    pub rm: bool,
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Name of the container; made up if not given
    #[arg(long)]
    pub name: Option<String>,
    /// Host name inside; the short id if not given
    #[arg(short = 'h', long)]
    pub hostname: Option<String>,
    /// Set an environment variable; without `=VALUE`, take it from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// How the container meets the network
    #[arg(long, visible_alias = "net", value_name = "MODE", default_value = "bridge")]
    pub network: crate::container::Network,
    /// Working directory inside
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Replace the image's entry point; empty to have none
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Cgroup below which the container gets its own
    #[arg(long, env = "TWILL_CGROUP_PARENT", value_name = "PATH", default_value = "/twill")]
    pub cgroup_parent: String,
    /// The image, then the command that replaces the image's own
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    pub image_and_command: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    anyhow::bail!("create is not built yet: {args:?} {paths:?}")
}
