//! Turns the tar stream of one layer into a directory that overlayfs can use as it is.
//!
//! What an entry may not do is listed in [`Problem`]. Names lose a leading slash, as `tar` does.
//! Symbolic links may point anywhere: their targets mean something only inside the container, and
//! nothing here follows them out of the layer. Hard links must lead to a file of the same layer.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::FileType;
use tar::EntryType;

use super::compression::Plain;
use super::defect::{Defect, Problem};
use super::digest::Digest;
use super::entries::{Entries, Next, Stream};
use super::hashing::Hashing;
use super::header::{Entry, Piece};
use super::place::{self, Attributes, Fault, Place};
use super::record::Recording;
use super::room::Room;
use super::rootdir::{Parts, RootDir};

/// More than any distribution has files; enough to stop a bomb of empty ones.
const ENTRY_LIMIT: u64 = 8 << 20;

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

/// Where a layer goes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// An empty directory for its files.
    pub root: &'a Path,
    /// A file that is not there yet, for what [`replay`](super::replay) needs besides.
    pub record: &'a Path,
}

/// What came out of a layer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unpacked {
    /// SHA-256 of the whole stream, decompressed.
    pub diff_id: Digest,
    /// Bytes in regular files, each once, whatever names it has.
    pub size: u64,
    /// The stream had an end marker; without one only the digest can tell that it is whole.
    pub ended: bool,
}

/// Unpacks a layer, compressed or not, into the directory at `to.root`, which is empty.
pub fn unpack(layer: impl Read, to: &Target<'_>, devices: Devices) -> Result<Unpacked, Defect> {
    let record = File::create_new(to.record).map_err(Defect::Record)?;
    let stream =
        Recording::new(Hashing::new(Plain::new(layer)?), record).map_err(Defect::Record)?;
    let mut entries = Entries::new(stream, ENTRY_LIMIT);
    let mut unpacking = Unpacking::new(RootDir::open(to.root)?, devices);
    let ended = loop {
        match entries.next()? {
            Next::Entry(entry) => {
                unpacking.put(&entry, &mut entries).map_err(|fault| describe(&entry, fault))?;
            }
            Next::End => break true,
            Next::Stop => break false,
        }
    };
    // The digest covers what is after the end marker as well.
    let stream = entries.drain()?.finish().map_err(Defect::Record)?;
    Ok(Unpacked { diff_id: stream.digest(), size: unpacking.size, ended })
}

/// Unpacks an archive, compressed or not, into a directory that has contents already. Names that mark
/// deletions in layers are ordinary ones here, and a directory stays one: neither is it replaced by
/// something else, nor the reverse.
pub fn extract(archive: impl Read, root: OwnedFd, devices: Devices) -> Result<(), Defect> {
    let mut entries = Entries::new(Plain::new(archive)?, ENTRY_LIMIT);
    let mut unpacking = Unpacking { marks: false, ..Unpacking::new(RootDir::from(root), devices) };
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
    room: Room,
    /// Bytes in the files that are there.
    size: u64,
    buffer: Vec<u8>,
}

impl Unpacking {
    fn new(root: RootDir, devices: Devices) -> Self {
        let buffer = vec![0; 128 * 1024];
        Self { root, devices, marks: true, room: Room::default(), size: 0, buffer }
    }

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
        // Any folder on the way may be one that no entry describes.
        self.room.make(self.root.as_fd(), folders.len() + 1)?;
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
                self.size = self.size.saturating_add(entry.size);
            }
        }
        self.size = self.size.saturating_sub(place.replaced());
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
            None => {
                if entry.size > 0 {
                    entries.contents_of(&entry.path)?;
                }
                self.copy(&mut file, entry.size, entries)?;
            }
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
            self.room.take(self.root.as_fd(), read as u64)?;
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
            _ if entry.is_file() => Ok(Room::fits(self.root.as_fd(), entry.size)?),
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
