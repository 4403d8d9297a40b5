//! Halting every process of a container, and letting them go on: the freezer of either cgroup version.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Cgroup, breathe};
use crate::error::{FileContext as _, Result, SystemContext as _};

/// A process that waits for a disk may take a while to halt.
const PATIENCE: Duration = Duration::from_secs(10);

/// The switch, and where the kernel says whether all have halted.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Freezer {
    /// `freezer.state`: THAWED, FREEZING, FROZEN.
    V1(PathBuf),
    /// The directory of `cgroup.freeze` and `cgroup.events`.
    V2(PathBuf),
}

impl Cgroup {
    /// Halts everyone in it; returns when they have halted. What cannot be halted goes on.
    pub fn freeze(&self) -> Result<()> {
        let Some(freezer) = self.freezer() else {
            let missing = std::io::Error::other("this kernel has no freezer for its cgroup");
            return Err(missing).system("pause the container");
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Asked again each time: on v1 a process that was born meanwhile is not halted else.
            freezer.set(true)?;
            if freezer.is_frozen() {
                return Ok(());
            }
            if Instant::now() > deadline {
                freezer.set(false)?;
                let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
                return Err(late).system("pause the container");
            }
            breathe();
        }
    }

    /// Lets everyone in it go on; one without a freezer, or none at all, is going on.
    pub fn thaw(&self) -> Result<()> {
        self.freezer().map_or(Ok(()), |freezer| freezer.set(false))
    }

    /// Has it been halted, or is it about to?
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.freezer().is_some_and(|freezer| freezer.is_wanted())
    }

    fn freezer(&self) -> Option<Freezer> {
        let v1 = self.directories.iter().map(|directory| directory.join("freezer.state"));
        let v1 = v1.filter(|path| path.exists()).map(Freezer::V1).next();
        v1.or_else(|| {
            let v2 = self.directories.iter().rev();
            v2.filter(|path| path.join("cgroup.freeze").exists()).cloned().map(Freezer::V2).next()
        })
    }
}

impl Freezer {
    fn set(&self, frozen: bool) -> Result<()> {
        let (path, text) = match (self, frozen) {
            (Self::V1(path), true) => (path.clone(), "FROZEN"),
            (Self::V1(path), false) => (path.clone(), "THAWED"),
            (Self::V2(directory), _) => {
                (directory.join("cgroup.freeze"), if frozen { "1" } else { "0" })
            }
        };
        match fs::write(&path, text) {
            // Its last process ended just now, and somebody has cleared it away.
            Err(error) if !frozen && is_gone(&error) => Ok(()),
            written => written.file("write", &path),
        }
    }

    fn is_wanted(&self) -> bool {
        match self {
            Self::V1(path) => read(path).trim() != "THAWED" && path.exists(),
            Self::V2(directory) => read(&directory.join("cgroup.freeze")).trim() == "1",
        }
    }

    fn is_frozen(&self) -> bool {
        match self {
            Self::V1(path) => read(path).trim() == "FROZEN",
            Self::V2(directory) => {
                read(&directory.join("cgroup.events")).lines().any(|line| line == "frozen 1")
            }
        }
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ENODEV)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(directories: &[&Path]) -> Cgroup {
        let directories = directories.iter().map(|&path| path.to_owned()).collect();
        Cgroup { directories, is_unified: false }
    }

    #[test]
    fn each_version_has_its_own_switch() {
        let root = tempfile::tempdir().unwrap();
        let [v1, v2] = ["v1", "v2"].map(|name| root.path().join(name));
        for directory in [&v1, &v2] {
            fs::create_dir(directory).unwrap();
        }
        fs::write(v2.join("cgroup.freeze"), "0\n").unwrap();
        fs::write(v2.join("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
        let both = cgroup(&[&v1, &v2]);
        assert!(!both.is_frozen());
        both.freeze().unwrap();
        assert_eq!(read(&v2.join("cgroup.freeze")), "1");
        assert!(both.is_frozen());
        both.thaw().unwrap();
        assert!(!both.is_frozen());
        // A hybrid host: the freezer of v1 has the say.
        fs::write(v1.join("freezer.state"), "FREEZING\n").unwrap();
        assert!(both.is_frozen());
        both.freeze().unwrap();
        assert_eq!(read(&v1.join("freezer.state")), "FROZEN");
        assert_eq!(read(&v2.join("cgroup.freeze")), "0");
        both.thaw().unwrap();
        assert!(!both.is_frozen());
        cgroup(&[]).thaw().unwrap();
        cgroup(&[]).freeze().unwrap_err();
        assert!(!cgroup(&[]).is_frozen());
    }
}
