//! Puts finished work into the store.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use twill_archive::{Defect, Devices, Digest, Reference, Target, Unpacked};

use super::error::Error;
use super::records::{self, LayerRecord, RECORD, References};
use super::staging::Staging;
use super::store::Store;
use crate::durable::{self, Sharing};

/// Unpacked layers that are not in the store yet.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) staging: Staging,
    layers: BTreeMap<Digest, PathBuf>,
    /// How many folders were begun.
    begun: usize,
    devices: Devices,
}

/// An image whose layers are in the store or in the work.
#[derive(Debug)]
pub(super) struct Finished<'a> {
    pub(super) id: Digest,
    pub(super) configuration: &'a [u8],
    pub(super) layers: Vec<Digest>,
    pub(super) names: &'a [Reference],
}

/// What became of the work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "nothing may have happened"]
pub(super) enum Committed {
    /// Everything is in the store.
    All,
    /// Nothing is: a layer that was there has been removed since, so it must be unpacked after all.
    Nothing,
}

impl Work {
    pub(super) fn new(store: &Store, devices: Devices) -> Result<Self, Error> {
        let staging = Staging::new(&store.layers)?;
        Ok(Self { staging, layers: BTreeMap::new(), begun: 0, devices })
    }

    /// Whether a layer need not be unpacked any more.
    pub(super) fn has(&self, store: &Store, diff_id: &Digest) -> bool {
        self.layers.contains_key(diff_id) || store.layer(diff_id).exists()
    }

    /// Unpacks a layer into staging. With `expected` it must have this digest; without, it must
    /// have an end marker, because nothing else tells a whole archive from one cut off.
    pub(super) fn unpack(
        &mut self,
        stream: impl Read,
        expected: Option<&Digest>,
    ) -> Result<Unpacked, Trouble> {
        let folder = self.folders(1).remove(0);
        let unpacked = self.unpack_into(&folder, stream, expected)?;
        self.layers.insert(unpacked.diff_id, folder);
        Ok(unpacked)
    }

    /// Names of folders for layers that are about to be unpacked.
    pub(super) fn folders(&mut self, count: usize) -> Vec<PathBuf> {
        let first = self.begun;
        self.begun += count;
        let name = |index| self.staging.path().join(format!("layer-{index}"));
        (first..self.begun).map(name).collect()
    }

    /// A layer that was unpacked into one of those.
    pub(super) fn keep(&mut self, diff_id: Digest, folder: PathBuf) {
        self.layers.insert(diff_id, folder);
    }

    /// As [`Work::unpack`], and nobody knows of it yet.
    pub(super) fn unpack_into(
        &self,
        folder: &Path,
        stream: impl Read,
        expected: Option<&Digest>,
    ) -> Result<Unpacked, Trouble> {
        let root = folder.join("fs");
        make_root(folder, &root)?;
        let record = folder.join(RECORD);
        let target = Target { root: &root, record: &record };
        let unpacked = twill_archive::unpack(stream, &target, self.devices)?;
        match expected {
            Some(expected) if unpacked.diff_id != *expected => {
                let (expected, actual) = (*expected, unpacked.diff_id);
                return Err(Defect::WrongDigest { expected, actual }.into());
            }
            None if !unpacked.ended => return Err(Defect::NoEnd.into()),
            _ => {}
        }
        LayerRecord { size: unpacked.size }.write(folder)?;
        Ok(unpacked)
    }

    /// The directory of a layer that was unpacked here.
    pub(super) fn root(&self, diff_id: &Digest) -> Option<PathBuf> {
        self.layers.get(diff_id).map(|folder| folder.join("fs"))
    }

    /// Makes the images appear: layers, then configurations, then names.
    pub(super) fn commit(
        &mut self,
        store: &Store,
        images: &[Finished<'_>],
    ) -> Result<Committed, Error> {
        // Before anybody can see a file, it is on disk. Outside the lock: this takes the longest.
        let layers = &store.layers;
        durable::sync_file_system(layers).map_err(Error::file("write", layers))?;
        let lock = store.lock(Sharing::Exclusive)?;
        if !images.iter().flat_map(|image| &image.layers).all(|layer| self.has(store, layer)) {
            return Ok(Committed::Nothing);
        }
        for (diff_id, folder) in std::mem::take(&mut self.layers) {
            let place = store.layer(&diff_id);
            // Otherwise somebody was faster, and has the same bytes: ours goes with the staging.
            if !place.exists() {
                fs::rename(&folder, &place).map_err(Error::file("create", &place))?;
            }
        }
        durable::sync_folder(layers).map_err(Error::file("write", layers))?;
        let mut names = References::read(&store.images)?;
        let mut changed = false;
        for image in images {
            let path = records::configuration(&store.images, &image.id);
            if !path.exists() {
                let written = durable::write(&path, image.configuration, 0o600);
                written.map_err(Error::file("write", &path))?;
            }
            for name in image.names {
                changed |= names.put(name.clone(), image.id);
            }
        }
        if changed {
            names.write(&store.images)?;
        }
        // Loads that died between their layers and their configuration left layers of nobody.
        let grave = store.collect();
        if let Err(error) = &grave {
            // What was to come is in the store all the same.
            let error: &(dyn std::error::Error + 'static) = error;
            tracing::warn!(error, "cannot remove layers of no image");
        }
        drop(lock);
        drop(grave);
        Ok(Committed::All)
    }
}

/// Either side of a load can fail.
#[derive(Debug)]
pub(super) enum Trouble {
    Archive(Defect),
    Store(Error),
}

impl Trouble {
    /// As the user sees it.
    pub(super) fn in_archive(self, archive: &str) -> Error {
        match self {
            Self::Archive(source) => Error::Archive { archive: archive.to_owned(), source },
            Self::Store(error) => error,
        }
    }

    /// The layer that a defect is in.
    pub(super) fn in_layer(self, layer: &str) -> Self {
        match self {
            Self::Archive(defect) => Self::Archive(Defect::Layer {
                layer: Defect::shown(layer.as_bytes()),
                source: Box::new(defect),
            }),
            store @ Self::Store(_) => store,
        }
    }
}

impl From<Defect> for Trouble {
    fn from(defect: Defect) -> Self {
        Self::Archive(defect)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

fn make_root(folder: &Path, root: &Path) -> Result<(), Error> {
    for path in [folder, root] {
        let created = DirBuilder::new().mode(0o700).create(path);
        created.map_err(Error::file("create", path))?;
    }
    // What users of the container see as `/`, unless the archive says otherwise.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(root, open).map_err(Error::file("change", root))
}
