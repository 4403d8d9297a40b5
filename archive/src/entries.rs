//! Reads a tar stream entry by entry, with limits, and knows a whole one from one cut off.
//!
//! Headers are decoded by the `tar` crate; the walk is ours because the crate's iterator reads
//! long names and extended headers without a limit, takes an archive that stops between two
//! entries for a whole one, and loses binary extended attributes.

use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, GnuHeader, Header};

use super::defect::{Defect, Problem};
use super::header::{self, Entry, Piece, Prefix};
use super::pax;

const BLOCK: u64 = 512;
/// For the long names and extended attributes of one entry.
const HEADER_LIMIT: u64 = 1 << 20;
/// For the pieces of one sparse file.
const PIECES_LIMIT: usize = 1 << 16;

/// A stream that can get past bytes nobody wants.
pub(crate) trait Stream: Read + Sized {
    /// Goes forward by `count` bytes, or by fewer when the stream ends; says by how many.
    fn forward(&mut self, count: u64) -> io::Result<u64> {
        io::copy(&mut Read::take(&mut *self, count), &mut io::sink())
    }

    /// The next so many bytes are all that is in a file.
    fn contents_of(&mut self, _path: &[u8], _count: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Walks through the entries; [`Entries::read`] gives the data of the one that came last.
#[derive(Debug)]
pub(crate) struct Entries<S> {
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
pub(crate) enum Next {
    Entry(Box<Entry>),
    /// The archive says that this was all.
    End,
    /// There is no more, though the archive did not say so: cut off, unless somebody knows better.
    Stop,
}

impl<S: Stream> Entries<S> {
    /// At most `limit` entries are taken from the stream.
    pub(crate) fn new(stream: S, limit: u64) -> Self {
        Self { stream, position: 0, unread: 0, padding: 0, count: 0, limit }
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Reads what follows the last entry, to the very end, and gives the stream back.
    pub(crate) fn drain(mut self) -> Result<S, Defect> {
        match io::copy(&mut self.stream, &mut io::sink()) {
            Ok(_) => Ok(self.stream),
            Err(error) => Err(self.failure(error)),
        }
    }

    /// Goes to the next entry, past the data of this one.
    pub(crate) fn next(&mut self) -> Result<Next, Defect> {
        let mut prefix = Prefix::default();
        let mut spent = 0_u64;
        loop {
            self.skip_data()?;
            let at = self.position;
            let Some(header) = self.header()? else {
                return if spent > 0 { Err(Defect::CutOff { at }) } else { Ok(Next::Stop) };
            };
            if header.as_bytes().iter().all(|byte| *byte == 0) {
                return Ok(Next::End);
            }
            if !header::sum_is_right(&header) {
                return Err(Defect::NotTar { at });
            }
            let kind = header.entry_type();
            let describes = kind.is_gnu_longname()
                || kind.is_gnu_longlink()
                || kind.is_pax_local_extensions()
                || kind.is_pax_global_extensions();
            if !describes {
                return self.entry(&header, prefix).map(Box::new).map(Next::Entry);
            }
            let size = header.entry_size().ok().ok_or(Defect::NotTar { at })?;
            spent = spent.saturating_add(BLOCK).saturating_add(size);
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

    /// Says that the data of the entry that came last is what is in this file.
    pub(crate) fn contents_of(&mut self, path: &[u8]) -> io::Result<()> {
        self.stream.contents_of(path, self.unread)
    }

    /// Reads the data of the entry that came last; it fails rather than end early.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Defect> {
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
        let shown = Defect::shown(&prefix.path(header));
        let bad = |problem| Defect::Entry { entry: shown.clone(), problem };
        let mut entry = header::decode(header, prefix).map_err(bad)?;
        if entry.kind == EntryType::GNUSparse {
            let gnu = header.as_gnu().ok_or(Problem::Sparse).map_err(bad)?;
            entry.size = gnu.real_size().ok().ok_or(Problem::Number).map_err(bad)?;
            let pieces = self.pieces(gnu)?;
            let good = pieces.filter(|pieces| header::pieces_fit(pieces, entry.size, entry.stored));
            entry.pieces = Some(good.ok_or(Problem::Sparse).map_err(bad)?);
        }
        entry.position = self.position;
        self.unread = entry.stored;
        self.padding = entry.stored.wrapping_neg() % BLOCK;
        Ok(entry)
    }

    /// The map of an old GNU sparse file, which may go on in further headers; `None` when it
    /// cannot be read.
    fn pieces(&mut self, gnu: &GnuHeader) -> Result<Option<Vec<Piece>>, Defect> {
        let mut pieces = Vec::new();
        let mut good = header::add_pieces(&mut pieces, &gnu.sparse);
        let mut more = gnu.is_extended();
        while good.is_some() && more {
            if pieces.len() > PIECES_LIMIT {
                return Ok(None);
            }
            let mut next = GnuExtSparseHeader::new();
            self.exactly(next.as_mut_bytes())?;
            good = header::add_pieces(&mut pieces, next.sparse());
            more = next.is_extended();
        }
        Ok(good.map(|()| pieces))
    }

    fn skip_data(&mut self) -> Result<(), Defect> {
        let count =
            self.unread.checked_add(self.padding).ok_or(Defect::NotTar { at: self.position })?;
        if count > 0 {
            let skipped = self.stream.forward(count).map_err(|error| self.failure(error))?;
            self.position += skipped;
            if skipped < count {
                return Err(Defect::CutOff { at: self.position });
            }
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
            // To read fills no disk: it was recorded on the way.
            io::ErrorKind::StorageFull => Defect::Record(error),
            _ => Defect::Read(error),
        }
    }
}

fn until_zero(mut text: Vec<u8>) -> Vec<u8> {
    if let Some(end) = text.iter().position(|byte| *byte == 0) {
        text.truncate(end);
    }
    text
}
