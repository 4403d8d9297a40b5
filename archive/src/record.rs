//! The stream of a layer as it came, without the contents of its files: those lie unpacked beside it.
//!
//! With both, the stream can be written again to the last byte, so that a layer keeps its digest and an
//! image its id wherever they go. Where an archive was odd (a name twice), contents are missing; who
//! compares digests notices.
//!
//! ```text
//! record   := zstd( { bytes | contents } )
//! bytes    := 0, length (u32), the bytes
//! contents := 1, length (u64), length of the path (u32), the path
//! ```
//!
//! Numbers are little-endian.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::mem;
use std::os::fd::AsFd as _;
use std::path::Path;

use super::entries::Stream;
use super::room::Room;
use super::rootdir::{Parts, RootDir};

const BYTES: u8 = 0;
const CONTENTS: u8 = 1;
/// Bytes are gathered up to so many.
const PIECE: usize = 64 * 1024;
/// Longer names are refused before they come here.
const PATH_LIMIT: u32 = 1 << 20;
/// Headers are mostly zeros: more effort finds little more.
const LEVEL: i32 = 1;

/// Passes a stream on and records it.
pub(crate) struct Recording<S> {
    stream: S,
    out: zstd::Encoder<'static, File>,
    room: Room,
    /// What is to be recorded.
    gathered: Vec<u8>,
    /// Contents of a file that are still to come.
    contents: u64,
}

impl<S> Recording<S> {
    pub(crate) fn new(stream: S, file: File) -> io::Result<Self> {
        let out = zstd::Encoder::new(file, LEVEL)?;
        let gathered = Vec::with_capacity(PIECE);
        Ok(Self { stream, out, room: Room::default(), gathered, contents: 0 })
    }

    /// Writes the end, and gives the stream back.
    pub(crate) fn finish(mut self) -> io::Result<S> {
        self.put_gathered()?;
        self.out.finish()?;
        Ok(self.stream)
    }

    fn put_gathered(&mut self) -> io::Result<()> {
        let gathered = mem::take(&mut self.gathered);
        let disk = self.out.get_ref().as_fd();
        if self.room.too_little(disk, gathered.len() as u64)?.is_some() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        for piece in gathered.chunks(PIECE) {
            self.out.write_all(&[BYTES])?;
            self.out.write_all(&length(piece)?.to_le_bytes())?;
            self.out.write_all(piece)?;
        }
        Ok(())
    }
}

impl<S: Read> Read for Recording<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.contents > 0 {
            let wanted = usize::try_from(self.contents).unwrap_or(usize::MAX).min(buffer.len());
            let read = self.stream.read(&mut buffer[..wanted])?;
            self.contents -= read as u64;
            return Ok(read);
        }
        let read = self.stream.read(buffer)?;
        self.gathered.extend_from_slice(&buffer[..read]);
        if self.gathered.len() >= PIECE {
            self.put_gathered()?;
        }
        Ok(read)
    }
}

impl<S: Read> Stream for Recording<S> {
    fn contents_of(&mut self, path: &[u8], count: u64) -> io::Result<()> {
        self.put_gathered()?;
        self.out.write_all(&[CONTENTS])?;
        self.out.write_all(&count.to_le_bytes())?;
        self.out.write_all(&length(path)?.to_le_bytes())?;
        self.out.write_all(path)?;
        self.contents = count;
        Ok(())
    }
}

/// Writes the stream of a layer again, from its record and its files below `root`.
pub fn replay(record: &Path, root: &Path, mut out: impl Write) -> io::Result<()> {
    let root = RootDir::open(root)?;
    let mut record = BufReader::new(zstd::Decoder::new(File::open(record)?)?);
    loop {
        let mut kind = [0];
        if record.read(&mut kind)? == 0 {
            return Ok(());
        }
        match kind {
            [BYTES] => {
                let count = u32::from_le_bytes(array(&mut record)?);
                exactly(&mut record, count.into(), &mut out)?;
            }
            [CONTENTS] => {
                let count = u64::from_le_bytes(array(&mut record)?);
                let length = u32::from_le_bytes(array(&mut record)?);
                if length > PATH_LIMIT {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let mut path = Vec::new();
                exactly(&mut record, length.into(), &mut path)?;
                exactly(&mut file(&root, &path)?, count, &mut out)?;
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn file(root: &RootDir, path: &[u8]) -> io::Result<File> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let parts = Parts::parse(path, || super::Problem::Climbs).ok().ok_or_else(missing)?;
    let (name, folders) = parts.split_last().ok_or_else(missing)?;
    let place = root.find(folders, name).ok().flatten().ok_or_else(missing)?;
    place.open_file()
}

fn exactly(from: &mut impl Read, count: u64, to: &mut impl Write) -> io::Result<()> {
    if io::copy(&mut from.take(count), to)? == count {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(io::Error::other)
}
