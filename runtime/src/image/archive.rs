//! An image archive whose members can be read in any order.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::compression::{Packing, Plain, packing};
use super::defect::{Defect, Problem};
use super::digest::Digest;
use super::entries::{Entries, Next, Stream};
use super::error::Error;
use super::header::Entry;
use super::rootdir::Parts;
use super::staging::Staging;

/// Three members for each of 127 layers, for hundreds of images.
const MEMBER_LIMIT: u64 = 1 << 17;
/// For the documents: manifests and configurations are some kilobytes.
const DOCUMENT_LIMIT: u64 = 16 << 20;
/// Links to links to…: Docker makes one.
const LINK_LIMIT: usize = 8;

/// Where an archive comes from.
pub struct Source {
    name: String,
    input: Input,
}

enum Input {
    File(File),
    Stream(Box<dyn Read>),
}

impl Source {
    /// A file, which is read in place when it can be.
    pub fn file(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::file("open", path))?;
        Ok(Self { name: path.display().to_string(), input: Input::File(file) })
    }

    /// Whatever can be read once, from its beginning; `name` is for messages.
    pub fn stream(name: impl Into<String>, stream: impl Read + 'static) -> Self {
        Self { name: name.into(), input: Input::Stream(Box::new(stream)) }
    }

    /// How messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its bytes, in order.
    pub(super) fn into_reader(self) -> Box<dyn Read> {
        match self.input {
            Input::File(file) => Box::new(file),
            Input::Stream(stream) => stream,
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A tar archive on disk and the places of its members.
#[derive(Debug)]
pub(super) struct Archive {
    file: File,
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
    /// Reads all headers. A stream, or a compressed file, is copied into `staging` first.
    pub(super) fn open(source: Source, staging: &Staging) -> Result<Self, Defect> {
        let file = match source.input {
            Input::File(file) if is_plain(&file)? => file,
            Input::File(file) => spool(file, staging)?,
            Input::Stream(stream) => spool(stream, staging)?,
        };
        let length = file.metadata()?.len();
        let stream = Seekable { file: BufReader::new(file.try_clone()?), length, position: 0 };
        let mut entries = Entries::new(stream, MEMBER_LIMIT);
        let mut members = HashMap::new();
        loop {
            match entries.next()? {
                Next::Entry(entry) => {
                    if let Some((name, member)) = member(&entry)? {
                        members.insert(name, member);
                    }
                }
                Next::End => return Ok(Self { file, members }),
                Next::Stop => return Err(Defect::CutOff { at: length }),
            }
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// The bytes of a member.
    pub(super) fn read(&self, name: &str) -> Result<impl Read + use<>, Defect> {
        let Span { offset, length } = self.find(name)?;
        Ok(Slice { file: self.file.try_clone()?, position: offset, end: offset + length })
    }

    /// A whole document.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>, Defect> {
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
    pub(super) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, Defect> {
        parse(name, &self.document(name)?)
    }

    /// A document of an OCI layout, checked against the digest that is its name and the size that
    /// somebody said it has.
    pub(super) fn blob(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, Defect> {
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
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Understands a document of the archive.
pub(super) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, Defect> {
    serde_json::from_slice(bytes).map_err(|source| Defect::Json { member: shown(name), source })
}

fn shown(name: &str) -> String {
    Defect::shown(name.as_bytes())
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
fn spool(stream: impl Read, staging: &Staging) -> Result<File, Defect> {
    let mut file = tempfile::tempfile_in(staging.path())?;
    let mut stream = Plain::new(stream)?;
    let copied = io::copy(&mut stream, &mut file);
    copied.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            Defect::CutOff { at: file.stream_position().unwrap_or_default() }
        }
        _ => Defect::Read(error),
    })?;
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

/// Part of a file, from its own position: clones of a descriptor would share one.
struct Slice {
    file: File,
    position: u64,
    end: u64,
}

impl Read for Slice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let wanted = rest.min(buffer.len());
        let read = self.file.read_at(&mut buffer[..wanted], self.position)?;
        if read == 0 && wanted > 0 {
            // The file got shorter since its headers were read.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += read as u64;
        Ok(read)
    }
}

/// A file that is not read where nobody looks.
struct Seekable {
    file: BufReader<File>,
    length: u64,
    position: u64,
}

impl Read for Seekable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Stream for Seekable {
    fn forward(&mut self, count: u64) -> io::Result<u64> {
        let count = count.min(self.length - self.position);
        self.file.seek_relative(i64::try_from(count).map_err(io::Error::other)?)?;
        self.position += count;
        Ok(count)
    }
}
