//! The small files of the store: configurations and the index of names.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use twill_archive::{Digest, Reference};

use super::error::Error;
use crate::durable;

/// `images/references.json`: which image each name means.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct References {
    references: BTreeMap<Reference, Digest>,
}

impl References {
    /// The index below `images`; a store without one has no names yet.
    pub(super) fn read(images: &Path) -> Result<Self, Error> {
        read_json(&images.join("references.json")).map(Option::unwrap_or_default)
    }

    /// Replaces the index. The caller holds the store's lock.
    pub(super) fn write(&self, images: &Path) -> Result<(), Error> {
        write_json(&images.join("references.json"), self)
    }

    pub(super) fn image(&self, name: &Reference) -> Option<Digest> {
        self.references.get(name).copied()
    }

    pub(super) fn names(&self, image: &Digest) -> Vec<Reference> {
        self.references
            .iter()
            .filter(|(_, id)| *id == image)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Whether anything is new.
    pub(super) fn put(&mut self, name: Reference, image: Digest) -> bool {
        self.references.insert(name, image) != Some(image)
    }

    pub(super) fn drop(&mut self, name: &Reference) {
        self.references.remove(name);
    }
}

/// `layers/<diff id>/stream.zst`: the stream that the layer came as, without the contents of its files.
pub(super) const RECORD: &str = "stream.zst";

/// `layers/<diff id>/layer.json`: what would take a walk to find out.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct LayerRecord {
    /// Bytes in its regular files.
    pub(super) size: u64,
}

impl LayerRecord {
    /// `None` when the layer is not in the store.
    pub(super) fn read(layer: &Path) -> Result<Option<Self>, Error> {
        read_json(&layer.join("layer.json"))
    }

    pub(super) fn write(self, layer: &Path) -> Result<(), Error> {
        write_json(&layer.join("layer.json"), &self)
    }
}

/// Where the configuration of an image lies.
pub(super) fn configuration(images: &Path, image: &Digest) -> PathBuf {
    images.join(format!("{}.json", image.hex()))
}

/// All images that have a configuration, in the order of their ids.
pub(super) fn dump(images: &Path) -> Result<Vec<Digest>, Error> {
    let entries = fs::read_dir(images).map_err(Error::file("list", images))?;
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::file("list", images))?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".json")).map(Digest::from_hex);
        found.extend(id.flatten());
    }
    found.sort_unstable();
    Ok(found)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, Error> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| Error::Record { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::file("read", path)(source)),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::Record { path: path.to_owned(), source })?;
    durable::write(path, &bytes, 0o600).map_err(Error::file("write", path))
}
