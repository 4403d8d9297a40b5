//! How much a container has written.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use super::record::Record;
use crate::error::{Error, FileContext as _, Result};
use crate::listing::containers::Size;
use crate::{Paths, image};

/// Deeper than anybody needs; there is an end to open directories.
const DEPTH: usize = 2048;

/// Of its own, and of its image.
pub fn of(paths: &Paths, record: &Record) -> Result<Size> {
    let upper = paths.container(&record.id).join("upper");
    let own = below(&upper).file("look through", &upper)?;
    let images = image::Store::open(paths).map_err(Error::Image)?;
    // Its image may be gone by force; what is left of it cannot be told any more.
    let image = images.resolve(&record.image.id).map_or(0, |image| image.size);
    Ok(Size { own, image })
}

/// Bytes in the files below a directory; one that is not there has none.
pub fn below(directory: &Path) -> io::Result<u64> {
    match File::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        root => Ok(sum(&root?.into(), DEPTH)?),
    }
}

/// By descriptors: a container makes paths that are longer than the kernel takes.
fn sum(directory: &OwnedFd, depth: usize) -> rustix::io::Result<u64> {
    if depth == 0 {
        return Err(Errno::NAMETOOLONG);
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    let mut bytes = 0_u64;
    for name in names {
        let found = match statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            // Removed since it was listed.
            Err(Errno::NOENT) => continue,
            found => found?,
        };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => bytes += u64::try_from(found.st_size).unwrap_or(0),
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match openat(directory, &name, flags, Mode::empty()) {
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    inner => bytes += sum(&inner?, depth - 1)?,
                }
            }
            _ => {}
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn paths_of_any_length_are_counted() {
        let root = tempfile::tempdir().unwrap();
        let mut directory = OwnedFd::from(File::open(root.path()).unwrap());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        for _ in 0..40 {
            let file = openat(&directory, "file", flags, Mode::RUSR).unwrap();
            File::from(file).write_all(b"ten bytes.").unwrap();
            let name = "x".repeat(250);
            rustix::fs::mkdirat(&directory, &name, Mode::RWXU).unwrap();
            let inner = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            directory = openat(&directory, &name, inner, Mode::empty()).unwrap();
        }
        assert_eq!(below(root.path()).unwrap(), 400);
        assert_eq!(below(&root.path().join("nosuch")).unwrap(), 0);
    }
}
