//! The files of one log.
//!
//! `log.json` is the one that is being written. When it makes way it gets a number, the next one: `log.json.1`,
//! `log.json.2` and so on, the youngest has the greatest. A number is always the same entries, whatever else comes
//! and goes; compressed, they are in `log.json.1.gz`. That name appears when all is in it, and only then the
//! other one goes: who finds both has the same entries twice and takes one.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::durable;

/// What a log file is called after it made way.
pub(crate) fn numbered(path: &Path, number: u64) -> PathBuf {
    with(path, &format!(".{number}"))
}

/// The same when it is compressed.
pub(super) fn compressed(path: &Path, number: u64) -> PathBuf {
    with(path, &format!(".{number}.gz"))
}

/// The numbers of all that made way and are still there; none once the container is gone.
pub(crate) fn numbers(path: &Path) -> io::Result<BTreeSet<u64>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(BTreeSet::new());
    };
    let name = format!("{}.", name.display());
    let mut found = BTreeSet::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?.file_name();
        let number = entry.to_str().and_then(|entry| entry.strip_prefix(&name));
        let number = number.map(|number| number.strip_suffix(".gz").unwrap_or(number));
        found.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(found)
}

/// Gives one up.
pub(crate) fn remove(path: &Path, number: u64) -> io::Result<()> {
    // In the order in which they come: whoever compresses it right now takes back what he made of it.
    for path in [numbered(path, number), compressed(path, number)] {
        gone(fs::remove_file(path))?;
    }
    Ok(())
}

/// Compresses whatever made way and is not compressed yet, oldest first.
pub(crate) fn compress_all(path: &Path) -> io::Result<()> {
    numbers(path)?.into_iter().try_for_each(|number| compress(path, number))
}

fn compress(path: &Path, number: u64) -> io::Result<()> {
    let (plain, whole, half) =
        (numbered(path, number), compressed(path, number), with(path, ".half"));
    let mut from = match File::open(&plain) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        from => from?,
    };
    if !whole.exists() {
        let mut options = OpenOptions::new();
        let to = options.write(true).create(true).truncate(true).mode(0o640).open(&half)?;
        let mut encoder = GzEncoder::new(to, Compression::default());
        io::copy(&mut from, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        fs::rename(&half, &whole)?;
        durable::sync_folder(path.parent().unwrap_or(path))?;
    }
    match fs::remove_file(&plain) {
        // It was given up meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => gone(fs::remove_file(&whole)),
        removed => removed,
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn with(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_compressed_and_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.json");
        let names = || {
            let all = fs::read_dir(directory.path()).unwrap();
            let all = all.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            all.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
        };
        for name in ["log.json", "log.json.9", "log.json.10", "log.json.half", "other.json.3"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        assert_eq!(numbers(&path).unwrap(), BTreeSet::from([9, 10]));
        compress_all(&path).unwrap();
        compress_all(&path).unwrap();
        assert_eq!(names(), "log.json log.json.10.gz log.json.9.gz other.json.3");
        assert_eq!(numbers(&path).unwrap(), BTreeSet::from([9, 10]));
        // Somebody died before he took the other one away.
        fs::write(numbered(&path, 9), "the same").unwrap();
        assert_eq!(numbers(&path).unwrap(), BTreeSet::from([9, 10]));
        compress_all(&path).unwrap();
        remove(&path, 10).unwrap();
        remove(&path, 10).unwrap();
        assert_eq!(names(), "log.json log.json.9.gz other.json.3");
    }
}
