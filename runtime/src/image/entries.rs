//! Reads a tar stream entry by entry, with limits, and knows a whole one from one cut off.
//!
//! Headers are decoded by the `tar` crate; the walk is ours because the crate's iterator reads
//! long names and extended headers without a limit, takes an archive that stops between two
//! entries for a whole one, and loses binary extended attributes.

use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::defect::{Defect, Problem};
use super::pax::{self, Extended};

const BLOCK: u64 = 512;
/// For the long names and extended attributes of one entry.
const HEADER_LIMIT: u64 = 1 << 20;
/// For the pieces of one sparse file.
const PIECES_LIMIT: usize = 1 << 16;

/// A stream that can get past bytes nobody wants.
pub(super) trait Stream: Read + Sized {
    /// Goes forward by exactly `count` bytes.
    fn forward(&mut self, count: u64) -> io::Result<()> {
        let skipped = io::copy(&mut Read::take(&mut *self, count), &mut io::sink())?;
        if skipped == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Walks through the entries; [`Entries::read`] gives the data of the one that came last.
#[derive(Debug)]
pub(super) struct Entries<S> {
    stream: S,
    position: u64,
    /// Data of the current entry that nobody has read yet.
    unread: u64,
    /// What rounds that data up to a whole block.
    padding: u64,
    count: u64,
    limit: u64,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    Entry(Box<Entry>),
    /// The archive says that this was all.
    End,
    /// There is no more, though the archive did not say so: cut off, unless somebody knows better.
    Stop,
}

/// One entry, without its data.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: EntryType,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(super) modified: (i64, u32),
    pub(super) device: (u32, u32),
    pub(super) attributes: Vec<(String, Vec<u8>)>,
    /// Length of the file; of a sparse one, with its holes.
    pub(super) size: u64,
    /// Where the data of a sparse file goes: offsets and lengths, in order.
    pub(super) pieces: Option<Vec<(u64, u64)>>,
    /// Where its data begins in the stream.
    pub(super) position: u64,
}

/// What precedes an entry and belongs to it.
#[derive(Default)]
struct Prefix {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    extended: Extended,
}

impl<S: Stream> Entries<S> {
    /// At most `limit` entries are taken from the stream.
    pub(super) fn new(stream: S, limit: u64) -> Self {
        Self { stream, position: 0, unread: 0, padding: 0, count: 0, limit }
    }

    /// Reads what follows the last entry, to the very end, and gives the stream back.
    pub(super) fn drain(mut self) -> Result<S, Defect> {
        match io::copy(&mut self.stream, &mut io::sink()) {
            Ok(_) => Ok(self.stream),
            Err(error) => Err(self.failure(error)),
        }
    }

    /// Goes to the next entry, past the data of this one.
    pub(super) fn next(&mut self) -> Result<Next, Defect> {
        let mut prefix = Prefix::default();
        let mut spent = 0;
        loop {
            self.skip_data()?;
            let at = self.position;
            let Some(header) = self.header()? else {
                return if spent > 0 { Err(Defect::CutOff { at }) } else { Ok(Next::Stop) };
            };
            if header.as_bytes().iter().all(|byte| *byte == 0) {
                return Ok(Next::End);
            }
            check_sum(&header).ok_or(Defect::NotTar { at })?;
            let kind = header.entry_type();
            let describes = kind.is_gnu_longname()
                || kind.is_gnu_longlink()
                || kind.is_pax_local_extensions()
                || kind.is_pax_global_extensions();
            if !describes {
                return self.entry(&header, prefix).map(Box::new).map(Next::Entry);
            }
            let size = header.entry_size().ok().ok_or(Defect::NotTar { at })?;
            spent += BLOCK.saturating_add(size);
            if spent > HEADER_LIMIT {
                return Err(Defect::HeaderTooLarge { at, limit: HEADER_LIMIT });
            }
            let text = self.text(size)?;
            match kind {
                EntryType::GNULongName => prefix.path = Some(until_zero(text)),
                EntryType::GNULongLink => prefix.link = Some(until_zero(text)),
                EntryType::XHeader => {
                    prefix.extended = pax::parse(&text).ok_or(Defect::ExtendedHeader { at })?;
                }
                // Global records carry comments (git's commit id), nothing we use.
                _ => {}
            }
        }
    }

    /// Reads the data of the entry that came last; it fails rather than end early.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Defect> {
        let wanted = usize::try_from(self.unread).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.some(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(Defect::CutOff { at: self.position });
        }
        self.unread -= read as u64;
        Ok(read)
    }

    fn entry(&mut self, header: &Header, prefix: Prefix) -> Result<Entry, Defect> {
        self.count += 1;
        if self.count > self.limit {
            return Err(Defect::TooManyEntries { limit: self.limit });
        }
        let Prefix { path, link, extended } = prefix;
        let path = extended.path.or(path).unwrap_or_else(|| header.path_bytes().into_owned());
        let bad = |problem| Defect::Entry { entry: Defect::shown(&path), problem };
        let number = || bad(Problem::Number);
        if extended.sparse {
            return Err(bad(Problem::Sparse));
        }
        let kind = kind(header, &path);
        let has_data =
            matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse);
        let stored = if has_data {
            extended.size.map_or_else(|| header.entry_size(), Ok).ok().ok_or_else(number)?
        } else {
            // As in Go's archive/tar: an entry that is no file has no data, whatever it says.
            0
        };
        let narrow = |id: io::Result<u64>| id.ok().and_then(|id| u32::try_from(id).ok());
        let mode = header.mode().ok().ok_or_else(number)?;
        let uid = narrow(extended.uid.map_or_else(|| header.uid(), Ok)).ok_or_else(number)?;
        let gid = narrow(extended.gid.map_or_else(|| header.gid(), Ok)).ok_or_else(number)?;
        // Times before 1970 come as two's complement.
        let whole = |seconds: u64| (seconds.cast_signed(), 0);
        let modified = extended.modified.or_else(|| header.mtime().ok().map(whole));
        let modified = modified.ok_or_else(number)?;
        let device = (device(header.device_major()), device(header.device_minor()));
        let link = extended.link.or(link).unwrap_or_else(|| {
            header.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default()
        });
        let (size, pieces) = match kind {
            EntryType::GNUSparse => {
                let (size, pieces) =
                    self.pieces(header, stored)?.ok_or_else(|| bad(Problem::Sparse))?;
                (size, Some(pieces))
            }
            _ => (stored, None),
        };
        self.unread = stored;
        self.padding = stored.wrapping_neg() % BLOCK;
        let (attributes, position) = (extended.attributes, self.position);
        Ok(Entry {
            path,
            link,
            kind,
            mode,
            uid,
            gid,
            modified,
            device,
            attributes,
            size,
            pieces,
            position,
        })
    }

    /// The map of an old GNU sparse file; `None` when it contradicts itself.
    fn pieces(
        &mut self,
        header: &Header,
        stored: u64,
    ) -> Result<Option<(u64, Vec<(u64, u64)>)>, Defect> {
        let Some(gnu) = header.as_gnu() else { return Ok(None) };
        let mut pieces = Vec::new();
        let mut good = add_pieces(&mut pieces, &gnu.sparse);
        let mut more = gnu.is_extended();
        while good && more {
            let mut next = GnuExtSparseHeader::new();
            self.exactly(next.as_mut_bytes())?;
            good = add_pieces(&mut pieces, next.sparse()) && pieces.len() <= PIECES_LIMIT;
            more = next.is_extended();
        }
        let Ok(size) = gnu.real_size() else { return Ok(None) };
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for (offset, length) in &pieces {
            let next = offset.checked_add(*length).filter(|_| *offset >= end);
            let (Some(next), Some(total)) = (next, sum.checked_add(*length)) else {
                return Ok(None);
            };
            (end, sum) = (next, total);
        }
        let fits = good && sum == stored && end <= size;
        Ok(fits.then_some((size, pieces)))
    }

    fn skip_data(&mut self) -> Result<(), Defect> {
        let count =
            self.unread.checked_add(self.padding).ok_or(Defect::NotTar { at: self.position })?;
        if count > 0 {
            self.stream.forward(count).map_err(|error| self.failure(error))?;
            self.position += count;
        }
        (self.unread, self.padding) = (0, 0);
        Ok(())
    }

    /// The next block; `None` when the stream ends before it.
    fn header(&mut self) -> Result<Option<Header>, Defect> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match self.some(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(Defect::CutOff { at: self.position }),
                read => filled += read,
            }
        }
        Ok(Some(header))
    }

    fn text(&mut self, size: u64) -> Result<Vec<u8>, Defect> {
        let mut text = vec![0; usize::try_from(size).unwrap_or(0)];
        self.exactly(&mut text)?;
        self.padding = size.wrapping_neg() % BLOCK;
        Ok(text)
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), Defect> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.some(&mut buffer[filled..])? {
                0 => return Err(Defect::CutOff { at: self.position }),
                read => filled += read,
            }
        }
        Ok(())
    }

    fn some(&mut self, buffer: &mut [u8]) -> Result<usize, Defect> {
        loop {
            match self.stream.read(buffer) {
                Ok(read) => {
                    self.position += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
    }

    fn failure(&self, error: io::Error) -> Defect {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Defect::CutOff { at: self.position },
            _ => Defect::Read(error),
        }
    }
}

fn check_sum(header: &Header) -> Option<()> {
    let bytes = header.as_bytes();
    let others = bytes[..148].iter().chain(&bytes[156..]);
    // Some old writers summed signed bytes.
    let unsigned = others.clone().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
    let signed = others.map(|byte| i32::from(byte.cast_signed())).sum::<i32>() + 8 * 32;
    let sum = header.cksum().ok()?;
    (sum == unsigned || i32::try_from(sum) == Ok(signed)).then_some(())
}

/// In the oldest format a directory is a file whose name ends in a slash.
fn kind(header: &Header, path: &[u8]) -> EntryType {
    match header.entry_type() {
        EntryType::Regular if path.ends_with(b"/") => EntryType::Directory,
        kind => kind,
    }
}

fn device(number: io::Result<Option<u32>>) -> u32 {
    number.ok().flatten().unwrap_or(0)
}

fn until_zero(mut text: Vec<u8>) -> Vec<u8> {
    if let Some(end) = text.iter().position(|byte| *byte == 0) {
        text.truncate(end);
    }
    text
}

fn add_pieces(pieces: &mut Vec<(u64, u64)>, more: &[GnuSparseHeader]) -> bool {
    for piece in more.iter().filter(|piece| !piece.is_empty()) {
        let (Ok(offset), Ok(length)) = (piece.offset(), piece.length()) else { return false };
        pieces.push((offset, length));
    }
    true
}
