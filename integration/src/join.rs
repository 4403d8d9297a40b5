//! Puts one command onto a host: its control groups, its namespaces, its idea of the world.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use nix::sys::signal::SigSet;

use crate::enter::become_part_of;
use crate::hold::take_seats;

/// What a program finds on a host; the programs under test come first.
pub(crate) const PATH: &str =
    "/run/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/cni";

/// What it finds on a machine: what is installed there.
pub(crate) const PATH_OF_A_MACHINE: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes `command` on the host whose directory is `host`.
///
/// The caller has entered the PID namespace already, for only a child can be in it.
///
/// # Errors
/// When a step fails; on success this does not return.
pub fn run(host: &Path, command: &[OsString]) -> Result<()> {
    let [program, arguments @ ..] = command else { bail!("no command given") };
    let pid = fs::read_to_string(host.join("pid")).context("this host is not up")?;
    take_seats(host)?;
    let of = Path::new("/proc").join(pid);
    become_part_of(&of, &["cgroup", "ipc", "uts", "net", "mnt"])?;
    env::set_current_dir("/").context("cannot enter /")?;
    // Whoever owns the lab may hold signals back; programs on a host must get theirs.
    SigSet::empty().thread_set_mask().context("cannot let signals through")?;
    Err(Command::new(program).args(arguments).exec())
        .with_context(|| format!("cannot start {}", program.display()))
}

/// The environment of every command on a host: nothing of ours leaks in.
pub(crate) fn environment(command: &mut Command) {
    command.env_clear().env("PATH", PATH).env("HOME", "/root").env("LANG", "C.UTF-8");
    for name in ["TERM", "RUST_BACKTRACE", "TWILL_LAB_DIR"] {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
}
