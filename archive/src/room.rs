//! Room on the disk: what unpacks to more than there is stops before everybody else has none.

use super::defect::Problem;
use super::place::Fault;
use super::rootdir::RootDir;

/// Up to so much is written without a look at the disk.
const STEP: u64 = 64 << 20;
/// So much is left to others.
const SPARE: u64 = 64 << 20;
/// So many files are left to others.
const SPARE_FILES: u64 = 1024;
/// What a file costs besides its bytes, at least.
const BLOCK: u64 = 4096;

/// Counts what an archive takes of the disk.
#[derive(Debug, Default)]
pub(crate) struct Room {
    since_look: u64,
}

impl Room {
    /// Before an entry is made that says it is so large.
    pub(crate) fn enter(&mut self, root: &RootDir, size: u64) -> Result<(), Fault> {
        if size > STEP {
            let free = root.free()?.bytes;
            if size > free {
                return Err(Problem::TooLarge { size, free }.into());
            }
        }
        self.take(root, BLOCK)
    }

    /// Before so many bytes are written.
    pub(crate) fn take(&mut self, root: &RootDir, bytes: u64) -> Result<(), Fault> {
        self.since_look += bytes;
        if self.since_look < STEP {
            return Ok(());
        }
        self.since_look = 0;
        let free = root.free()?;
        if free.bytes < SPARE || free.files.is_some_and(|files| files < SPARE_FILES) {
            return Err(Problem::NoRoom { free: free.bytes }.into());
        }
        Ok(())
    }
}
