//! `twill top`: the processes of a container, as the host's `ps` shows them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::{Command, Stdio};

use crate::cgroup::Hierarchies;
use crate::commands::{Code, each};
use crate::container::Store;
use crate::error::{Error, Result, SystemContext as _};
use crate::table::Table;
use crate::{Paths, output};

/// Docker's.
const CELL: usize = 20;

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill top web                   as `ps -ef`
  twill top web aux               as `ps aux`
  twill top web -o pid,rss,args   other columns; pid must be among them

Numbers of processes are those of the host.")]
pub struct Args {
    /// The container, by name, id or the start of its id
    pub container: String,
    /// Options of ps
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTIONS")]
    pub options: Vec<String>,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let container = each::running(&Store::new(paths), &args.container)?;
    let cgroup = Hierarchies::here()?.cgroup(&container.record.cgroup());
    let mut inside: BTreeSet<i32> = cgroup.processes().into_iter().collect();
    // Whoever types `exec` has a process of the host in the container's cgroup.
    let own = namespace("self");
    inside.retain(|pid| namespace(pid) != own);
    let listed = ps(&args.options, &inside)?;
    let table = pick(&listed, &inside)?;
    table.lines().for_each(output::line);
    Ok(Code::OK)
}

fn namespace(process: impl std::fmt::Display) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/pid")).ok()
}

fn ps(options: &[String], inside: &BTreeSet<i32>) -> Result<String> {
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { &default } else { options };
    // Some options choose nobody but the caller's own; to others, choosing by number is a mistake.
    let numbers: Vec<String> = inside.iter().map(ToString::to_string).collect();
    let chosen = [&[format!("-q{}", numbers.join(","))], options].concat();
    run_ps(&chosen).or_else(|_| run_ps(options))
}

#[expect(clippy::disallowed_methods, reason = "ps knows what its hundred options mean")]
fn run_ps(options: &[String]) -> Result<String> {
    let mut command = Command::new("ps");
    // In columns as wide as their contents, whatever the terminal.
    command.args(options).env("COLUMNS", "100000").stdin(Stdio::null());
    let done = command.output().system("run ps, of the package procps")?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        return Err(io::Error::other(said)).system("run ps");
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// The lines of those who are inside, in columns.
fn pick(listed: &str, inside: &BTreeSet<i32>) -> Result<Table> {
    let mut lines = listed.lines();
    let titles: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
    let no_pid = || Error::Usage("Couldn't find PID field in ps output".into());
    let index = titles.iter().position(|title| *title == "PID").ok_or_else(no_pid)?;
    let mut table = Table::with_cell(CELL, &titles);
    for line in lines {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let pid = words.get(index).and_then(|word| word.parse().ok());
        if !pid.is_some_and(|pid| inside.contains(&pid)) {
            continue;
        }
        // The last column, usually the command, may have blanks.
        let (cells, rest) = words.split_at((titles.len() - 1).min(words.len()));
        let mut row: Vec<String> = cells.iter().map(|&cell| cell.to_owned()).collect();
        row.push(rest.join(" "));
        table.push(row);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_inside_and_their_whole_commands() {
        let listed = "UID          PID    PPID  C CMD\nroot           1       0  0 /sbin/init\n\
                      www          42       1  3 sh -c  sleep 1\nroot 43 1 0 \nroot x\n";
        let table = pick(listed, &[42, 43].into()).unwrap();
        let want = [
            "UID                 PID                 PPID                C                   CMD",
            "www                 42                  1                   3                   sh -c sleep 1",
            "root                43                  1                   0                   ",
        ];
        assert_eq!(table.lines().collect::<Vec<_>>(), want);
        assert!(pick("UID CMD\n", &[1].into()).is_err());
        assert!(pick("", &[1].into()).is_err());
    }
}
