//! Manual pages and shell completions, from the same types that parse the command line.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Cli;
use crate::environment;
use crate::failure::{Failure, Kind};
use crate::report::Report;

/// Writes `twillctl.8`, a page for each command, and completions for bash, zsh and fish.
pub(crate) fn generate(directory: &Path) -> Result<Report, Failure> {
    // What is set on the machine that builds must not end up in a page.
    let mut command = environment::attach(Cli::command(), &|_name| None);
    write(&mut command, directory).map_err(|error| {
        let message = format!("cannot write pages into {}: {error}", directory.display());
        Failure::new(Kind::Failed, message).hint("the directory must be there and writable")
    })?;
    Ok(Report::default())
}

fn write(command: &mut clap::Command, directory: &Path) -> std::io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, command, "twillctl", directory)?;
    }
    let source = concat!("Twill ", env!("CARGO_PKG_VERSION"));
    pages(command.clone(), "twillctl", &|name, command| {
        let page = clap_mangen::Man::new(command).section("8").source(source);
        let mut text = Vec::new();
        page.render(&mut text)?;
        std::fs::write(directory.join(format!("{name}.8")), text)
    })
}

type WritePage<'a> = &'a dyn Fn(&str, clap::Command) -> std::io::Result<()>;

fn pages(mut command: clap::Command, name: &str, write: WritePage<'_>) -> std::io::Result<()> {
    command.build();
    for subcommand in command.get_subcommands().filter(|subcommand| has_page(subcommand)) {
        let name = format!("{name}-{}", subcommand.get_name());
        pages(subcommand.clone().name(name.clone()), &name, write)?;
    }
    write(name, command)
}

/// What clap adds to every command tree is on every page already.
fn has_page(command: &clap::Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        generate(directory.path()).unwrap();
        let page = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert!(page("twillctl.8").contains("Exit codes"));
        assert!(page("twillctl-network-init.8").contains("subnet\\-len"));
        assert!(page("twillctl.bash").contains("revoke"));
        let pages = std::fs::read_dir(directory.path()).unwrap();
        let names = pages.map(|page| page.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".8")).collect();
        names.sort();
        let lease = ["gc", "list", "release", "reserve", "revoke", "show", "watch"];
        let lease = lease.map(|name| format!("-lease-{name}"));
        let network = ["init", "set", "show"].map(|name| format!("-network-{name}"));
        let others = [
            "-cni",
            "-cni-check",
            "-cni-install",
            "-doctor",
            "-host",
            "-host-cleanup",
            "-lease",
            "-network",
            "-node",
        ];
        let others = others.into_iter().chain(["-node-list", "-peers", "-status", "-trace", ""]);
        let mut pages: Vec<String> = lease
            .into_iter()
            .chain(network)
            .chain(others.map(ToOwned::to_owned))
            .map(|name| format!("twillctl{name}.8"))
            .collect();
        pages.sort();
        assert_eq!(names, pages);
    }
}
