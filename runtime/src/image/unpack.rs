//! Turns the tar stream of one layer into a directory that overlayfs can use as it is.
//!
//! What an entry may not do is listed in [`Problem`]. Names lose a leading slash, as `tar` does.
//! Symbolic links may point anywhere: their targets mean something only inside the container, and
//! nothing here follows them out of the layer. Hard links must lead to a file of the same layer.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::FileType;
use tar::EntryType;

use super::compression::Plain;
use super::defect::{Defect, Problem};
use super::digest::Digest;
use super::entries::{Entries, Next, Stream};
use super::header::{Entry, Piece};
use super::place::{self, Attributes, Fault, Place};
use super::rootdir::{Parts, RootDir};

/// More than any distribution has files; enough to stop a bomb of empty ones.
const ENTRY_LIMIT: u64 = 8 << 20;
/// Below this a file is written without asking whether it fits.
const SMALL: u64 = 64 << 20;

const CHARACTER: FileType = FileType::CharacterDevice;
const BLOCK: FileType = FileType::BlockDevice;

/// Which device nodes an archive may hold.
///
/// A device node in an image is a door to the host's hardware for whoever gets near the layer, or
/// runs the image with more rights than the default ones, and containers get a `/dev` of their
/// own anyway. So only those that every container has are taken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Devices {
    /// null, zero, full, random, urandom, tty, console, ptmx: what debootstrap puts into `/dev`.
    #[default]
    Standard,
    /// Any: the user trusts the archive.
    All,
}

/// What came out of a layer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Unpacked {
    /// SHA-256 of the whole stream, decompressed.
    pub(super) diff_id: Digest,
    /// Bytes in regular files.
    pub(super) size: u64,
    /// The stream had an end marker; without one only the digest can tell that it is whole.
    pub(super) ended: bool,
}

/// Unpacks a layer, compressed or not, into the directory at `root`, which is empty.
pub(super) fn unpack(layer: impl Read, root: &Path, devices: Devices) -> Result<Unpacked, Defect> {
    let mut entries = Entries::new(Hashing::new(Plain::new(layer)?), ENTRY_LIMIT);
    let mut unpacking =
        Unpacking { root: RootDir::open(root)?, devices, marks: true, buffer: vec![0; 128 * 1024] };
    let mut size = 0_u64;
    let ended = loop {
        match entries.next()? {
            Next::Entry(entry) => {
                unpacking.put(&entry, &mut entries).map_err(|fault| describe(&entry, fault))?;
                if entry.is_file() {
                    size = size.saturating_add(entry.size);
                }
            }
            Next::End => break true,
            Next::Stop => break false,
        }
    };
    // The digest covers what is after the end marker as well.
    let stream = entries.drain()?;
    Ok(Unpacked { diff_id: Digest::from(stream.hasher), size, ended })
}

/// Unpacks an archive, compressed or not, into a directory that has contents already. Names that mark
/// deletions in layers are ordinary ones here, and a directory stays one: neither is it replaced by
/// something else, nor the reverse.
pub fn extract(archive: impl Read, root: OwnedFd, devices: Devices) -> Result<(), Defect> {
    let mut entries = Entries::new(Plain::new(archive)?, ENTRY_LIMIT);
    let root = RootDir::from(root);
    let mut unpacking = Unpacking { root, devices, marks: false, buffer: vec![0; 128 * 1024] };
    loop {
        match entries.next()? {
            Next::Entry(entry) => {
                unpacking.put(&entry, &mut entries).map_err(|fault| describe(&entry, fault))?;
            }
            Next::End => break,
            Next::Stop => return Err(Defect::CutOff { at: entries.position() }),
        }
    }
    // Whoever writes must not find the pipe closed over its last blocks.
    entries.drain().map(drop)
}

impl Entry {
    fn is_file(&self) -> bool {
        matches!(self.kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse)
    }

    fn attributes(&self) -> Attributes {
        Attributes { mode: self.mode, uid: self.uid, gid: self.gid, modified: self.modified }
    }
}

/// Why an entry stopped the unpacking.
enum Stopped {
    Here(Fault),
    Stream(Defect),
}

struct Unpacking {
    root: RootDir,
    devices: Devices,
    /// Do some names mark deletions?
    marks: bool,
    buffer: Vec<u8>,
}

impl Unpacking {
    fn put<S: Stream>(&mut self, entry: &Entry, entries: &mut Entries<S>) -> Result<(), Stopped> {
        if entry.kind.as_byte() == b'V' {
            // GNU's label of a whole archive.
            return Ok(());
        }
        let parts = Parts::parse(&entry.path, || Problem::Climbs)?;
        let Some((name, folders)) = parts.split_last() else {
            return self.put_root(entry);
        };
        self.check(entry)?;
        if !self.marks {
            let place = self.root.place(folders, name)?.keeping_kinds();
            self.put_at(&place, entry, entries)?;
            return Ok(place.settle()?);
        }
        let hidden = name.strip_prefix(b".wh.");
        let of_aufs = |part: &[u8]| part.starts_with(b".wh..wh.") && part != b".wh..wh..opq";
        // Marks that mean nothing without aufs.
        if of_aufs(name) || folders.iter().any(|folder| of_aufs(folder)) {
            return Ok(());
        }
        let place = self.root.place(folders, hidden.unwrap_or(name))?;
        match hidden {
            Some(b".wh..opq") => place.set_folder_opaque()?,
            Some(b"" | b"." | b"..") => return Err(Problem::Whiteout.into()),
            Some(_) => place.put_whiteout()?,
            None => self.put_at(&place, entry, entries)?,
        }
        Ok(place.settle()?)
    }

    fn put_at<S: Stream>(
        &mut self,
        place: &Place,
        entry: &Entry,
        entries: &mut Entries<S>,
    ) -> Result<(), Stopped> {
        let attributes = entry.attributes();
        match entry.kind {
            EntryType::Directory => {
                let directory = place.put_directory()?;
                place::finish(directory.as_fd(), attributes, &entry.attributes)?;
            }
            EntryType::Symlink if entry.link.is_empty() => return Err(Problem::NoTarget.into()),
            EntryType::Symlink => place.put_symlink(&entry.link, attributes)?,
            EntryType::Link => place.put_link(&self.target(entry)?)?,
            EntryType::Fifo => place.put_node(FileType::Fifo, (0, 0), attributes)?,
            EntryType::Char => place.put_node(CHARACTER, entry.device, attributes)?,
            EntryType::Block => place.put_node(BLOCK, entry.device, attributes)?,
            _ => {
                let file = self.put_file(place, entry, entries)?;
                place::finish(file.as_fd(), attributes, &entry.attributes)?;
            }
        }
        Ok(())
    }

    fn put_file<S: Stream>(
        &mut self,
        place: &Place,
        entry: &Entry,
        entries: &mut Entries<S>,
    ) -> Result<File, Stopped> {
        let mut file = place.put_file()?;
        match &entry.pieces {
            None => self.copy(&mut file, entry.size, entries)?,
            Some(pieces) => {
                for Piece { offset, length } in pieces {
                    file.seek(SeekFrom::Start(*offset))?;
                    self.copy(&mut file, *length, entries)?;
                }
                file.set_len(entry.size)?;
            }
        }
        Ok(file)
    }

    fn copy<S: Stream>(
        &mut self,
        file: &mut File,
        mut rest: u64,
        entries: &mut Entries<S>,
    ) -> Result<(), Stopped> {
        while rest > 0 {
            let wanted = usize::try_from(rest).unwrap_or(usize::MAX).min(self.buffer.len());
            let read = entries.read(&mut self.buffer[..wanted]).map_err(Stopped::Stream)?;
            file.write_all(&self.buffer[..read])?;
            rest -= read as u64;
        }
        Ok(())
    }

    fn put_root(&self, entry: &Entry) -> Result<(), Stopped> {
        if entry.kind != EntryType::Directory {
            return Err(Problem::NoName.into());
        }
        let root = self.root.itself()?;
        Ok(place::finish(root.as_fd(), entry.attributes(), &entry.attributes)?)
    }

    /// What can be said about the entry before anything is written.
    fn check(&self, entry: &Entry) -> Result<(), Stopped> {
        match entry.kind {
            EntryType::Char | EntryType::Block => self.check_device(entry),
            _ if entry.is_file() => {
                if entry.size > SMALL {
                    let free = self.root.free()?;
                    if entry.size > free {
                        return Err(Problem::TooLarge { size: entry.size, free }.into());
                    }
                }
                Ok(())
            }
            EntryType::Directory | EntryType::Symlink | EntryType::Link | EntryType::Fifo => Ok(()),
            other => Err(Problem::Type(char::from(other.as_byte())).into()),
        }
    }

    fn check_device(&self, entry: &Entry) -> Result<(), Stopped> {
        let (major, minor) = entry.device;
        let standard = entry.kind == EntryType::Char
            && matches!((major, minor), (1, 3 | 5 | 7 | 8 | 9) | (5, 0..=2));
        if standard || self.devices == Devices::All {
            return Ok(());
        }
        let kind = if entry.kind == EntryType::Char { "character" } else { "block" };
        Err(Problem::Device { kind, major, minor }.into())
    }

    /// Where a hard link leads: a file that an earlier entry of this layer made.
    fn target(&self, entry: &Entry) -> Result<Place, Stopped> {
        let shown = || Defect::shown(&entry.link);
        let parts = Parts::parse(&entry.link, || Problem::LinkClimbs(shown()))?;
        let Some((name, folders)) = parts.split_last() else {
            return Err(Problem::NoTarget.into());
        };
        let nothing = || Stopped::from(Problem::LinkToNothing(shown()));
        let place = self.root.find(folders, name)?.ok_or_else(nothing)?;
        if place.is_linkable()? { Ok(place) } else { Err(nothing()) }
    }
}

fn describe(entry: &Entry, stopped: Stopped) -> Defect {
    let entry = Defect::shown(&entry.path);
    match stopped {
        Stopped::Stream(defect) => defect,
        Stopped::Here(Fault::Problem(problem)) => Defect::Entry { entry, problem },
        Stopped::Here(Fault::Write(source)) => Defect::Write { entry, source },
    }
}

impl<F: Into<Fault>> From<F> for Stopped {
    fn from(fault: F) -> Self {
        Self::Here(fault.into())
    }
}

/// Passes a stream on and keeps its digest.
struct Hashing<S> {
    stream: S,
    hasher: sha2::Sha256,
}

impl<S> Hashing<S> {
    fn new(stream: S) -> Self {
        Self { stream, hasher: <sha2::Sha256 as sha2::Digest>::new() }
    }
}

impl<S: Read> Read for Hashing<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        sha2::Digest::update(&mut self.hasher, &buffer[..read]);
        Ok(read)
    }
}

impl<S: Read> Stream for Hashing<S> {}
