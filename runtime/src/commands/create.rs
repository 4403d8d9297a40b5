//! `twill create`: everything of `run` but the start.

use crate::commands::Code;
use crate::container::Store;
use crate::container::create::{self, Wishes};
use crate::{Paths, output};

/// What describes a container to be.
#[derive(Clone, Debug, clap::Args)]
#[command(disable_help_flag = true)]
// `run` has a group of this name, too.
#[group(skip)]
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
    /// Label, for filters and for people
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// When it starts again by itself: no, on-failure, on-failure:TIMES, always, unless-stopped
    #[arg(long, value_name = "POLICY", default_value = "no")]
    pub restart: crate::container::Policy,
    /// How much of the host it may use.
    #[command(flatten)]
    pub limits: super::update::Limits,
    /// The image, then the command that replaces the image's own
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    pub image_and_command: Vec<String>,
}

impl Args {
    /// For the library.
    #[must_use]
    pub fn wishes(&self) -> Wishes {
        // Clap has seen to it that there is an image.
        let (image, command) = self.image_and_command.split_first().map_or_else(
            || (String::new(), Vec::new()),
            |(image, command)| (image.clone(), command.to_vec()),
        );
        Wishes {
            image,
            command,
            entrypoint: self.entrypoint.clone(),
            name: self.name.clone(),
            hostname: self.hostname.clone(),
            env: self.env.clone(),
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            network: self.network,
            tty: self.tty,
            interactive: self.interactive,
            auto_remove: self.rm,
            cgroup_parent: self.cgroup_parent.clone(),
            labels: self.label.clone(),
            resources: self.limits.resources(),
            restart: self.restart,
        }
    }
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    output::line(create::create(&store, &args.wishes())?.id);
    Ok(Code::OK)
}
