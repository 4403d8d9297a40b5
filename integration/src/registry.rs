//! The labs on this machine, each a directory whose lock its guardian holds while it lives.
//!
//! ```text
//! /var/tmp/twill-lab/            or TWILL_LAB_DIR
//!   .lock                        taken for a moment while labs are swept and made
//!   12345-0/                     one lab
//!     lock                       held by the guardian as long as it lives
//!     guardian.pid
//!     cgroups                    the groups that belong to the lab, one a line
//!     hosts/node1/               what is private to a host: etc, var-lib, pid, groups
//!     share/                     /run/lab/share on every host
//!     log/                       transcripts
//! ```

use std::env;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use crate::cgroups;

/// A lab that stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its name, unique on this machine.
    pub name: String,
    /// Its directory.
    pub dir: PathBuf,
    /// Its guardian; `SIGTERM` takes the lab down.
    pub guardian: Pid,
}

/// A lab directory that this process owns.
#[derive(Debug)]
pub struct Claim {
    /// The directory.
    pub dir: PathBuf,
    _lock: File,
}

/// Where labs live: a directory on a file system that overlayfs accepts as an upper layer.
pub fn base() -> PathBuf {
    env::var_os("TWILL_LAB_DIR").map_or_else(|| "/var/tmp/twill-lab".into(), PathBuf::from)
}

/// Sweeps what dead owners left, then makes the directory of a new lab.
///
/// # Errors
/// When the name is taken, or the directory cannot be written.
pub fn claim(name: &str) -> Result<Claim> {
    let base = base();
    fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
    let door = lock_file(&base.join(".lock"))?;
    door.lock().context("cannot lock the directory of labs")?;
    sweep(&base)?;
    let dir = base.join(name);
    fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let lock = lock_file(&dir.join("lock"))?;
    lock.lock().with_context(|| format!("cannot lock {}", dir.display()))?;
    for part in ["hosts", "share", "log"] {
        fs::create_dir(dir.join(part))?;
    }
    fs::write(dir.join("guardian.pid"), std::process::id().to_string())?;
    Ok(Claim { dir, _lock: lock })
}

/// Every lab whose guardian lives.
///
/// # Errors
/// When the directory of labs cannot be read.
pub fn standing() -> Result<Vec<Standing>> {
    let mut labs = Vec::new();
    for dir in labs_in(&base())? {
        if !is_dead(&dir)
            && let Some(guardian) = guardian_of(&dir)
        {
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            labs.push(Standing { name, dir, guardian });
        }
    }
    Ok(labs)
}

/// The one lab that stands, or the one called `name`.
///
/// # Errors
/// When there is none, or more than one to choose from.
pub fn find(name: Option<&str>) -> Result<Standing> {
    let mut labs = standing()?;
    labs.retain(|lab| name.is_none_or(|name| name == lab.name));
    let names: Vec<&str> = labs.iter().map(|lab| lab.name.as_str()).collect();
    match (labs.len(), name) {
        (0, None) => bail!("no lab stands; `./lab up` makes one"),
        (0, Some(name)) => bail!("no lab called {name} stands"),
        (1, _) => Ok(labs.remove(0)),
        _ => bail!("several labs stand: {}; choose one with --lab", names.join(", ")),
    }
}

/// Removes a lab's control groups, with the processes in them, and its directory.
///
/// # Errors
/// When something resists; the rest is removed all the same, and the first cause is answered.
pub fn erase(dir: &Path) -> Result<()> {
    let groups = fs::read_to_string(dir.join("cgroups")).unwrap_or_default();
    let mut first = Ok(());
    for group in groups.lines() {
        first = first.and(cgroups::remove(Path::new(group)));
    }
    first.and(remove(dir).with_context(|| format!("cannot remove {}", dir.display())))
}

// The lock goes last but for the empty directory: a guardian that is busy here holds it, and
// whoever sweeps at the same moment finds at most that directory.
fn remove(dir: &Path) -> std::io::Result<()> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name() != "lock") {
        let path = entry.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    gone(fs::remove_file(dir.join("lock")))?;
    gone(fs::remove_dir(dir))
}

fn gone(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether nobody holds the lab in `dir` any more; a directory that has gone is dead too.
pub fn is_dead(dir: &Path) -> bool {
    match File::open(dir.join("lock")) {
        Ok(lock) => !matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(_) => true,
    }
}

/// What of the lab in `dir` can still be found on this machine, in words.
///
/// # Errors
/// When this machine cannot be looked at.
pub fn traces(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    if dir.exists() {
        found.push(format!("directory {}", dir.display()));
    }
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let group = format!("twill-lab-{name}");
    for hierarchy in cgroups::hierarchies()? {
        let group = hierarchy.below(&group);
        if group.exists() {
            found.push(format!("control group {}", group.display()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let of_ours = mounts.lines().filter(|line| line.contains(&format!("{}/", dir.display())));
    found.extend(of_ours.map(|line| format!("mount {line}")));
    for entry in fs::read_dir("/proc")?.flatten() {
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if groups.lines().any(|line| line.split('/').any(|part| part == group)) {
            let command = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            // Without a command line it has ended, and only waits for this machine's init.
            if !command.is_empty() {
                found.push(format!("process {} {command}", entry.file_name().display()));
            }
        }
    }
    Ok(found)
}

fn sweep(base: &Path) -> Result<()> {
    for dir in labs_in(base)?.iter().filter(|dir| is_dead(dir)) {
        erase(dir)?;
    }
    Ok(())
}

fn guardian_of(dir: &Path) -> Option<Pid> {
    let text = fs::read_to_string(dir.join("guardian.pid")).ok()?;
    text.parse().ok().map(Pid::from_raw)
}

fn labs_in(base: &Path) -> Result<Vec<PathBuf>> {
    if !base.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(base).with_context(|| format!("cannot read {}", base.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

fn lock_file(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}
