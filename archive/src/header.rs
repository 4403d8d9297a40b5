//! What the headers of one tar entry say, in our own terms.

use std::borrow::Cow;

use tar::{EntryType, GnuSparseHeader, Header};

use super::defect::Problem;
use super::pax::Extended;

/// One entry, without its data.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(crate) modified: (i64, u32),
    pub(crate) device: (u32, u32),
    pub(crate) attributes: Vec<(String, Vec<u8>)>,
    /// Length of the file; of a sparse one, with its holes.
    pub(crate) size: u64,
    /// Bytes of data that follow in the stream.
    pub(crate) stored: u64,
    /// Where the data of a sparse file goes, in order.
    pub(crate) pieces: Option<Vec<Piece>>,
    /// Where its data begins in the stream.
    pub(crate) position: u64,
}

/// Part of a sparse file that is no hole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// What precedes the header of an entry and belongs to it.
#[derive(Default)]
pub(crate) struct Prefix {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) extended: Extended,
}

impl Prefix {
    /// The name of the entry: an extended header's, a long name's, or its own.
    pub(crate) fn path(&self, header: &Header) -> Vec<u8> {
        let long = self.extended.path.as_ref().or(self.path.as_ref());
        long.cloned().unwrap_or_else(|| header.path_bytes().into_owned())
    }

    fn link(&self, header: &Header) -> Vec<u8> {
        let long = self.extended.link.as_ref().or(self.link.as_ref());
        let own = || header.link_name_bytes().map(Cow::into_owned).unwrap_or_default();
        long.cloned().unwrap_or_else(own)
    }
}

/// Puts the headers of an entry together.
pub(crate) fn decode(header: &Header, prefix: Prefix) -> Result<Entry, Problem> {
    let path = prefix.path(header);
    let link = prefix.link(header);
    let extended = prefix.extended;
    if extended.sparse {
        return Err(Problem::Sparse);
    }
    let kind = kind(header, &path);
    let own = header.as_old();
    let stored = match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            number(extended.size.map_or_else(|| or_blank(&own.size, header.entry_size()), Ok))?
        }
        // As in Go's archive/tar: an entry that is no file has no data, whatever it says.
        _ => 0,
    };
    // Times before 1970 come as two's complement.
    let whole = |seconds: u64| (seconds.cast_signed(), 0);
    let modified =
        extended.modified.map_or_else(|| or_blank(&own.mtime, header.mtime()).map(whole), Ok);
    let device = |number: std::io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
    Ok(Entry {
        path,
        link,
        kind,
        mode: number(or_blank(&own.mode, header.mode()))?,
        uid: id(extended.uid.map_or_else(|| or_blank(&own.uid, header.uid()), Ok))?,
        gid: id(extended.gid.map_or_else(|| or_blank(&own.gid, header.gid()), Ok))?,
        modified: number(modified)?,
        device: (device(header.device_major()), device(header.device_minor())),
        attributes: extended.attributes,
        size: stored,
        stored,
        pieces: None,
        position: 0,
    })
}

/// A number that was never filled in is zero, as GNU tar and Go's archive/tar read it.
fn or_blank<N: Default>(field: &[u8], read: std::io::Result<N>) -> std::io::Result<N> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(N::default()) } else { read }
}

/// Whether the header's sum is right: anything that is no header fails here.
pub(crate) fn sum_is_right(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let others = bytes[..148].iter().chain(&bytes[156..]);
    // Some old writers summed signed bytes.
    let unsigned = others.clone().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
    let signed = others.map(|byte| i32::from(byte.cast_signed())).sum::<i32>() + 8 * 32;
    header.cksum().is_ok_and(|sum| sum == unsigned || i32::try_from(sum) == Ok(signed))
}

/// Adds the pieces of one sparse header; `None` when a number in it cannot be read.
pub(crate) fn add_pieces(pieces: &mut Vec<Piece>, more: &[GnuSparseHeader]) -> Option<()> {
    for piece in more.iter().filter(|piece| !piece.is_empty()) {
        pieces.push(Piece { offset: piece.offset().ok()?, length: piece.length().ok()? });
    }
    Some(())
}

/// Whether the pieces are in order, lie within the file, and need as many bytes as are stored.
pub(crate) fn pieces_fit(pieces: &[Piece], size: u64, stored: u64) -> bool {
    let mut end = 0_u64;
    let mut sum = 0_u64;
    for Piece { offset, length } in pieces {
        let next = offset.checked_add(*length).filter(|_| *offset >= end);
        let (Some(next), Some(total)) = (next, sum.checked_add(*length)) else { return false };
        (end, sum) = (next, total);
    }
    sum == stored && end <= size
}

/// In the oldest format a directory is a file whose name ends in a slash.
fn kind(header: &Header, path: &[u8]) -> EntryType {
    match header.entry_type() {
        EntryType::Regular if path.ends_with(b"/") => EntryType::Directory,
        kind => kind,
    }
}

fn number<T>(number: std::io::Result<T>) -> Result<T, Problem> {
    number.ok().ok_or(Problem::Number)
}

fn id(id: std::io::Result<u64>) -> Result<u32, Problem> {
    let id = u32::try_from(number(id)?).ok().filter(|id| *id != u32::MAX);
    id.ok_or(Problem::Number)
}
