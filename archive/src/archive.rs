//! An image archive whose members can be read in any order.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::compression::{Packing, Plain, packing};
use super::defect::{Defect, Problem};
use super::digest::Digest;
use super::entries::{Entries, Next};
use super::header::Entry;
use super::plan::PlannedLayer;
use super::room::Room;
use super::rootdir::Parts;
use super::slice::{Seekable, Slice};
use super::watch::{Step, Watch, Watched};

/// Three members for each of 127 layers, for hundreds of images.
const MEMBER_LIMIT: u64 = 1 << 17;
/// For the documents: manifests and configurations are some kilobytes.
pub(crate) const DOCUMENT_LIMIT: u64 = 16 << 20;
/// For the names of all members and links, which are kept in memory.
const NAMES_LIMIT: usize = 64 << 20;
/// Links to links to…: Docker makes one.
const LINK_LIMIT: usize = 8;
/// A stream is copied to the disk in pieces of so many bytes.
const PIECE: u64 = 1 << 20;

/// Where an archive comes from.
pub struct Source {
    name: String,
    input: Input,
    watch: Watch,
}

enum Input {
    File(File),
    Stream(Box<dyn Read + Send>),
}

impl Source {
    /// A file, which is read in place when it can be.
    pub fn file(path: &Path) -> io::Result<Self> {
        let input = Input::File(File::open(path)?);
        Ok(Self { name: path.display().to_string(), input, watch: Watch::default() })
    }

    /// Whatever can be read once, from its beginning; `name` is for messages.
    pub fn stream(name: impl Into<String>, stream: impl Read + Send + 'static) -> Self {
        Self { name: name.into(), input: Input::Stream(Box::new(stream)), watch: Watch::default() }
    }

    /// The same, and somebody is told how far the reading has come.
    #[must_use]
    pub fn watched(self, by: impl Fn(Step<'_>) + Send + Sync + 'static) -> Self {
        Self { watch: Watch::new(by), ..self }
    }

    /// How messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its bytes, in order.
    pub fn into_reader(self) -> impl Read + Send {
        let (of, stream): (_, Box<dyn Read + Send>) = match self.input {
            Input::File(file) => (length(&file), Box::new(file)),
            Input::Stream(stream) => (None, stream),
        };
        Watched::new(stream, self.name, of, self.watch)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A tar archive on disk and the places of its members.
#[derive(Debug)]
pub struct Archive {
    file: File,
    watch: Watch,
    members: HashMap<Vec<u8>, Member>,
}

#[derive(Debug)]
enum Member {
    Data(Span),
    /// Docker before 25 saves a layer that several images share once, and links to it.
    Link(Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
struct Span {
    offset: u64,
    length: u64,
}

impl Archive {
    /// Reads all headers. A stream, or a compressed file, is copied to the disk of `folder` first.
    pub fn open(source: Source, folder: &Path) -> Result<Self, Defect> {
        let watch = source.watch.clone();
        let file = match source.input {
            Input::File(file) if is_plain(&file)? => file,
            _ => spool(source.into_reader(), folder)?,
        };
        let mut entries = Entries::new(Seekable::new(file.try_clone()?)?, MEMBER_LIMIT);
        let mut members = HashMap::new();
        let mut names = 0;
        loop {
            match entries.next()? {
                Next::Entry(entry) => {
                    names += entry.path.len() + entry.link.len();
                    if names > NAMES_LIMIT {
                        return Err(Defect::NamesTooLong { limit: NAMES_LIMIT });
                    }
                    if let Some((name, member)) = member(&entry)? {
                        members.insert(name, member);
                    }
                }
                Next::End => return Ok(Self { file, watch, members }),
                Next::Stop => return Err(Defect::CutOff { at: entries.position() }),
            }
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// The bytes of a member.
    pub(crate) fn read(&self, name: &str) -> Result<Slice, Defect> {
        let Span { offset, length } = self.find(name)?;
        Ok(Slice { file: self.file.try_clone()?, position: offset, end: offset + length })
    }

    /// The bytes of a layer, as it is packed.
    pub fn layer(&self, layer: &PlannedLayer) -> Result<impl Read + Send + use<>, Defect> {
        let of = self.find(&layer.member)?.length;
        let stream = self.read(&layer.member)?;
        Ok(Watched::new(stream, layer.diff_id.short(), Some(of), self.watch.clone()))
    }

    /// A whole document.
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>, Defect> {
        let Span { length: size, .. } = self.find(name)?;
        if size > DOCUMENT_LIMIT {
            let member = shown(name);
            return Err(Defect::MemberTooLarge { member, size, limit: DOCUMENT_LIMIT });
        }
        let mut bytes = Vec::new();
        self.read(name)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A whole document, understood.
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, Defect> {
        parse(name, &self.document(name)?)
    }

    /// A document of an OCI layout, checked against the digest that is its name and the size that
    /// somebody said it has.
    pub(crate) fn blob(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, Defect> {
        let member = blob_name(digest);
        let bytes = self.document(&member)?;
        if bytes.len() as u64 != size {
            return Err(Defect::WrongSize { member, expected: size, actual: bytes.len() as u64 });
        }
        let actual = Digest::of(&bytes);
        if actual == *digest {
            Ok(bytes)
        } else {
            Err(Defect::WrongDigest { expected: *digest, actual })
        }
    }

    fn find(&self, name: &str) -> Result<Span, Defect> {
        let missing = || Defect::Missing { member: shown(name) };
        let mut key = normal(name.as_bytes()).ok_or_else(missing)?;
        for _ in 0..LINK_LIMIT {
            match self.members.get(&key) {
                Some(Member::Data(span)) => return Ok(*span),
                Some(Member::Link(target)) => key.clone_from(target),
                None => break,
            }
        }
        Err(missing())
    }
}

/// Where an OCI layout keeps what has this digest.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Understands a document of the archive.
pub(crate) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, Defect> {
    serde_json::from_slice(bytes).map_err(|source| Defect::Json { member: shown(name), source })
}

fn shown(name: &str) -> String {
    Defect::shown(name.as_bytes())
}

fn length(file: &File) -> Option<u64> {
    file.metadata().ok().filter(fs::Metadata::is_file).map(|met| met.len())
}

/// Whether members can be read where they are.
fn is_plain(file: &File) -> Result<bool, Defect> {
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let mut first = [0; 6];
    let mut filled = 0;
    while filled < first.len() {
        match file.read_at(&mut first[filled..], filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(packing(&first[..filled])? == Packing::None)
}

/// Copies a stream, unpacked, to a file without a name.
fn spool(stream: impl Read, folder: &Path) -> Result<File, Defect> {
    let mut file = tempfile::tempfile_in(folder)?;
    let mut stream = Plain::new(stream)?;
    let mut room = Room::default();
    loop {
        let copied = io::copy(&mut stream.by_ref().take(PIECE), &mut file);
        let copied = copied.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Defect::CutOff { at: file.stream_position().unwrap_or_default() }
            }
            io::ErrorKind::StorageFull => Defect::NoRoom { free: 0 },
            _ => Defect::Read(error),
        })?;
        if let Some(free) = room.too_little(file.as_fd(), copied)? {
            return Err(Defect::NoRoom { free });
        }
        if copied < PIECE {
            break;
        }
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn member(entry: &Entry) -> Result<Option<(Vec<u8>, Member)>, Defect> {
    let bad = |problem| Defect::Entry { entry: Defect::shown(&entry.path), problem };
    let parts = Parts::parse(&entry.path, || Problem::Climbs).map_err(bad)?;
    let name = parts.join();
    let climbs = || bad(Problem::LinkClimbs(Defect::shown(&entry.link)));
    let (major, minor) = entry.device;
    let device = |kind| bad(Problem::Device { kind, major, minor });
    let member = match entry.kind {
        tar::EntryType::Regular | tar::EntryType::Continuous => {
            Member::Data(Span { offset: entry.position, length: entry.size })
        }
        tar::EntryType::Link => Member::Link(normal(&entry.link).ok_or_else(climbs)?),
        tar::EntryType::Symlink => {
            let folder = parts.split_last().map(|(_, folders)| folders.join(&b'/'));
            let target = [&folder.unwrap_or_default()[..], b"/", &entry.link].concat();
            Member::Link(normal(&target).ok_or_else(climbs)?)
        }
        tar::EntryType::Char => return Err(device("character")),
        tar::EntryType::Block => return Err(device("block")),
        tar::EntryType::GNUSparse => return Err(bad(Problem::Sparse)),
        _ => return Ok(None),
    };
    Ok(Some((name, member)))
}

/// The path without `.`, `..` and doubled slashes; `None` when it climbs out of the archive.
fn normal(path: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}
