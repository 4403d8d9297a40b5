//! Copying between a container's files and the host's, or a stream.
//!
//! ```text
//! source ──pack──► tar ──extract──► destination
//!                   └► standard output, or from standard input
//! ```
//!
//! Both ends are directories that the kernel keeps us in ([`Inside`]): no link of a container's, made
//! before or while we copy, leads out of its root. What a container has is packed by open
//! directories, one name at a time; what comes out of the archive goes below one directory.

mod pack;
pub mod plan;
pub mod root;

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags, Stat};

use crate::bundle::rootfs::Inside;
use crate::error::{Error, FileContext as _, Result, SystemContext as _};
use crate::image::{Devices, extract};

pub use pack::Owner;
use pack::Scope;

/// Writes what is in a directory as an archive.
pub fn pack_contents(directory: &OwnedFd, out: impl Write, owner: Owner) -> io::Result<()> {
    let mut packer = pack::Packer::new(out, owner);
    packer.put_contents(directory)?;
    packer.finish().map(drop)
}

/// Writes the files of one mount, as all of it is seen; what is mounted below it is an empty place.
pub fn pack_root(root: &OwnedFd, out: impl Write) -> io::Result<()> {
    let scope = Scope::Mount(pack::mount_of(root)?);
    let mut packer = pack::Packer::new(out, Owner::Same).within(scope);
    packer.put_contents(root)?;
    packer.finish().map(drop)
}

/// What becomes of the places that were made for mounts of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MountPoints {
    /// They are no change of the container's.
    LeftOut,
    /// They are the image's own.
    Kept,
}

/// Writes an upper directory of overlayfs as a layer: what hides something below becomes a mark in the
/// archive.
pub fn pack_layer(upper: &OwnedFd, out: impl Write, points: MountPoints) -> io::Result<()> {
    let mut packer = pack::Packer::new(out, Owner::Same).within(Scope::Layer(points));
    packer.put_contents(upper)?;
    packer.finish().map(drop)
}
use plan::{Destination, Source};

/// A path below a root: a container's, or the host's.
#[derive(Debug)]
pub struct Place<'a> {
    /// The root.
    pub root: &'a Inside,
    /// From the root; whether it ends in a slash matters.
    pub path: &'a Path,
    /// As the user wrote it.
    pub shown: &'a str,
}

/// What is to be packed, found and open.
#[derive(Debug)]
pub struct Found {
    file: OwnedFd,
    stat: Stat,
    source: Source,
}

impl Place<'_> {
    /// Finds what is to be copied. A link at its end is copied as a link, unless `follow`, or a slash
    /// asks for what it leads to.
    pub fn find(&self, follow: bool) -> Result<Found> {
        let as_directory = plan::ends_as_directory(self.path);
        let mut flags = OFlags::PATH;
        if !follow && !as_directory {
            flags |= OFlags::NOFOLLOW;
        }
        let file = match self.root.descend(self.path, flags) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                return Err(Error::NoSuchFile(self.shown.to_owned()));
            }
            file => file.file("open", self.path)?,
        };
        let stat = rustix::fs::fstat(&file).file("look at", self.path)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if as_directory && !is_directory {
            return Err(Error::NotADirectory(self.shown.to_owned()));
        }
        Ok(Found { file, stat, source: Source::new(self.path, is_directory) })
    }

    /// What is at the destination by now.
    fn destination(&self) -> Result<Destination> {
        let target = self.root.follow(self.path)?;
        let is_directory = match self.root.descend(&target, OFlags::PATH) {
            Ok(file) => {
                let stat = rustix::fs::fstat(&file).file("look at", &target)?;
                Some(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
            }
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => None,
            Err(error) => return Err(error).file("open", &target),
        };
        let slash = plan::ends_as_directory(self.path);
        Ok(Destination { path: target, is_directory, slash })
    }

    fn directory(&self, path: &Path) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.root.descend(path, flags) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                Err(Error::NoSuchFile(path.display().to_string()))
            }
            directory => directory.file("open", path),
        }
    }
}

/// Writes an archive of what was found.
pub fn to_stream(found: &Found, owner: Owner, out: impl Write) -> Result<u64> {
    let mut packer = pack::Packer::new(Counting { out, count: 0 }, owner);
    packer.put(&found.file, &found.stat, Path::new(&found.source.name())).system("copy")?;
    Ok(packer.finish().system("copy")?.count)
}

/// Unpacks an archive below a directory.
pub fn from_stream(archive: impl Read, to: &Place<'_>) -> Result<()> {
    let Destination { path, is_directory, .. } = to.destination()?;
    if is_directory != Some(true) {
        return Err(Error::NotADirectory(to.shown.to_owned()));
    }
    unpack(archive, to.directory(&path)?)
}

/// Copies from one root to another; returns how many bytes went through.
pub fn between(found: &Found, owner: Owner, to: &Place<'_>) -> Result<u64> {
    let plan = plan::plan(&found.source, &to.destination()?, to.shown)?;
    let directory = to.directory(&plan.directory)?;
    let (reader, writer) = io::pipe().system("make a pipe")?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(|| {
            let mut packer = pack::Packer::new(Counting { out: writer, count: 0 }, owner);
            match &plan.name {
                Some(name) => packer.put(&found.file, &found.stat, name)?,
                None => packer.put_contents(&found.file)?,
            }
            Ok(packer.finish()?.count)
        });
        let unpacked = unpack(reader, directory);
        let packed: io::Result<u64> =
            packing.join().unwrap_or_else(|_panicked| Err(io::ErrorKind::Other.into()));
        match (packed, unpacked) {
            (Ok(count), Ok(())) => Ok(count),
            // Nobody took it, and the other knows why.
            (Err(error), unpacked) if error.kind() == io::ErrorKind::BrokenPipe => {
                unpacked.map(|()| 0)
            }
            (Err(error), _) => Err(error).system("copy"),
            (_, Err(error)) => Err(error),
        }
    })
}

fn unpack(archive: impl Read, directory: OwnedFd) -> Result<()> {
    extract(archive, directory, Devices::Standard).map_err(|defect| Error::Unpack(Box::new(defect)))
}

struct Counting<W> {
    out: W,
    count: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;
