//! Locks that the kernel releases, however their holder ends.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use twill_core::run::{DIRECTORY, Namespace};

use crate::failure::Failure;
use crate::files;

/// What is locked is called by the device that it is about.
const ENDING: &str = "lock";

/// A lock that is held.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

impl Lock {
    /// The lock on a state directory.
    pub(crate) fn directory(directory: &Path) -> Result<Self, Failure> {
        Self::take(directory.join("lock"))?.ok_or_else(|| {
            let text = format!("another twilld runs on {}", directory.display());
            Failure::refused(anyhow::Error::msg(text))
                .hint("stop it first, or give this one a --state-dir of its own")
        })
    }

    /// The lock on a tunnel device of this network namespace, or on its routes into one network. Two agents on one device would each
    /// undo the other's rows, and lead the peers of both astray.
    pub(crate) fn device(name: &str) -> Result<Self, Failure> {
        let path = device_path(name)?;
        Self::take(path)?.ok_or_else(|| {
            let text = format!("another twilld serves {name} of this host");
            Failure::refused(anyhow::Error::msg(text))
                .hint("stop it first; two networks on one host need two prefixes and two VNIs")
        })
    }

    /// What was ever locked in this network namespace since the machine's start, held or not.
    pub(crate) fn devices() -> anyhow::Result<Vec<String>> {
        let Ok(directory) = std::fs::read_dir(DIRECTORY) else { return Ok(Vec::new()) };
        let namespace = namespace()?;
        Ok(directory.flatten().filter_map(|file| namespace.name_of(&file.path(), ENDING)).collect())
    }

    /// Gives the lock up, and leaves no file.
    pub(crate) fn remove(self) -> anyhow::Result<()> {
        // While it is held: whoever waits for it makes a file of his own.
        std::fs::remove_file(&self.path)
            .with_context(|| format!("cannot remove {}", self.path.display()))
    }

    /// Is this the lock on a device, and not on a state directory?
    pub(crate) fn is_on_a_device(&self) -> bool {
        self.path.parent() == Some(Path::new(DIRECTORY))
    }

    /// Is this the lock on that device?
    pub(crate) fn is_on(&self, name: &str) -> bool {
        device_path(name).is_ok_and(|path| path == self.path)
    }

    /// `None` if somebody else holds it.
    fn take(path: PathBuf) -> Result<Option<Self>, Failure> {
        if let Some(directory) = path.parent() {
            files::ensure_directory(directory, 0o755)?;
        }
        let file = open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { path, _file: file })),
            Err((_file, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_file, errno)) => {
                let context = format!("cannot lock {}", path.display());
                Err(anyhow::Error::new(errno).context(context).into())
            }
        }
    }
}

/// Whoever can open a file can lock it: nobody else may, or any user could keep the agent from starting.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    // Earlier versions let everybody read it.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn device_path(name: &str) -> anyhow::Result<PathBuf> {
    Ok(namespace()?.file(name, ENDING))
}

fn namespace() -> anyhow::Result<Namespace> {
    let namespace = std::fs::metadata("/proc/self/ns/net").context("cannot find our namespace")?;
    Ok(Namespace(namespace.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_can_open_what_is_locked() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let mode = || std::fs::metadata(&path).unwrap().mode() & 0o777;
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let held = Lock::directory(root.path()).unwrap();
        assert_eq!(mode(), 0o600, "one of an earlier version");
        held.remove().unwrap();
        let _held = Lock::directory(root.path()).unwrap();
        assert_eq!(mode(), 0o600, "a new one");
    }
}
