//! The files of one log.
//!
//! `log.json` is the one that is being written. When it makes way it gets a number, the next one: `log.json.r1`,
//! `log.json.r2` and so on, the youngest has the greatest. A number is always the same entries, whatever else comes
//! and goes; compressed, they are in `log.json.r1.gz`. That name appears when all is in it, and only then the
//! other one goes: who finds both has the same entries twice and takes one.
//!
//! Releases before this moved all names on instead: of `log.json.1`, `log.json.2` and so on the youngest has the
//! least, and all are older than those of now. Their numbers are negative here: `log.json.2` is -2.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::durable;

/// What a log file is called after it made way.
pub(crate) fn numbered(path: &Path, number: i64) -> PathBuf {
    with(path, &if number < 0 { format!(".{}", -number) } else { format!(".r{number}") })
}

/// The same when it is compressed.
pub(super) fn compressed(path: &Path, number: i64) -> PathBuf {
    with(path, &format!(".r{number}.gz"))
}

/// The numbers of all that made way and are still there; none once the container is gone.
pub(crate) fn numbers(path: &Path) -> io::Result<BTreeSet<i64>> {
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
        found.extend(number.and_then(parse));
    }
    Ok(found)
}

/// What follows the dot.
fn parse(end: &str) -> Option<i64> {
    let number = |text: &str| text.parse().ok().map(u32::into);
    match end.strip_prefix('r') {
        Some(end) => number(end.strip_suffix(".gz").unwrap_or(end)),
        None => number(end).map(|number: i64| -number),
    }
}

/// Gives one up.
pub(crate) fn remove(path: &Path, number: i64) -> io::Result<()> {
    // In the order in which they come: whoever compresses it right now takes back what he made of it.
    for path in [numbered(path, number), compressed(path, number)] {
        gone(fs::remove_file(path))?;
    }
    Ok(())
}

/// Compresses whatever made way and is not compressed yet, oldest first, until told to `stop`. One that cannot be
/// compressed stays as it is, and stops no other.
pub(crate) fn compress_all(path: &Path, stop: &AtomicBool) -> io::Result<()> {
    let mut outcome = Ok(());
    for number in numbers(path)?.into_iter().filter(|number| *number > 0) {
        outcome = outcome.and(compress(path, number, stop));
    }
    outcome
}

fn compress(path: &Path, number: i64, stop: &AtomicBool) -> io::Result<()> {
    let (plain, whole) = (numbered(path, number), compressed(path, number));
    let from = match File::open(&plain) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        from => from?,
    };
    if !whole.exists() {
        let half = with(path, ".half");
        let made = squeeze(from, &half, stop).and_then(|()| fs::rename(&half, &whole));
        if made.is_err() {
            // On a full disk it has taken the last of it.
            drop(fs::remove_file(&half));
        }
        made?;
        durable::sync_folder(path.parent().unwrap_or(path))?;
    }
    match fs::remove_file(&plain) {
        // It was given up meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => gone(fs::remove_file(&whole)),
        removed => removed,
    }
}

fn squeeze(mut from: File, half: &Path, stop: &AtomicBool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let to = options.write(true).create(true).truncate(true).mode(0o640).open(half)?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        // Some milliseconds of work.
        if io::copy(&mut (&mut from).take(1 << 18), &mut encoder)? == 0 {
            return encoder.finish()?.sync_all();
        }
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
        let compress_all = || compress_all(&path, &AtomicBool::new(false)).unwrap();
        for name in [
            "log.json",
            "log.json.2",
            "log.json.r9",
            "log.json.r10",
            "log.json.half",
            "other.json.r3",
        ] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        assert_eq!(numbers(&path).unwrap(), BTreeSet::from([-2, 9, 10]));
        super::compress_all(&path, &AtomicBool::new(true)).unwrap_err();
        assert_eq!(names(), "log.json log.json.2 log.json.r10 log.json.r9 other.json.r3");
        compress_all();
        compress_all();
        assert_eq!(names(), "log.json log.json.2 log.json.r10.gz log.json.r9.gz other.json.r3");
        assert_eq!(numbers(&path).unwrap(), BTreeSet::from([-2, 9, 10]));
        // Somebody died before he took the other one away.
        fs::write(numbered(&path, 9), "the same").unwrap();
        assert_eq!(numbers(&path).unwrap(), BTreeSet::from([-2, 9, 10]));
        compress_all();
        remove(&path, 10).unwrap();
        remove(&path, 10).unwrap();
        remove(&path, -2).unwrap();
        assert_eq!(names(), "log.json log.json.r9.gz other.json.r3");
    }
}
