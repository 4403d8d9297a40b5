//! `twill create`: everything of `run` but the start.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use super::isolation::{self, Pull};
use crate::commands::Code;
use crate::container::attachment::{Attachment, Stream};
use crate::container::create::{self, Wishes};
use crate::container::ports::ExposedRange;
use crate::container::{Network, Record, Store, env_file, wiring};
use crate::error::{Error, FileContext as _, Result};
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
    /// Connect stdin, stdout or stderr alone; said once for each
    #[arg(short, long, value_name = "STREAM")]
    pub attach: Vec<Stream>,
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
    /// How the container meets the network: bridge, host, none, container:NAME
    #[arg(long, visible_alias = "net", value_name = "MODE", default_value = "bridge")]
    pub network: wiring::Mode,
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
    /// How it is reached.
    #[command(flatten)]
    pub wiring: super::network_options::Args,
    /// How much of the host it may use.
    #[command(flatten)]
    pub limits: super::update::Limits,
    /// What it may do and see.
    #[command(flatten)]
    pub isolation: isolation::Args,
    /// How it is asked whether it does its work.
    #[command(flatten)]
    pub health: super::health::Args,
    /// What it sees of the host's files.
    #[command(flatten)]
    pub storage: super::storage::Args,
    /// The image, then the command that replaces the image's own
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    pub image_and_command: Vec<String>,
}

impl Args {
    fn network_is_the_hosts(&self) -> bool {
        self.network == wiring::Mode::Own(Network::Host)
    }

    /// For the library; files that are named are read here and now.
    pub fn wishes(&self) -> Result<Wishes> {
        // Clap has seen to it that there is an image.
        let (image, command) = self.image_and_command.split_first().map_or_else(
            || (String::new(), Vec::new()),
            |(image, command)| (image.clone(), command.to_vec()),
        );
        let more = &self.isolation;
        let mut env = env_file::read(&more.env_file)?;
        env.extend_from_slice(&self.env);
        Ok(Wishes {
            image,
            command,
            entrypoint: self.entrypoint.clone(),
            name: self.name.clone(),
            hostname: self.hostname.clone(),
            env,
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            network: wiring::Wishes {
                exposes: !more.expose.is_empty(),
                ..self.wiring.network(self.network.clone(), self.hostname.is_some())
            },
            wiring: self.wiring.wishes(),
            tty: self.tty,
            interactive: self.interactive,
            attached: Attachment::of(&self.attach, self.interactive),
            auto_remove: self.rm,
            cgroup_parent: self.cgroup_parent.clone(),
            labels: self.label.clone(),
            resources: self.limits.resources(),
            restart: self.restart,
            security: more.security()?,
            isolation: more.isolation(),
            exposed: more
                .expose
                .iter()
                .flat_map(ExposedRange::all)
                .map(|it| it.to_string())
                .collect(),
            stop_signal: more.stop_signal,
            stop_timeout: more.stop_timeout,
            cid_file: more.cidfile.clone(),
            health: self.health.check()?,
            mounts: self.storage.mounts()?,
            log_options: more.log_options()?,
        })
    }
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    output::line(create(&store, args, &args.wishes()?)?.id);
    Ok(Code::OK)
}

/// Writes a new container down, and its id where that was asked for.
pub fn create(store: &Store<'_>, args: &Args, wishes: &Wishes) -> Result<Record> {
    if args.network_is_the_hosts() && wishes.network.publishes {
        output::note("WARNING: Published ports are discarded when using host network mode");
    }
    let pull = args.isolation.pull;
    if pull == Pull::Always {
        let reason = "there is no registry to pull from yet: load or import the image, and leave --pull always out";
        return Err(Error::Usage(format!("cannot pull '{}': {reason}", wishes.image)));
    }
    let file = wishes.cid_file.as_deref().map(claim).transpose()?;
    let written = create::create(store, wishes).and_then(|record| {
        if let (Some(mut file), Some(path)) = (file, &wishes.cid_file) {
            file.write_all(record.id.as_bytes()).file("write", path)?;
        }
        Ok(record)
    });
    written.map_err(|error| {
        if let Some(path) = &wishes.cid_file {
            // The first cause counts.
            drop(fs::remove_file(path));
        }
        match error {
            Error::NoSuchImage(name) if pull == Pull::Never => {
                Error::Usage(format!("No such image: {name}"))
            }
            error => error,
        }
    })
}

fn claim(path: &Path) -> Result<File> {
    File::create_new(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::Usage(format!(
            "container ID file found, make sure the other container isn't running or delete {}",
            path.display()
        )),
        _ => Error::File { operation: "create", path: path.to_owned(), source: error },
    })
}
