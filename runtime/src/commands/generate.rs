//! `twill generate`: manual pages and shell completions, from the types that parse the command line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap_complete::Shell;

use crate::Paths;
use crate::commands::Code;
use crate::error::FileContext as _;

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where they go; it has to be there
    pub directory: PathBuf,
}

/// Does it.
pub fn run(args: &Args, _: &Paths) -> anyhow::Result<Code> {
    write(crate::cli::command(), &args.directory).file("write pages into", &args.directory)?;
    Ok(Code::OK)
}

fn write(mut command: clap::Command, directory: &Path) -> io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "twill", directory)?;
    }
    pages(command, "twill", directory)
}

fn pages(mut command: clap::Command, name: &str, directory: &Path) -> io::Result<()> {
    command.build();
    let shown = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
    for subcommand in command.get_subcommands().filter(shown) {
        let name = format!("{name}-{}", subcommand.get_name());
        pages(subcommand.clone().name(name.clone()), &name, directory)?;
    }
    let source = concat!("Twill ", env!("CARGO_PKG_VERSION"));
    let mut text = Vec::new();
    clap_mangen::Man::new(command).section("8").source(source).render(&mut text)?;
    fs::write(directory.join(format!("{name}.8")), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMANDS: &str = "
            attach boot commit container-ls container-prune container-run cp create diff events
            exec export history image-ls image-prune image-rm images import info inspect kill
            load logs network-sync pause port ps rename restart rm rmi run save start stats
            stop system-df system-prune tag top unpause update version volume-create volume-inspect volume-ls
            volume-prune volume-rm wait
    ";

    #[test]
    fn every_command_has_a_page_and_is_completed() {
        let directory = tempfile::tempdir().unwrap();
        write(crate::cli::command(), directory.path()).unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        for name in COMMANDS.split_ascii_whitespace() {
            let page = read(&format!("twill-{name}.8"));
            assert!(page.contains(".SH OPTIONS"), "{name}");
        }
        assert!(read("twill-ps.8").contains("Filters:"));
        assert!(!directory.path().join("twill-monitor.8").exists());
        for completions in ["twill.bash", "_twill", "twill.fish"] {
            let text = read(completions);
            assert!(text.contains("unpause") && text.contains("prune"), "{completions}");
        }
    }
}
