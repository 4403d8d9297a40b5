//! The command line: what is accepted, what is explained, which code ends it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands::{self, Code};
use crate::paths::{DEFAULT_ROOT, DEFAULT_RUN_ROOT};
use crate::{Error, Paths, output, process, usage};

/// Runs containers on this host's subnet of the overlay network.
#[derive(Debug, Parser)]
#[command(
    name = "twill",
    version,
    disable_help_subcommand = true,
    args_override_self = true,
    after_help = "Examples:
  twill load -i web.tar                   take an image in
  twill run -d --name web web httpd -f    start it, get its id
  twill exec -it web sh                   look around inside
  twill logs -f web                       follow what it says
  twill rm -f web                         and away with it"
)]
struct Cli {
    /// Directory for images and containers
    #[arg(long, env = "TWILL_ROOT", default_value = DEFAULT_ROOT, value_name = "DIR")]
    root: PathBuf,
    /// Directory for sockets, locks and bundles, empty after a reboot
    #[arg(long, env = "TWILL_RUN_ROOT", default_value = DEFAULT_RUN_ROOT, value_name = "DIR")]
    run_root: PathBuf,
    /// File that says which subnet this host has
    #[arg(long, env = "TWILL_SUBNET_FILE", default_value = twill_endpoint::SUBNET_ENV, value_name = "FILE")]
    subnet_file: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    OfContainers(commands::container::Common),
    /// List containers
    Ps(commands::ps::Args),
    /// Show all that is known about containers or images, as JSON
    Inspect(commands::inspect::Args),
    #[command(flatten)]
    OfImages(commands::image::Common),
    /// List images
    Images(commands::images::Args),
    /// Remove images
    Rmi(commands::rmi::Args),
    /// Show what happened, and what happens
    Events(commands::events::Args),
    /// Show this host and what is on it
    Info(commands::info::Args),
    /// Show the version of this program and of what it runs on
    Version(commands::version::Args),
    /// All that can be done with containers
    #[command(subcommand)]
    Container(commands::container::Group),
    /// All that can be done with images
    #[command(subcommand)]
    Image(commands::image::Group),
    /// Directories that outlive containers
    #[command(subcommand)]
    Volume(commands::volume::Group),
    /// The whole of what is here: disk, leftovers, events
    #[command(subcommand)]
    System(commands::system::Group),
    /// Look after containers' places on the overlay
    Network(commands::network::Args),
    /// Start what was to run when the host went down
    Boot(commands::boot::Args),
    /// Write manual pages and shell completions into a directory
    #[command(hide = true)]
    Generate(commands::generate::Args),
    /// The process that looks after one container; started by `run`, not by people
    #[command(hide = true)]
    Monitor(commands::monitor::Args),
    /// Halts a container while its input is open; started by `commit`, not by people
    #[command(hide = true)]
    Halt(commands::halt::Args),
}

impl Command {
    /// Is it `run`, whose own failures have a code of their own?
    fn is_run(&self) -> bool {
        use commands::container::{Common, Group};
        let (Self::OfContainers(command) | Self::Container(Group::Common(command))) = self else {
            return false;
        };
        matches!(command, Common::Run(_))
    }
}

/// All that the command line accepts.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// The whole program: parse, run, say once what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return explain_usage(&error, &arguments),
    };
    let paths = match (std::path::absolute(&cli.root), std::path::absolute(&cli.run_root)) {
        (Ok(root), Ok(run_root)) => Paths::new(root, run_root),
        _ => Paths::new(cli.root, cli.run_root),
    };
    let paths = paths.with_subnet_env(cli.subnet_file);
    let of_run = cli.command.is_run();
    // Layers and trees are many and deep; containers have limits of their own.
    process::allow_many_files();
    match dispatch(cli.command, &paths) {
        Ok(Code(code)) => code.into(),
        Err(error) => report(&error, of_run).into(),
    }
}

fn dispatch(command: Command, paths: &Paths) -> anyhow::Result<Code> {
    match command {
        Command::OfContainers(command) => commands::container::common(command, paths),
        Command::Ps(args) => commands::ps::run(&args, paths),
        Command::Inspect(args) => commands::inspect::run(&args, paths),
        Command::OfImages(command) => commands::image::common(command, paths),
        Command::Images(args) => commands::images::run(&args, paths),
        Command::Rmi(args) => commands::rmi::run(&args, paths),
        Command::Events(args) => commands::events::run(&args, paths),
        Command::Info(args) => commands::info::run(&args, paths),
        Command::Version(args) => commands::version::run(&args, paths),
        Command::Container(group) => commands::container::group(group, paths),
        Command::Image(group) => commands::image::group(group, paths),
        Command::Volume(group) => commands::volume::group(&group, paths),
        Command::System(group) => commands::system::group(&group, paths),
        Command::Network(args) => commands::network::run(&args, paths),
        Command::Boot(args) => commands::boot::run(&args, paths),
        Command::Generate(args) => commands::generate::run(&args, paths),
        Command::Monitor(args) => commands::monitor::run(&args, paths),
        Command::Halt(args) => commands::halt::run(&args, paths),
    }
}

fn report(error: &anyhow::Error, of_run: bool) -> u8 {
    output::note(format_args!("twill: {error:#}"));
    let known = error.downcast_ref::<Error>();
    let of_image = error.downcast_ref::<crate::image::Error>().and_then(crate::image::Error::hint);
    if let Some(hint) = known.and_then(Error::hint).or(of_image) {
        output::note(format_args!("hint: {hint}"));
    }
    match known {
        Some(Error::Start { code, .. }) => *code,
        Some(Error::NotATerminal) => 1,
        _ if of_run => 125,
        Some(known) => known.exit_code(),
        None => 1,
    }
}

fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    match Cli::try_parse_from(arguments) {
        Err(error) if error.kind() == ErrorKind::TooManyValues => {
            let mut matches = with_values(command()).try_get_matches_from(arguments)?;
            Cli::from_arg_matches_mut(&mut matches)
        }
        parsed => parsed,
    }
}

/// The same commands with flags that may be told `true` and `false`, as in `--rm=true`.
fn with_values(command: clap::Command) -> clap::Command {
    let told = |arg: clap::Arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .value_parser(usage::truth),
        _ => arg,
    };
    command.mut_args(told).mut_subcommands(with_values)
}

fn explain_usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    if let Some(wrong) = usage::explain(error, &command(), arguments) {
        output::note(format_args!("twill: {}\nhint: {}", wrong.message, wrong.hint));
        return wrong.code.into();
    }
    let printed = error.print();
    drop(printed);
    match (error.use_stderr(), is_run(arguments)) {
        (false, _) => ExitCode::SUCCESS,
        (true, true) => 125.into(),
        (true, false) => 1.into(),
    }
}

/// Docker's code for a wrong flag of `run` says that it was not the container that failed.
fn is_run(arguments: &[OsString]) -> bool {
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--root" | "--run-root" | "--subnet-file") => drop(rest.next()),
            Some(flag) if flag.starts_with('-') => {}
            Some("container") => {}
            word => return matches!(word, Some("run" | "create")),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::container::Common;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_errors_of_run_have_their_own_code() {
        let check = |line: &str, want: bool| {
            let arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
            assert_eq!(is_run(&arguments), want, "{line}");
        };
        check("twill run --bogus", true);
        check("twill --root /x run --bogus", true);
        check("twill --root=/x create", true);
        check("twill ps --bogus", false);
        check("twill container run --bogus", true);
        check("twill container rm run", false);
        check("twill exec run", false);
        check("twill", false);
    }

    #[test]
    fn everything_after_the_image_belongs_to_the_container() {
        let cli = Cli::try_parse_from(["twill", "run", "-it", "bb", "ls", "-t", "--name", "x"]);
        let Ok(Cli { command: Command::OfContainers(Common::Run(args)), .. }) = cli else {
            panic!("{cli:?}")
        };
        assert_eq!(args.create.image_and_command, ["bb", "ls", "-t", "--name", "x"]);
        assert_eq!(args.create.name, None);
        assert!(Cli::try_parse_from(["twill", "run", "--bogus", "bb"]).is_err());
    }
}
