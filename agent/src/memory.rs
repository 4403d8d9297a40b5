//! The last good picture of the network on this host's disk: for the time without etcd.

mod clock;
mod keep;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use twill_core::ids::NodeId;
use twill_core::lease::Key;
use twill_core::picture::{Picture, Refusal};
use twill_core::validity::{Stamp, Validity, span};
use twill_store::Held;

use crate::files::{self, Wanted};

pub(crate) use clock::{is_synchronised as clock_is_kept, since_boot};
pub(crate) use keep::{Applied, Keep, Place};

/// The picture, in the state directory.
pub(crate) const FILE: &str = "picture";

/// Where what cannot be read is put, for whoever wants to look into it.
const REFUSED: &str = "picture.refused";

/// Twenty thousand hosts need 8 MB.
const LARGEST: u64 = 64 << 20;

/// The file, shared by all who use it.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    directory: Arc<Path>,
    /// One writer at a time: they share the name of the temporary file. It counts how often all was
    /// forgotten.
    writer: Arc<Mutex<u64>>,
}

/// Whose picture is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) node: NodeId,
    /// Does this machine look like the one that the state directory was made on?
    pub(crate) anchored: bool,
}

/// What of a picture holds at this moment.
#[derive(Clone, Debug)]
pub(crate) struct Recalled {
    pub(crate) picture: Picture,
    /// The own lease, with what is left of its time; of a reservation, of the time that this host may
    /// believe in it.
    pub(crate) held: Held,
    /// How long ago it was kept, in words.
    pub(crate) age: String,
}

impl Memory {
    /// In that directory, of which the caller has the lock. Nothing is read or written yet.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.into(), writer: Arc::default() }
    }

    /// The picture, if there is one and it is this host's; whatever else is there is told once and put
    /// aside if it is damaged.
    pub(crate) fn recall(&self, whose: Whose<'_>) -> Option<Picture> {
        let path = self.directory.join(FILE);
        let picture = match read(&path) {
            Ok(None) => return None,
            Ok(Some(bytes)) => Picture::parse(&bytes),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "the picture of the network is not used");
                return None;
            }
        };
        let judged = picture.and_then(|picture| {
            picture.is_of(whose.prefix, whose.node)?;
            Ok(picture)
        });
        match judged {
            Ok(_) if !whose.anchored => {
                // Its host may live, and use the subnet.
                let why = "the state directory was made on another machine";
                tracing::warn!(file = %path.display(), why, "the picture of the network is not used");
                None
            }
            Ok(picture) => Some(picture),
            Err(why) => {
                let aside = self.set_aside(&why);
                tracing::warn!(file = %aside.display(), %why, "the picture of the network is not used");
                None
            }
        }
    }

    /// Damaged files are moved, so that the next picture does not take their place; those of another
    /// host or network may be right for whoever corrects an option. Returns where it is now.
    fn set_aside(&self, why: &Refusal) -> PathBuf {
        let (path, aside) = (self.directory.join(FILE), self.directory.join(REFUSED));
        let foreign = matches!(why, Refusal::OtherHost { .. } | Refusal::OtherNetwork { .. });
        if foreign || fs::rename(&path, &aside).is_err() { path } else { aside }
    }

    /// What stands in it is known to be wrong: the subnet is another's.
    pub(crate) fn forget(&self) {
        let mut times = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        *times += 1;
        let path = self.directory.join(FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let file = path.display();
                tracing::error!(%file, %error, "cannot remove a picture that is wrong: remove it by hand");
            }
            _gone => {}
        }
    }

    /// This host has that subnet now: a picture of any other is wrong, before the next one is written.
    pub(crate) fn forget_all_but(&self, key: Key) {
        let found = read(&self.directory.join(FILE)).ok().flatten();
        if found.and_then(|file| Picture::parse(&file).ok()).is_some_and(|kept| kept.own.key != key)
        {
            self.forget();
        }
    }

    /// How often all was forgotten, for [`Self::write`].
    fn forgotten(&self) -> u64 {
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is written if all was forgotten since the picture was of any use: a write that was under
    /// way when the host lost its subnet must not bring it back.
    fn write(&self, picture: &Picture, forgotten: u64) -> anyhow::Result<()> {
        let times = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if *times != forgotten {
            return Ok(());
        }
        let (path, text) = (self.directory.join(FILE), picture.render());
        files::ensure(Wanted { path: &path, text: &text, mode: 0o600 })?;
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let attempt = || match fs::metadata(path) {
        Ok(found) if found.len() > LARGEST => Err(io::ErrorKind::FileTooLarge.into()),
        Ok(found) if !found.is_file() => Err(io::Error::other("it is not a file")),
        Ok(_) => fs::read(path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    attempt().with_context(|| format!("cannot read {}", path.display()))
}

/// Can the host live from that picture now? The reason why not is for people, and stays the same for as
/// long as it holds.
pub(crate) fn usable(picture: &Picture) -> Result<Recalled, String> {
    let now = clock::stamp().map_err(|error| format!("{error:#}"))?;
    usable_at(picture, &now)
}

fn usable_at(picture: &Picture, now: &Stamp) -> Result<Recalled, String> {
    let lease = picture.own.clone();
    match picture.validity(now) {
        Validity::Left(left) => {
            let age = picture.age(now).map_or_else(|_| "some time".to_owned(), span);
            let held = Held { lease, ttl: Some(left), presence: None };
            Ok(Recalled { picture: picture.clone(), held, age })
        }
        Validity::Over(_) => Err(format!(
            "the lease of {} in the picture of the network on disk may have run out",
            lease.key.words()
        )),
        Validity::Unknown(why) => Err(format!(
            "nobody knows whether the lease of {} in the picture of the network on disk still holds: \
             {why}",
            lease.key.words()
        )),
    }
}

/// What is left of a lease for certain: less by what the clocks of two hosts may differ.
pub(crate) fn certain(left: Duration) -> Duration {
    left.saturating_sub(left / 500)
}

#[cfg(test)]
mod tests;
