//! One at a time for each owner: whoever joins a container and whoever takes it off do not meet.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::{Pool, host_interfaces};
use crate::error::Error;
use crate::mac::fnv1a;
use crate::request::Owner;

/// An owner's turn, until it is dropped or the process dies.
#[derive(Debug)]
pub(crate) struct Turn {
    _file: Option<std::fs::File>,
}

impl Pool {
    /// Waits until nobody else is at work for `owner`. Where there is no pool, there is nobody: a pool that is
    /// made meanwhile is made by somebody whose container has a turn to come.
    ///
    /// One file for all, of which each owner locks a byte of its own: nothing is left of those who are gone, and
    /// two who share a byte by chance only wait for each other. Taken before the pool's lock, never after it.
    pub(crate) fn turn(&self, owner: &Owner) -> Result<Turn, Error> {
        let mut options = OpenOptions::new();
        let opened = options.create(true).truncate(false).write(true).open(self.path("turns"));
        let file = match opened {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Turn { _file: None }),
            file => file.map_err(|source| self.failed("turns", source))?,
        };
        let name = host_interfaces(owner).next().unwrap_or_default();
        // Offsets are signed.
        let byte = i64::try_from(fnv1a(name.bytes()) >> 1).unwrap_or_default();
        let short = |number: libc::c_int| libc::c_short::try_from(number).unwrap_or_default();
        let lock = libc::flock {
            l_type: short(libc::F_WRLCK),
            l_whence: short(libc::SEEK_SET),
            l_start: byte,
            l_len: 1,
            l_pid: 0,
        };
        loop {
            match fcntl(&file, FcntlArg::F_OFD_SETLKW(&lock)) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.failed("turns", io::Error::from(errno))),
                Ok(_locked) => return Ok(Turn { _file: Some(file) }),
            }
        }
    }
}
