//! A stream and the digest of all that was read from it.

use std::io::{self, Read};

use super::digest::Digest;
use super::entries::Stream;

/// Passes a stream on and keeps its digest.
pub(crate) struct Hashing<S> {
    stream: S,
    hasher: sha2::Sha256,
}

impl<S> Hashing<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, hasher: <sha2::Sha256 as sha2::Digest>::new() }
    }

    /// Of everything so far.
    pub(crate) fn digest(self) -> Digest {
        Digest::from(self.hasher)
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
