//! Starting a monitor.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::error::{Result, SystemContext as _};
use crate::{Paths, sealed};

/// Executes this program again as the monitor. It leaves our session, streams and groups by itself;
/// files that the caller left open, it never gets.
#[expect(clippy::disallowed_methods, reason = "this is the one place that starts monitors")]
pub(super) fn spawn(paths: &Paths, id: &str, connection: OwnedFd) -> Result<()> {
    sealed::close_on_exec()?;
    let program = sealed::Program::seal()?;
    let kept = std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "RUST_BACKTRACE");
    Command::new(program.path())
        .arg0("twill")
        .arg("--root")
        .arg(paths.root())
        .arg("--run-root")
        .arg(paths.run_root())
        .arg("--subnet-file")
        .arg(paths.subnet_env())
        .args(["monitor", id])
        // Among what is left out is LISTEN_FDS, which libcontainer would honour.
        .env_clear()
        .envs(kept)
        .stdin(Stdio::from(connection))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .system("start the monitor")
        .map(drop)
}
