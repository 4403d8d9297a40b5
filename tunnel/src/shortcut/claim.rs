//! Who has the shortcut of a port.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Where the agent keeps its locks on devices too. Root's: nobody else may hold what keeps programs alive.
const DIRECTORY: &str = "/run/twill";
const NAME: &str = "shortcut-";

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
        let path = Path::new(DIRECTORY).join(format!("{NAME}{port}{}", end()?));
        DirBuilder::new().recursive(true).mode(0o755).create(DIRECTORY)?;
        loop {
            // Who may open it may hold it.
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

    /// The files of claims in this network namespace, held or left by a process that was killed.
    pub fn files() -> io::Result<Vec<PathBuf>> {
        let end = end()?;
        let Ok(directory) = fs::read_dir(DIRECTORY) else { return Ok(Vec::new()) };
        let is_one = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(NAME) && name.ends_with(&end)
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

/// Namespaces that share `/run` have ports of their own.
fn end() -> io::Result<String> {
    let namespace = fs::metadata("/proc/thread-self/ns/net")?;
    Ok(format!("-{}.claim", namespace.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use nix::unistd::geteuid;

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
}
