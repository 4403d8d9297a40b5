//! Is there a monitor? The kernel knows: a monitor holds a lock that dies with it.
//!
//! The lock is one of `fcntl`, which belongs to a process and is not inherited: the container, born
//! from the monitor, does not keep it alive.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::Paths;
use crate::error::{FileContext as _, Result};
use crate::process::Process;

/// Held by a monitor from its first to its last moment.
#[derive(Debug)]
pub struct Held(File);

impl Held {
    /// Do others still see this monitor? Not after its files have been cleared away.
    #[must_use]
    pub fn stands(&self, paths: &Paths, id: &str) -> bool {
        // Looked at and not opened: see [`acquire`].
        let (ours, there) = (self.0.metadata(), fs::metadata(path(paths, id)));
        matches!((ours, there), (Ok(ours), Ok(there)) if (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    }
}

/// Becomes the monitor of a container; `None` if somebody is.
///
/// This process must never open the same file again: closing any descriptor of it lets the lock go.
pub fn acquire(paths: &Paths, id: &str) -> Result<Option<Held>> {
    let path = path(paths, id);
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .file("open", &path)?;
    match fcntl(file.as_fd(), FcntlArg::F_SETLK(&whole_file())) {
        Ok(_) => Ok(Some(Held(file))),
        Err(Errno::EACCES | Errno::EAGAIN) => Ok(None),
        Err(error) => Err(error).file("lock", &path),
    }
}

/// The monitor that looks after a container now, if one does.
pub fn monitor(paths: &Paths, id: &str) -> Result<Option<Process>> {
    let path = path(paths, id);
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.file("open", &path)?,
    };
    loop {
        let mut lock = whole_file();
        fcntl(file.as_fd(), FcntlArg::F_GETLK(&mut lock)).file("ask for the lock of", &path)?;
        if i32::from(lock.l_type) == libc::F_UNLCK {
            return Ok(None);
        }
        if lock.l_pid <= 0 {
            // Taking it for dead would clear a living container away.
            let hidden = std::io::Error::other("its holder is in another pid namespace");
            return Err(hidden).file("find out about", &path);
        }
        if let Some(monitor) = Process::of_pid(lock.l_pid) {
            return Ok(Some(monitor));
        }
        // It died between the two looks.
    }
}

fn path(paths: &Paths, id: &str) -> PathBuf {
    paths.run_container(id).join("monitor.lock")
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).unwrap_or(1),
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_stands_while_its_lock_is_in_its_place() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path().join("lib"), root.path().join("run"));
        fs::create_dir_all(paths.run_container("x")).unwrap();
        let held = acquire(&paths, "x").unwrap().unwrap();
        assert!(held.stands(&paths, "x"));
        fs::remove_file(path(&paths, "x")).unwrap();
        assert!(!held.stands(&paths, "x"), "it was cleared away");
        fs::write(path(&paths, "x"), "").unwrap();
        assert!(!held.stands(&paths, "x"), "it is the next one's");
    }
}
