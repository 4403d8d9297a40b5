//! Takes names and images away, and layers that no image has any more.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use twill_archive::{Digest, Reference};

use super::error::Error;
use super::records::{self, References};
use super::staging::Staging;
use super::store::Store;
use crate::durable::{self, Sharing};

/// Why it cannot be told who uses an image.
pub type UserOf = Box<dyn std::error::Error + Send + Sync>;

/// What a removal may do.
#[derive(Clone, Copy)]
pub struct Removal<'a> {
    /// Take the names away though several name the image or a container uses it. The image itself
    /// stays as long as a container uses it.
    pub force: bool,
    /// The container that uses an image, if one does: asked while the store stands still. When
    /// that cannot be told, nothing is removed.
    pub user_of: &'a dyn Fn(&Digest) -> Result<Option<String>, UserOf>,
}

impl std::fmt::Debug for Removal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Removal").field("force", &self.force).finish_non_exhaustive()
    }
}

/// What a removal did, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Removed {
    /// A name means nothing any more.
    Untagged(Reference),
    /// An image is gone, and layers that no other has.
    Deleted {
        /// The image.
        id: Digest,
        /// Bytes in the files of those layers.
        freed: u64,
    },
}

impl Store {
    /// Removes a name and, with the last name, the image; or by its id the image with its name.
    pub fn remove(&self, name_or_id: &str, removal: Removal<'_>) -> Result<Vec<Removed>, Error> {
        let lock = self.lock(Sharing::Exclusive)?;
        let mut names = References::read(&self.images)?;
        let id = self.find(&names, name_or_id)?;
        let all = names.names(&id);
        let by_name = name_or_id.parse().ok().filter(|name| all.contains(name));
        let going = by_name.as_ref().map_or_else(|| all.clone(), |name| vec![name.clone()]);
        let last = going.len() == all.len();
        let user = if last { (removal.user_of)(&id).map_err(Error::Users)? } else { None };
        if !removal.force {
            let image = by_name.as_ref().map_or_else(|| id.short(), Reference::to_string);
            if by_name.is_none() && all.len() > 1 {
                let names = all.iter().map(Reference::to_string).collect();
                return Err(Error::SeveralNames { image, names });
            }
            if let Some(container) = user {
                return Err(Error::InUse { image, container });
            }
        }
        let mut done: Vec<Removed> = going.iter().cloned().map(Removed::Untagged).collect();
        for name in &going {
            names.drop(name);
        }
        names.write(&self.images)?;
        if last && user.is_none() {
            let grave = self.delete(&id)?;
            done.push(Removed::Deleted { id, freed: grave.freed });
            // Emptying it takes a while, and concerns nobody else.
            drop(lock);
            drop(grave);
        }
        Ok(done)
    }

    /// Takes away layers of no image, which loads left that died before their end: the bytes in their files.
    pub fn sweep_layers(&self) -> Result<u64, Error> {
        let lock = self.lock(Sharing::Exclusive)?;
        let grave = self.collect()?;
        drop(lock);
        Ok(grave.freed)
    }

    fn delete(&self, id: &Digest) -> Result<Grave, Error> {
        let path = records::configuration(&self.images, id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &path)(error));
            }
            _ => {}
        }
        // A layer must not go before the configuration that names it is gone for good.
        durable::sync_folder(&self.images).map_err(Error::file("write", &self.images))?;
        self.collect()
    }

    /// Moves layers of no image out of sight: those of a removed one, and of loads that died
    /// before their end. What somebody still reads stays for the next time. The caller holds the lock
    /// alone, and lets it go before the result.
    pub(super) fn collect(&self) -> Result<Grave, Error> {
        let mut live = BTreeSet::new();
        for id in records::dump(&self.images)? {
            // A configuration that cannot be read stops us: it may need any of the layers.
            live.extend(self.diff_ids(&id)?);
        }
        let mut grave = Grave { staging: None, freed: 0 };
        for diff_id in self.layers_there()? {
            if live.contains(&diff_id) || self.is_pinned(&diff_id)? {
                continue;
            }
            let buried = match &mut grave.staging {
                Some(staging) => staging,
                none => none.insert(Staging::new(&self.layers)?),
            };
            // What cannot be counted can go all the same.
            let size = self.layer_size(&diff_id).ok().flatten().unwrap_or(0);
            grave.freed = grave.freed.saturating_add(size);
            // Gone in one step; the slow part happens in staging, where a sweep can finish it.
            let path = self.layer(&diff_id);
            fs::rename(&path, buried.path().join(diff_id.hex()))
                .map_err(Error::file("remove", &path))?;
        }
        Ok(grave)
    }
}

/// Layers on their way out: they go with it.
#[derive(Debug)]
pub(super) struct Grave {
    /// Removed by its drop.
    staging: Option<Staging>,
    /// Bytes in their files.
    pub(super) freed: u64,
}
