//! Work in progress: a directory of one's own that vanishes with its owner.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::Error;
use crate::durable::{self, Sharing};

const FOLDER: &str = ".staging";

/// A directory below `layers/`, in the same file system, so that a rename can move things out.
///
/// Its lock says that the owner lives. The drop removes it; after a crash the next sweep does.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
    _owned: Flock<File>,
}

impl Staging {
    pub(super) fn new(layers: &Path) -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = layers.join(FOLDER);
        make_folder(&folder, true)?;
        // Between its making and its locking a directory looks like a dead one's: keep sweeps out.
        let gate = folder.join("lock");
        let _gate = durable::lock(&gate, Sharing::Exclusive).map_err(Error::file("lock", &gate))?;
        let path = loop {
            let unique = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{}-{unique}", std::process::id()));
            match make_folder(&path, false) {
                Ok(()) => break path,
                // A dead process had our number, and nobody has swept yet.
                Err(Error::File { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        };
        let directory = File::open(&path).map_err(Error::file("open", &path))?;
        let owned = Flock::lock(directory, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| Error::file("lock", &path)(errno.into()))?;
        Ok(Self { path, _owned: owned })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot clean up, the next command will");
        }
    }
}

/// Removes what dead processes left.
pub(super) fn sweep(layers: &Path) -> Result<(), Error> {
    let folder = layers.join(FOLDER);
    let leftovers = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::file("list", &folder)(error)),
    };
    for entry in leftovers {
        let path = entry.map_err(Error::file("list", &folder))?.path();
        if !path.is_dir() {
            continue;
        }
        if let Some(ours) = claim(&folder, &path)? {
            // Big trees take a while: the gate is open again, our lock on the tree keeps others off.
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "cannot sweep a leftover");
                }
                _ => {}
            }
            drop(ours);
        }
    }
    Ok(())
}

fn claim(folder: &Path, path: &Path) -> Result<Option<Flock<File>>, Error> {
    let gate = folder.join("lock");
    let _gate = durable::lock(&gate, Sharing::Exclusive).map_err(Error::file("lock", &gate))?;
    let directory = match File::open(path) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("open", path)(error)),
    };
    match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(Error::file("lock", path)(errno.into())),
    }
}

fn make_folder(path: &Path, may_exist: bool) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    builder.recursive(may_exist).mode(0o700);
    builder.create(path).map_err(Error::file("create", path))
}
