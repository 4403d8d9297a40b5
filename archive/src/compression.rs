//! Recognises compressed streams by their first bytes.

use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use super::defect::Defect;
use super::entries::Stream;

/// The window of `zstd --ultra`; a larger one is a demand for memory, not for compression.
const WINDOW_LOG_MAX: u32 = 27;

/// A stream whose first bytes were looked at.
type Buffered<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// A stream of plain bytes, whatever it was packed in.
pub(crate) enum Plain<R: Read> {
    /// It came so.
    Bare(Buffered<R>),
    /// One or several gzip members.
    Gzip(Box<MultiGzDecoder<Buffered<R>>>),
    /// One or several zstd frames.
    Zstd(Box<zstd::Decoder<'static, Buffered<R>>>),
}

impl<R: Read> Plain<R> {
    /// Looks at the first bytes of `stream` and unpacks the rest as it is read.
    pub(crate) fn new(mut stream: R) -> Result<Self, Defect> {
        let mut first = Vec::with_capacity(6);
        // To the end of six bytes: a pipe may hand them over one at a time.
        stream.by_ref().take(6).read_to_end(&mut first)?;
        let packing = packing(&first)?;
        let stream = BufReader::with_capacity(128 * 1024, Cursor::new(first).chain(stream));
        Ok(match packing {
            Packing::None => Self::Bare(stream),
            Packing::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(stream))),
            Packing::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(stream)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Self::Zstd(Box::new(decoder))
            }
        })
    }
}

/// How a stream is packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Packing {
    None,
    Gzip,
    Zstd,
}

/// Tells from the first six bytes of a stream.
pub(crate) fn packing(first: &[u8]) -> Result<Packing, Defect> {
    match first {
        [] => Err(Defect::Empty),
        [0x1f, 0x8b, ..] => Ok(Packing::Gzip),
        // A frame, or one to be skipped, with which pzstd begins.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Packing::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(Defect::Compression("xz")),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => Err(Defect::Compression("bzip2")),
        _ => Ok(Packing::None),
    }
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Bare(stream) => stream.read(buffer),
            Self::Gzip(stream) => stream.read(buffer),
            Self::Zstd(stream) => stream.read(buffer),
        }
    }
}

impl<R: Read> Stream for Plain<R> {}
