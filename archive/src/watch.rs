//! Tells somebody how far the reading of an archive has come.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

/// What has been read of one thing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step<'a> {
    /// A layer by its short id, or the archive by its name.
    pub what: &'a str,
    /// Bytes, as they are packed.
    pub done: u64,
    /// How many there are, if that is known.
    pub of: Option<u64>,
    /// Nothing more comes.
    pub ended: bool,
}

/// Somebody, or nobody, who is told.
#[derive(Clone, Default)]
pub(crate) struct Watch(Option<Arc<Told>>);

type Told = dyn Fn(Step<'_>) + Send + Sync;

impl Watch {
    pub(crate) fn new(by: impl Fn(Step<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(by)))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.0.is_some()).finish()
    }
}

/// A stream whose reader is watched.
pub(crate) struct Watched<R> {
    stream: R,
    what: String,
    done: u64,
    of: Option<u64>,
    watch: Watch,
}

impl<R> Watched<R> {
    pub(crate) fn new(stream: R, what: String, of: Option<u64>, watch: Watch) -> Self {
        Self { stream, what, done: 0, of, watch }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.done += read as u64;
        if let Some(watch) = &self.watch.0 {
            let ended = read == 0 && !buffer.is_empty();
            watch(Step { what: &self.what, done: self.done, of: self.of, ended });
        }
        Ok(read)
    }
}
