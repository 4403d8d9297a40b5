//! Files that others read, and that must be whole whenever we die.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// What a file should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
    /// The permission bits, whatever the process's mask is.
    pub(crate) mode: u32,
}

/// Brings the file about; tells whether anything had to be written.
///
/// A reader, and whoever finds the disk after a crash, sees the old text or the new one. A
/// directory that is missing is made, open for everyone to look into.
pub(crate) fn ensure(wanted: Wanted<'_>) -> anyhow::Result<bool> {
    if already(wanted) {
        return Ok(false);
    }
    let Wanted { path, .. } = wanted;
    write(wanted).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}

/// Could a file be made there? Leaves nothing behind but the directory. A file that is there may be
/// right already, so that nothing has to be written.
pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    if path.is_file() {
        return Ok(());
    }
    let attempt = || {
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if let Some(directory) = path.parent() {
            make_directory(directory, 0o755)?;
        }
        let temporary = temporary(path)?;
        let filled = fill(&temporary, &" ".repeat(4096), 0o600);
        filled.and(fs::remove_file(&temporary))
    };
    attempt().with_context(|| format!("cannot write {}", path.display()))
}

/// Makes the directory and what is above it, with these permission bits where it was missing.
pub(crate) fn ensure_directory(path: &Path, mode: u32) -> anyhow::Result<()> {
    make_directory(path, mode).with_context(|| format!("cannot make directory {}", path.display()))
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    // The process's mask does not count.
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn already(Wanted { path, text, mode }: Wanted<'_>) -> bool {
    let same_mode = fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o7777 == mode);
    same_mode && fs::read(path).is_ok_and(|found| found == text.as_bytes())
}

fn write(Wanted { path, text, mode }: Wanted<'_>) -> anyhow::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    ensure_directory(directory, 0o755)?;
    let temporary = temporary(path)?;
    let written = fill(&temporary, text, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell.
        drop(fs::remove_file(&temporary));
    }
    written?;
    File::open(directory)?.sync_all()?;
    Ok(())
}

/// What a file is called while it is written. One name for ever, so that a crash leaves at most one behind and the next write takes it over;
/// the lock on the state directory keeps a second writer away.
pub(crate) fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    Ok(path.with_file_name(format!(".{name}.twilld")))
}

fn fill(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let no_links = nix::libc::O_NOFOLLOW;
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(mode).custom_flags(no_links);
    let mut file = options.open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_once_and_leaves_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run/flannel/subnet.env");
        let wanted = |text| Wanted { path: &path, text, mode: 0o644 };
        assert!(ensure(wanted("A=1\n")).unwrap(), "it was not there");
        assert!(!ensure(wanted("A=1\n")).unwrap(), "it was there");
        assert!(ensure(wanted("A=2\n")).unwrap(), "it was another");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(ensure(wanted("A=2\n")).unwrap(), "not everybody could read it");
        assert_eq!(fs::read_to_string(&path).unwrap(), "A=2\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o644, 0o755));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    /// A reader that looks all the time never sees half a file.
    #[test]
    fn a_reader_sees_the_old_text_or_the_new_one() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("subnet.env");
        let texts = ["a".repeat(100_000), "b".repeat(50_000)];
        ensure(Wanted { path: &path, text: &texts[0], mode: 0o644 }).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let found = fs::read_to_string(&path).unwrap();
                    assert!(texts.contains(&found), "{} bytes of half a file", found.len());
                }
            });
            for turn in 0..200 {
                ensure(Wanted { path: &path, text: &texts[turn % 2], mode: 0o644 }).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            reader.join().unwrap();
        });
    }

    #[test]
    fn what_a_crash_left_is_taken_over() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("node-id");
        fs::write(temporary(&path).unwrap(), "half of a long tex").unwrap();
        ensure(Wanted { path: &path, text: "id\n", mode: 0o600 }).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "id\n");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_names_the_file() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("directory");
        fs::create_dir(&path).unwrap();
        let error = ensure(Wanted { path: &path, text: "", mode: 0o644 }).unwrap_err();
        assert!(format!("{error:#}").contains("cannot write"), "{error:#}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "and leaves nothing behind");
    }
}
