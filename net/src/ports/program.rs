//! Runs a program to its end: no shell, and all it says is kept.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;

/// Where the programs of administrators are, for a caller whose `PATH` is a user's.
const SBIN: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Answers what it wrote to stdout.
pub(super) fn run(name: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
    run_under(None, name, (arguments, input))
}

/// The same for a program that writes nothing to stdout: it gets the file there, and so has it open, with the lock that
/// is on it, for as long as it lives.
pub(super) fn run_under(
    lock: Option<&File>,
    name: &str,
    (arguments, input): (&[&str], &str),
) -> Result<String, Error> {
    let try_run = |name: &str, path: &str, asked| {
        let lock = lock.map(File::try_clone).transpose();
        let lock = lock.map_err(|source| Error::StartProgram { program: name.to_owned(), source });
        try_run((name, path), asked, lock?.map_or_else(Stdio::piped, Stdio::from))
    };
    match try_run(name, name, (arguments, input)) {
        Err(Error::StartProgram { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let paths = SBIN.map(|directory| Path::new(directory).join(name));
            let found = paths.iter().find(|path| path.exists()).and_then(|path| path.to_str());
            let missing = || Error::StartProgram { program: name.to_owned(), source };
            try_run(name, found.ok_or_else(missing)?, (arguments, input))
        }
        ran => ran,
    }
}

fn try_run(
    (name, path): (&str, &str),
    (arguments, input): (&[&str], &str),
    stdout: Stdio,
) -> Result<String, Error> {
    let not_started = |source| Error::StartProgram { program: name.to_owned(), source };
    let mut child = Command::new(path)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .map_err(not_started)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not care for all of its input says why by its exit status. All of them read
        // first and speak then.
        drop(stdin.write_all(input.as_bytes()));
    }
    let output = child.wait_with_output().map_err(not_started)?;
    if !output.status.success() {
        return Err(Error::ProgramFailed {
            program: name.to_owned(),
            status: output.status.to_string(),
            complaint: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
