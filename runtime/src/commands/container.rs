//! The commands for containers, by themselves and as `twill container …`.

use clap::Subcommand;

use super::{
    attach, commit, cp, create, diff, exec, export, inspect, kill, logs, pause, port, prune, ps,
    rename, restart, rm, run, start, stats, stop, top, unpause, update, wait,
};
use crate::Paths;
use crate::commands::Code;

/// What is called the same in both places.
#[derive(Debug, Subcommand)]
pub enum Common {
    /// Create a container from an image and start it
    Run(run::Args),
    /// Create a container without starting it
    Create(create::Args),
    /// Start containers that rest
    Start(start::Args),
    /// Run a command in a running container
    Exec(exec::Args),
    /// Connect to the input and output of a running container
    Attach(attach::Args),
    /// Show what a container wrote
    Logs(logs::Args),
    /// Ask containers to end, then make them
    Stop(stop::Args),
    /// Stop containers and start them again
    Restart(restart::Args),
    /// Send a signal to containers
    Kill(kill::Args),
    /// Halt every process of containers
    Pause(pause::Args),
    /// Let the processes of paused containers go on
    Unpause(unpause::Args),
    /// Wait until containers have ended and print their exit codes
    Wait(wait::Args),
    /// Remove containers
    Rm(rm::Args),
    /// Give a container another name
    Rename(rename::Args),
    /// Show where the ports of a container are reached
    Port(port::Args),
    /// Show the processes of a container
    Top(top::Args),
    /// Show what containers use: processor, memory, network, disk
    Stats(stats::Args),
    /// Change the limits of containers
    Update(update::Args),
    /// Copy files between a container and the host
    Cp(cp::Args),
    /// Make an image of what a container changed
    Commit(commit::Args),
    /// Write all files of a container as an archive
    Export(export::Args),
    /// Show what a container changed of its image's files
    Diff(diff::Args),
}

/// `twill container …`.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, once")]
pub enum Group {
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Args),
    /// Show all that is known about containers, as JSON
    Inspect(inspect::Args),
    /// Remove all containers that do not run
    Prune(prune::Args),
    /// What is called the same without `container`.
    #[command(flatten)]
    Common(Common),
}

/// Does it.
pub fn common(command: Common, paths: &Paths) -> anyhow::Result<Code> {
    match command {
        Common::Run(args) => run::run(&args, paths),
        Common::Create(args) => create::run(&args, paths),
        Common::Start(args) => start::run(&args, paths),
        Common::Exec(args) => exec::run(&args, paths),
        Common::Attach(args) => attach::run(&args, paths),
        Common::Logs(args) => logs::run(&args, paths),
        Common::Stop(args) => stop::run(&args, paths),
        Common::Restart(args) => restart::run(&args, paths),
        Common::Kill(args) => kill::run(&args, paths),
        Common::Pause(args) => pause::run(&args, paths),
        Common::Unpause(args) => unpause::run(&args, paths),
        Common::Wait(args) => wait::run(&args, paths),
        Common::Rm(args) => rm::run(&args, paths),
        Common::Rename(args) => rename::run(&args, paths),
        Common::Port(args) => port::run(&args, paths),
        Common::Top(args) => top::run(&args, paths),
        Common::Stats(args) => stats::run(&args, paths),
        Common::Update(args) => update::run(&args, paths),
        Common::Cp(args) => cp::run(&args, paths),
        Common::Commit(args) => commit::run(&args, paths),
        Common::Export(args) => export::run(&args, paths),
        Common::Diff(args) => diff::run(&args, paths),
    }
}

/// Does it.
pub fn group(command: Group, paths: &Paths) -> anyhow::Result<Code> {
    match command {
        Group::Ls(args) => ps::run(&args, paths),
        Group::Inspect(args) => {
            let r#type = Some(inspect::Kind::Container);
            inspect::run(&inspect::Args { r#type, ..args }, paths)
        }
        Group::Prune(args) => prune::run(&args, paths),
        Group::Common(command) => common(command, paths),
    }
}
