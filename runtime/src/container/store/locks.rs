//! Who may change what, one at a time.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{Store, make_private};
use crate::durable::{self, Lock, Sharing};
use crate::error::{FileContext as _, Result};

/// What came of locking a container without waiting.
#[derive(Debug)]
pub enum Attempt {
    /// It is ours.
    Locked(Flock<File>),
    /// Somebody has it, perhaps for long: whoever copies what is in it.
    Held,
    /// It is being removed.
    Gone,
}

impl Store<'_> {
    /// One at a time halts this container or lets it go on. `None` if it is gone.
    pub fn lock_freezer(&self, id: &str) -> Result<Option<Lock>> {
        let path = self.paths.container(id).join("freezer.lock");
        match durable::lock(&path, Sharing::Exclusive) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            lock => lock.file("lock", &path).map(Some),
        }
    }

    /// One at a time changes the life of this container. `None` if it is being removed.
    pub fn lock_container(&self, id: &str) -> Result<Option<Flock<File>>> {
        match self.attempt(id, FlockArg::LockExclusive)? {
            Attempt::Locked(lock) => Ok(Some(lock)),
            Attempt::Held | Attempt::Gone => Ok(None),
        }
    }

    /// The same without waiting.
    pub fn try_lock_container(&self, id: &str) -> Result<Attempt> {
        self.attempt(id, FlockArg::LockExclusiveNonblock)
    }

    fn attempt(&self, id: &str, how: FlockArg) -> Result<Attempt> {
        let directory = self.paths.container(id);
        let file = match File::open(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Attempt::Gone),
            file => file.file("open", &directory)?,
        };
        let lock = match Flock::lock(file, how) {
            Err((_, Errno::EWOULDBLOCK)) => return Ok(Attempt::Held),
            lock => lock.map_err(|(_, error)| error).file("lock", &directory)?,
        };
        Ok(if directory.exists() { Attempt::Locked(lock) } else { Attempt::Gone })
    }

    pub(in crate::container) fn lock(&self) -> Result<Lock> {
        // Gone with the last boot, perhaps.
        make_private(self.paths.run_root())?;
        let path = self.paths.lock();
        durable::lock(&path, Sharing::Exclusive).file("lock", &path)
    }
}
