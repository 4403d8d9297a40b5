//! The plugin itself: where it is, which version, and what it says.

#![expect(
    clippy::disallowed_methods,
    reason = "the plugin is a program that runtimes call, and so is it called here"
)]

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Those of that name that may be run, in the order in which runtimes look.
pub(super) fn find(name: &str, directories: &[PathBuf]) -> Vec<PathBuf> {
    let all = directories.iter().map(|directory| directory.join(name));
    let runs = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    all.filter(runs).collect()
}

/// What it says when a person calls it.
pub(super) fn version(program: &Path) -> io::Result<Option<String>> {
    let said = call(program, &[], "")?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let words = said.split_whitespace().collect::<Vec<_>>();
    let [_name, version, ..] = words.as_slice() else { return Ok(None) };
    let is_version = version.starts_with(|first: char| first.is_ascii_digit());
    Ok(is_version.then(|| version.trim_end_matches(':').to_owned()))
}

/// Whether it says that the next pod would come up; its words and its way out if not.
pub(super) fn status(
    program: &Path,
    (ours, path): (&Value, &[PathBuf]),
) -> io::Result<Result<(), (String, Option<String>)>> {
    let mut asked = ours.clone();
    // The first version that has the verb.
    asked["cniVersion"] = "1.1.0".into();
    let path: Vec<String> = path.iter().map(|it| it.display().to_string()).collect();
    let variables = [("CNI_COMMAND", "STATUS"), ("CNI_PATH", &path.join(":"))];
    let output = call(program, &variables, &asked.to_string())?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let error: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let word = |key: &str| error[key].as_str().map(str::to_owned);
    let what = word("msg").unwrap_or_else(|| format!("it ended with {}", output.status));
    Ok(Err((what, word("details"))))
}

fn call(program: &Path, variables: &[(&str, &str)], input: &str) -> io::Result<Output> {
    let mut command = Command::new(program);
    command.env_clear().envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that answers before it has read all answers all the same.
        _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}
