//! What concerns this host's kernel is the agent's work: its program, run once, does it without an
//! agent as well.

#![expect(
    clippy::disallowed_methods,
    reason = "twillctl has no door to the kernel: it becomes twilld, or asks it"
)]

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::failure::{Failure, Kind};

/// Where twilld is, seen from the directory of this program: in the build tree and when installed.
const BESIDE: [&str; 2] = ["twilld", "../sbin/twilld"];

/// What twilld could not do: what it said, and its exit code.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: Option<i32>,
    pub(crate) what: String,
    pub(crate) hint: String,
}

/// Becomes twilld with that command. Returns only when there is none to become.
pub(crate) fn become_it(command: &str, options: &[OsString]) -> Failure {
    let become_program = |program: &Path| -> io::Result<Infallible> {
        Err(Command::new(program).arg(command).args(options).exec())
    };
    match first(become_program) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

/// What twilld writes to its standard output, run with that command to its end.
pub(crate) fn ask(
    command: &str,
    options: &[impl AsRef<OsStr>],
) -> Result<Result<Vec<u8>, Refused>, Failure> {
    let output = first(|program| {
        Command::new(program).arg(command).args(options).stdin(Stdio::null()).output()
    })?;
    Ok(judged(output))
}

/// With the first twilld that is there.
fn first<T>(mut run: impl FnMut(&Path) -> io::Result<T>) -> Result<T, Failure> {
    let own = std::env::current_exe();
    let beside =
        own.as_deref().ok().and_then(Path::parent).map(|home| BESIDE.map(|it| home.join(it)));
    let mut programs: Vec<PathBuf> = beside.into_iter().flatten().collect();
    programs.push("twilld".into());
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for program in programs {
        match run(&program) {
            Ok(done) => return Ok(done),
            Err(error) if error.kind() == io::ErrorKind::NotFound => last = error,
            Err(error) => {
                let message = format!("cannot run {}: {error}", program.display());
                return Err(Failure::new(Kind::Failed, message));
            }
        }
    }
    let message = format!("cannot run twilld, which looks after this host: {last}");
    Err(Failure::new(Kind::Failed, message).hint("install it beside twillctl, or add it to PATH"))
}

fn judged(output: Output) -> Result<Vec<u8>, Refused> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = |prefix: &str| {
        said.lines().rev().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned)
    };
    Err(Refused {
        code: output.status.code(),
        what: line("twilld: ").unwrap_or_else(|| format!("twilld ended with {}", output.status)),
        hint: line("hint: ").unwrap_or_else(|| "run it as root".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn what_twilld_complains_of_is_ours_to_say() {
        let output = |code: i32, stderr: &str| Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: b"[]".to_vec(),
            stderr: stderr.into(),
        };
        assert_eq!(judged(output(0, "")).unwrap(), b"[]");
        let refused = judged(output(4, "twilld: no container\nhint: twill ps\n")).unwrap_err();
        assert_eq!(refused.code, Some(4));
        assert_eq!((refused.what.as_str(), refused.hint.as_str()), ("no container", "twill ps"));
        let refused = judged(output(1, "")).unwrap_err();
        assert!(refused.what.contains("exit status: 1"), "{refused:?}");
    }
}
