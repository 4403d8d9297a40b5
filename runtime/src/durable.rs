//! Files that are either the old ones or the new ones, whenever the machine dies.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::{Flock, FlockArg};

/// Replaces `path` by a file with these bytes and mode, and returns when both the bytes and the
/// name are on disk.
///
/// A crash leaves the old file or the new one, and perhaps a neighbour whose name starts with a
/// dot and ends in `.tmp`, which nobody reads.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (folder, name) = split(path)?;
    let unique = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!(".{}.{}-{unique}.tmp", name.display(), std::process::id()));
    let written = fill(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The first cause counts; a leftover is harmless.
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    sync_folder(folder)
}

/// Makes the names in a folder survive a crash.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes everything written to the file system below `path` survive a crash.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::syncfs(File::open(path)?.as_fd())?)
}

/// Waits for the lock on the file at `path`, which is made when it is missing.
///
/// The kernel frees the lock with the last copy of the descriptor, so a process that dies holds
/// nothing. Never delete the file: a waiter may hold it open.
pub fn lock(path: &Path, kind: Sharing) -> io::Result<Lock> {
    let mut waiting = open_lock(path)?;
    loop {
        match Flock::lock(waiting, kind.into()) {
            Ok(lock) => return Ok(Lock(lock)),
            Err((file, nix::errno::Errno::EINTR)) => waiting = file,
            Err((_, errno)) => return Err(errno.into()),
        }
    }
}

/// Takes the lock on the file at `path` alone, unless somebody else has it in any way.
pub fn try_lock(path: &Path) -> io::Result<Option<Lock>> {
    match Flock::lock(open_lock(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(Lock(lock))),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Removes what [`write()`] left in a folder when it died. The caller's lock keeps other writers
/// out: theirs would be taken for leftovers.
pub fn sweep(folder: &Path) -> io::Result<()> {
    for path in leftovers(folder)? {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// What looks like a leftover of [`write()`]: one of a dead process, or one in the making.
pub fn leftovers(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(b".") && name.ends_with(b".tmp") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Who else may hold a lock at the same time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sharing {
    /// Other readers may.
    Shared,
    /// Nobody may.
    Exclusive,
}

impl From<Sharing> for FlockArg {
    fn from(kind: Sharing) -> Self {
        match kind {
            Sharing::Shared => Self::LockShared,
            Sharing::Exclusive => Self::LockExclusive,
        }
    }
}

/// A held lock; dropping it lets it go.
#[derive(Debug)]
#[must_use = "the lock is let go at once when it is not kept"]
pub struct Lock(#[expect(dead_code, reason = "held for its drop")] Flock<File>);

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn fill(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn split(path: &Path) -> io::Result<(&Path, PathBuf)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((folder, PathBuf::from(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_no_neighbour() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write(&path, b"a longer first version", 0o600).unwrap();
        write(&path, b"second", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_the_folder_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        write(&path, b"x", 0o600).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
