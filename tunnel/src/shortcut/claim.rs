//! Who has the shortcut of a port, and what is kept of it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use twill_core::run::{DIRECTORY, Namespace};

const NAME: &str = "shortcut-";
/// What is locked, and what outlives it.
const ENDINGS: [&str; 2] = ["claim", "numbers"];

/// The programs of one port in this network namespace are its holder's, who lives. The kernel gives it
/// back, however the holder ends.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _file: File,
}

impl Claim {
    /// `None` if another holds it, in this process or in another.
    pub fn take(port: u16) -> io::Result<Option<Self>> {
        let [locked, _numbers] = ENDINGS;
        let path = namespace()?.file(&format!("{NAME}{port}"), locked);
        DirBuilder::new().recursive(true).mode(0o755).create(DIRECTORY)?;
        loop {
            // Who may open it may hold it, and keep programs alive.
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            let file = options.open(&path)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
                Ok(()) => {}
            }
            // Whoever had it before may have taken the file away in between.
            let there = fs::metadata(&path).ok().map(|there| there.ino());
            if there == Some(file.metadata()?.ino()) {
                return Ok(Some(Self { path, _file: file }));
            }
        }
    }

    /// Where the programs' numbers are kept, from one process to the next.
    pub(crate) fn numbers(&self) -> PathBuf {
        let [_locked, numbers] = ENDINGS;
        self.path.with_extension(numbers)
    }

    /// Of the programs none is left any more, and nothing is kept of them.
    pub fn close(self) -> io::Result<()> {
        match fs::remove_file(self.numbers()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _gone => Ok(()),
        }
    }

    /// The files of claims in this network namespace, held or left by a process that was killed, and what is kept
    /// beside them.
    pub fn files() -> io::Result<Vec<PathBuf>> {
        let namespace = namespace()?;
        let Ok(directory) = fs::read_dir(DIRECTORY) else { return Ok(Vec::new()) };
        let is_one = |path: &PathBuf| {
            let mut names = ENDINGS.iter().filter_map(|ending| namespace.name_of(path, ending));
            names.any(|name| name.starts_with(NAME))
        };
        Ok(directory.flatten().map(|entry| entry.path()).filter(is_one).collect())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // While it is held: see `take`. One that stays does no harm.
        drop(fs::remove_file(&self.path));
    }
}

fn namespace() -> io::Result<Namespace> {
    Ok(Namespace(fs::metadata("/proc/thread-self/ns/net")?.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use nix::unistd::geteuid;

    use super::super::numbers::Numbers;
    use super::*;

    #[test]
    fn one_at_a_time_and_of_root_alone() {
        if !geteuid().is_root() {
            return;
        }
        let port = 1;
        let claim = Claim::take(port).unwrap().unwrap();
        assert!(Claim::take(port).unwrap().is_none());
        assert!(Claim::take(2).unwrap().is_some(), "another port is another's");
        let mode = fs::metadata(&claim.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "who cannot open it cannot hold it");
        assert!(Claim::files().unwrap().contains(&claim.path));
        let path = claim.path.clone();
        drop(claim);
        assert!(!path.exists());
        assert!(Claim::take(port).unwrap().is_some());
    }

    #[test]
    fn numbers_go_from_one_process_to_the_next_until_no_program_is_left() {
        if !geteuid().is_root() {
            return;
        }
        let take = || Claim::take(3).unwrap().unwrap();
        let first = Numbers::kept_in(&take().numbers()).unwrap();
        let claim = take();
        assert_eq!(Numbers::kept_in(&claim.numbers()).unwrap(), first);
        let mode = fs::metadata(claim.numbers()).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "nobody else is to know them");
        assert!(Claim::files().unwrap().contains(&claim.numbers()));
        fs::write(claim.numbers(), "cut o").unwrap();
        let second = Numbers::kept_in(&claim.numbers()).unwrap();
        assert_eq!(Numbers::kept_in(&claim.numbers()).unwrap(), second, "new ones are kept too");
        let file = claim.numbers();
        claim.close().unwrap();
        assert!(!file.exists());
        take().close().unwrap();
    }
}
