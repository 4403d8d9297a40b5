//! Who is being born? A monitor that is killed while libcontainer makes the first process leaves
//! children that are in no cgroup yet. They go on: into the cgroup, which they make anew if it has been
//! removed, and some of them wait there for a start that nobody will give.
//!
//! They inherit a descriptor with a lock of `flock`, which is held until the last of them has ended or
//! has become the container's program.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::Paths;
use crate::error::{FileContext as _, Result};

/// Held by the monitor, and by every process that it clones, until they execute something.
#[derive(Debug)]
#[must_use = "who is born without it is not waited for"]
pub struct Announced(#[expect(dead_code, reason = "held for its drop")] Flock<File>);

/// From here on children are waited for.
pub fn announce(paths: &Paths, id: &str) -> Result<Announced> {
    let path = path(paths, id);
    let file = File::create(&path).file("create", &path)?;
    let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error);
    lock.file("lock", &path).map(Announced)
}

/// Is nobody being born?
pub fn none(paths: &Paths, id: &str) -> Result<bool> {
    let path = path(paths, id);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        file => file.file("open", &path)?,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_) => Ok(true),
        Err((_, Errno::EWOULDBLOCK)) => Ok(false),
        Err((_, error)) => Err(error).file("lock", &path),
    }
}

fn path(paths: &Paths, id: &str) -> std::path::PathBuf {
    paths.run_container(id).join("births.lock")
}
