//! Room on the disk: what unpacks to more than there is stops before everybody else has none.

use std::io;
use std::os::fd::BorrowedFd;

use super::defect::Problem;
use super::place::Fault;

/// Up to so much is written without a look at the disk: little of what is spared, since several
/// layers are unpacked at once.
const STEP: u64 = 8 << 20;
/// So much is left to others.
const SPARE: u64 = 64 << 20;
/// So many files are left to others.
const SPARE_FILES: u64 = 1024;
/// What a file costs besides its bytes, at least.
const BLOCK: u64 = 4096;

/// Counts what an archive takes of the disk that something open lies on.
#[derive(Debug, Default)]
pub(crate) struct Room {
    since_look: u64,
}

impl Room {
    /// Before a file is made that says it is so large.
    pub(crate) fn fits(disk: BorrowedFd<'_>, size: u64) -> Result<(), Fault> {
        if size > STEP {
            let free = Free::on(disk)?.bytes;
            if size > free {
                return Err(Problem::TooLarge { size, free }.into());
            }
        }
        Ok(())
    }

    /// Before so many files and folders are made.
    pub(crate) fn make(&mut self, disk: BorrowedFd<'_>, count: usize) -> Result<(), Fault> {
        self.take(disk, BLOCK.saturating_mul(count as u64))
    }

    /// Before so many bytes are written.
    pub(crate) fn take(&mut self, disk: BorrowedFd<'_>, bytes: u64) -> Result<(), Fault> {
        match self.too_little(disk, bytes)? {
            Some(free) => Err(Problem::NoRoom { free }.into()),
            None => Ok(()),
        }
    }

    /// The bytes that are left, if so many more must not be taken.
    pub(crate) fn too_little(
        &mut self,
        disk: BorrowedFd<'_>,
        bytes: u64,
    ) -> io::Result<Option<u64>> {
        self.since_look = self.since_look.saturating_add(bytes);
        if self.since_look < STEP {
            return Ok(None);
        }
        self.since_look = 0;
        let free = Free::on(disk)?;
        let is_full = free.bytes < SPARE || free.files.is_some_and(|files| files < SPARE_FILES);
        Ok(is_full.then_some(free.bytes))
    }
}

/// What a disk has left.
#[derive(Clone, Copy, Debug)]
struct Free {
    bytes: u64,
    /// `None` where they are not numbered.
    files: Option<u64>,
}

impl Free {
    fn on(disk: BorrowedFd<'_>) -> io::Result<Self> {
        let figures = rustix::fs::fstatvfs(disk)?;
        let bytes = figures.f_bavail.saturating_mul(figures.f_frsize);
        // btrfs counts no files.
        let files = (figures.f_files > 0).then_some(figures.f_favail);
        Ok(Self { bytes, files })
    }
}
