//! Layers that somebody reads for as long as it takes, without holding up the whole store.

use std::fs::File;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use twill_archive::Digest;

use super::error::Error;
use super::store::Store;

/// While it is kept, these layers stay where they are, though their image may go.
#[derive(Debug)]
#[must_use = "the layers are let go at once when it is not kept"]
pub(super) struct Pin(#[expect(dead_code, reason = "held for its drop")] Vec<Flock<File>>);

impl Store {
    /// Keeps layers. The caller holds the store until this is done.
    pub(super) fn pin(&self, layers: impl IntoIterator<Item = Digest>) -> Result<Pin, Error> {
        let locks = layers.into_iter().map(|layer| {
            let path = self.layer(&layer);
            let open = File::open(&path).map_err(Error::file("open", &path))?;
            let locked = Flock::lock(open, FlockArg::LockSharedNonblock);
            locked.map_err(|(_, errno)| Error::file("lock", &path)(errno.into()))
        });
        locks.collect::<Result<_, _>>().map(Pin)
    }

    /// Whether a layer is kept by somebody who lives. The caller holds the store alone, so that nobody
    /// begins to.
    pub(super) fn is_pinned(&self, layer: &Digest) -> Result<bool, Error> {
        let path = self.layer(layer);
        let open = File::open(&path).map_err(Error::file("open", &path))?;
        match Flock::lock(open, FlockArg::LockExclusiveNonblock) {
            Ok(_) => Ok(false),
            Err((_, Errno::EWOULDBLOCK)) => Ok(true),
            Err((_, errno)) => Err(Error::file("lock", &path)(errno.into())),
        }
    }
}
