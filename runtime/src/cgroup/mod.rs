//! The cgroups of one container, in every hierarchy of this machine.
//!
//! libcontainer makes them and sets limits; what it lacks is done here: showing them to the container
//! read-only on cgroup v1, entering them for `exec`, halting and limiting whoever is in them, reading what
//! they use, and emptying and removing them whoever died.

mod freezer;
mod haste;
mod limits;
mod usage;

pub use haste::{Expected, expect_move};
pub use usage::Usage;

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{FileContext as _, Result};
use crate::process::Process;
use crate::raw::SingleThread;
use crate::signals::Signal;

/// How the kernel's controllers are mounted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hierarchies {
    /// Mount points of cgroup v1, one per group of controllers.
    v1: Vec<PathBuf>,
    /// The mount point of cgroup v2, beside v1 or alone.
    v2: Option<PathBuf>,
}

impl Hierarchies {
    /// As this process sees them.
    pub fn here() -> Result<Self> {
        let path = Path::new("/proc/self/mountinfo");
        Ok(Self::parse(&fs::read_to_string(path).file("read", path)?))
    }

    pub(crate) fn parse(mountinfo: &str) -> Self {
        let mut found = Self { v1: Vec::new(), v2: None };
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let Some(target) = before.split(' ').nth(4).map(PathBuf::from) else { continue };
            // libcontainer looks below this directory only, and one mount of each is enough.
            if !target.starts_with("/sys/fs/cgroup") || found.v1.contains(&target) {
                continue;
            }
            match after.split(' ').next() {
                // systemd's own hierarchy has no controller; libcontainer leaves it alone.
                Some("cgroup") if !after.contains("name=") => found.v1.push(target),
                Some("cgroup2") => found.v2 = Some(target),
                _ => {}
            }
        }
        found
    }

    /// Does cgroup v2 stand alone?
    #[must_use]
    pub fn is_unified(&self) -> bool {
        self.v1.is_empty()
    }

    /// The mount points of the v1 controllers.
    #[must_use]
    pub fn v1(&self) -> &[PathBuf] {
        &self.v1
    }

    /// The cgroup of that path in each hierarchy, whether it is there or not.
    #[must_use]
    pub fn cgroup(&self, path: &Path) -> Cgroup {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let directories = self.v1.iter().chain(&self.v2).map(|root| root.join(relative));
        Cgroup { directories: directories.collect(), is_unified: self.is_unified() }
    }
}

/// One cgroup, once per hierarchy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cgroup {
    directories: Vec<PathBuf>,
    is_unified: bool,
}

impl Cgroup {
    /// Where it lies, v1 hierarchies first.
    #[must_use]
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Makes its v1 directories, so that they can be shown to the container.
    pub fn create_v1(&self, hierarchies: &Hierarchies) -> Result<()> {
        for directory in self.directories.iter().take(hierarchies.v1.len()) {
            fs::create_dir_all(directory).file("create the cgroup", directory)?;
        }
        Ok(())
    }

    /// Puts the calling process into it.
    pub(crate) fn enter(&self, _single: &SingleThread) -> Result<()> {
        for directory in self.directories.iter().filter(|directory| directory.is_dir()) {
            // On v1. A thread that moves nobody but itself need not wait until all processors have noticed.
            let tasks = directory.join("tasks");
            let file = if tasks.exists() { tasks } else { directory.join("cgroup.procs") };
            fs::write(&file, "0").file("write", &file)?;
        }
        Ok(())
    }

    /// Who is in it and below, by pid, in ascending order.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let mut all: Vec<i32> =
            self.directories.iter().flat_map(|one| processes_below(one)).collect();
        all.retain(|pid| *pid > 0);
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Did the kernel kill somebody in it for want of memory?
    #[must_use]
    pub fn was_out_of_memory(&self) -> bool {
        self.directories.iter().any(|directory| {
            ["memory.oom_control", "memory.events"].iter().any(|name| {
                fs::read_to_string(directory.join(name)).is_ok_and(|text| {
                    text.lines().any(|line| line.starts_with("oom_kill ") && line != "oom_kill 0")
                })
            })
        })
    }

    /// Kills everyone in it and below, and removes it; what is not there is removed already.
    pub fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        // On v1 a signal waits until its receiver goes on.
        self.thaw()?;
        for directory in &self.directories {
            remove_tree(directory, deadline).file("remove the cgroup", directory)?;
        }
        Ok(())
    }
}

fn remove_tree(directory: &Path, deadline: Instant) -> io::Result<()> {
    // Usually there is nobody and nothing below: one call.
    match fs::remove_dir(directory) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_still_in_use) => {}
    }
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path(), deadline)?;
        }
    }
    loop {
        let members = processes(directory)?;
        // A process of another pid namespace is shown as 0: nobody whom we may kill.
        for process in members.iter().filter_map(|pid| Process::of_pid(*pid)) {
            if let Some(handle) = process.open() {
                // It may be that it left the cgroup in between; then it is not ours to kill.
                if processes(directory)?.contains(&process.pid) {
                    handle.signal(Signal::KILL).map_err(io::Error::other)?;
                    handle.wait(Some(Duration::from_secs(2))).map_err(io::Error::other)?;
                }
            }
        }
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // The last process is gone for waitpid before it is gone for its cgroup.
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => breathe(),
            removed => return removed,
        }
    }
}

/// A container may make cgroups of its own in its own.
fn processes_below(directory: &Path) -> Vec<i32> {
    let mut found = processes(directory).unwrap_or_default();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(processes_below(&entry.path()));
        }
    }
    found
}

fn processes(directory: &Path) -> io::Result<Vec<i32>> {
    match fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The kernel tells nobody when a v1 cgroup has become removable, so that asking again is all there is.
pub(crate) fn breathe() {
    let none: &mut [nix::poll::PollFd<'_>] = &mut [];
    // Interrupted or not, the next look decides.
    _ = nix::poll::poll(none, 1_u8);
}

/// Where a container's cgroup lies: below the parent, called by its id.
///
/// A parent that tries to climb out (`..`) stays inside.
#[must_use]
pub fn path(parent: &str, id: &str) -> PathBuf {
    let mut path = PathBuf::from("/");
    for part in Path::new(parent).components() {
        if let std::path::Component::Normal(name) = part
            && !name.as_bytes().is_empty()
        {
            path.push(name);
        }
    }
    path.join(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_parent() {
        for (parent, want) in [
            ("/twill", "/twill/id"),
            ("twill", "/twill/id"),
            ("/", "/id"),
            ("", "/id"),
            ("/a/../../b", "/a/b/id"),
            ("../..", "/id"),
            ("/a/./b/", "/a/b/id"),
        ] {
            assert_eq!(path(parent, "id"), Path::new(want), "{parent:?}");
        }
    }

    #[test]
    fn hierarchies_are_found_in_mountinfo() {
        let hybrid = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
50 31 0:29 / /mnt/elsewhere rw - cgroup cgroup rw,cpu,cpuacct
";
        let found = Hierarchies::parse(hybrid);
        assert_eq!(found.v1, [Path::new("/sys/fs/cgroup/cpu,cpuacct")]);
        assert_eq!(found.v2, Some("/sys/fs/cgroup/unified".into()));
        let directories = found.cgroup(Path::new("/twill/id")).directories;
        assert_eq!(directories[0], Path::new("/sys/fs/cgroup/cpu,cpuacct/twill/id"));
        assert_eq!(directories.len(), 2);
        let unified = Hierarchies::parse("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        assert!(unified.is_unified());
        assert_eq!(unified.cgroup(Path::new("/x")).directories, [Path::new("/sys/fs/cgroup/x")]);
    }
}
