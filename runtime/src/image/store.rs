//! The store as a whole: what is in it, under which names, and holding it still.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use oci_spec::image::ImageConfiguration;

use twill_archive::{Digest, Reference};

use super::error::Error;
use super::records::{self, LayerRecord, References};
use super::staging;
use crate::Paths;
use crate::durable::{self, Lock, Sharing};

/// The images on this machine.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) images: PathBuf,
    pub(super) layers: PathBuf,
}

/// One image, ready to be mounted.
#[derive(Clone, Debug)]
pub struct Image {
    /// SHA-256 of its configuration.
    pub id: Digest,
    /// The names that mean it, sorted; none for an image whose names went to others.
    pub names: Vec<Reference>,
    /// What to run and how.
    pub config: ImageConfiguration,
    /// Its unpacked layers, the lowest first: `lowerdir` of an overlay in reverse order.
    pub layers: Vec<PathBuf>,
    /// Bytes in the files of each.
    pub layer_sizes: Vec<u64>,
    /// Bytes in the files of all layers.
    pub size: u64,
    /// When it was made, as its maker says.
    pub created: Option<Timestamp>,
}

/// While it is held, no image and no layer goes away.
#[derive(Debug)]
#[must_use = "the store is let go at once when it is not kept"]
pub struct Hold(#[expect(dead_code, reason = "held for its drop")] Lock);

impl Store {
    /// The store below the root; made when there is none. Sweeps what a crash left in staging.
    pub fn open(paths: &Paths) -> Result<Self, Error> {
        let store = Self { images: paths.images(), layers: paths.layers() };
        for folder in [&store.images, &store.layers] {
            // Layers hold setuid programs: nobody but root may walk in.
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(folder).map_err(Error::file("create", folder))?;
        }
        staging::sweep(&store.layers)?;
        store.sweep_records()?;
        Ok(store)
    }

    /// Keeps every image and layer where it is until the result is dropped.
    ///
    /// Take it before [`Store::resolve`] and keep it until the container's record names the image
    /// on disk: from then on the record protects the image, by what is handed to
    /// [`Store::remove`].
    pub fn hold(&self) -> Result<Hold, Error> {
        self.lock(Sharing::Shared).map(Hold)
    }

    /// Finds an image by its id, its name or the unambiguous start of its id, in this order.
    pub fn resolve(&self, name_or_id: &str) -> Result<Image, Error> {
        let names = References::read(&self.images)?;
        self.image(self.find(&names, name_or_id)?, &names)
    }

    /// All images, the newest first.
    pub fn list(&self) -> Result<Vec<Image>, Error> {
        // Without the hold a removal could come between the list and the look.
        let _hold = self.hold()?;
        let names = References::read(&self.images)?;
        let mut images = records::dump(&self.images)?
            .into_iter()
            .map(|id| self.image(id, &names))
            .collect::<Result<Vec<_>, _>>()?;
        images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.names.cmp(&b.names)));
        Ok(images)
    }

    /// The configuration of an image, byte for byte as it came.
    pub fn configuration(&self, id: &Digest) -> Result<Vec<u8>, Error> {
        let path = records::configuration(&self.images, id);
        fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Unknown { name: id.to_string() },
            _ => Error::file("read", &path)(source),
        })
    }

    /// Makes `target` a name of the image; takes it from the image that had it.
    pub fn tag(&self, source: &str, target: &str) -> Result<(), Error> {
        let target = parse_target(target)?;
        let _lock = self.lock(Sharing::Exclusive)?;
        let mut names = References::read(&self.images)?;
        let id = self.find(&names, source)?;
        if names.put(target, id) {
            names.write(&self.images)?;
        }
        Ok(())
    }

    pub(super) fn lock(&self, sharing: Sharing) -> Result<Lock, Error> {
        let path = self.images.join("lock");
        durable::lock(&path, sharing).map_err(Error::file("lock", &path))
    }

    /// Removes records that somebody died over. Does not wait: whoever has the lock may be the
    /// caller itself, and the next one will do.
    fn sweep_records(&self) -> Result<(), Error> {
        let images = &self.images;
        if durable::leftovers(images).map_err(Error::file("list", images))?.is_empty() {
            return Ok(());
        }
        let path = images.join("lock");
        match durable::try_lock(&path).map_err(Error::file("lock", &path))? {
            Some(_lock) => durable::sweep(images).map_err(Error::file("clean", images)),
            None => Ok(()),
        }
    }

    /// All layers that are there, also those of no image, and the bytes in the files of each.
    pub fn usage(&self) -> Result<BTreeMap<PathBuf, u64>, Error> {
        let _hold = self.hold()?;
        let of = |layer: Digest| {
            let size = self.layer_size(&layer)?.unwrap_or(0);
            Ok((self.layer(&layer).join("fs"), size))
        };
        self.layers_there()?.into_iter().map(of).collect()
    }

    pub(super) fn layers_there(&self) -> Result<Vec<Digest>, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.layers).map_err(Error::file("list", &self.layers))? {
            let name = entry.map_err(Error::file("list", &self.layers))?.file_name();
            found.extend(name.to_str().and_then(Digest::from_hex));
        }
        Ok(found)
    }

    pub(super) fn layer_size(&self, layer: &Digest) -> Result<Option<u64>, Error> {
        Ok(LayerRecord::read(&self.layer(layer))?.map(|record| record.size))
    }

    pub(super) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layers.join(diff_id.hex())
    }

    pub(super) fn find(&self, names: &References, text: &str) -> Result<Digest, Error> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if let Some(id) = Digest::from_hex(digits) {
            return if records::configuration(&self.images, &id).exists() {
                Ok(id)
            } else {
                Err(Error::Unknown { name: text.to_owned() })
            };
        }
        let reference = text.parse::<Reference>();
        if let Some(id) = reference.as_ref().ok().and_then(|name| names.image(name)) {
            return Ok(id);
        }
        match (self.find_by_prefix(digits)?, reference) {
            (Some(id), _) => Ok(id),
            (None, Ok(name)) => Err(Error::Unknown { name: name.to_string() }),
            (None, Err(source)) => Err(Error::Name { text: text.to_owned(), source }),
        }
    }

    fn find_by_prefix(&self, digits: &str) -> Result<Option<Digest>, Error> {
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut matches = records::dump(&self.images)?;
        matches.retain(|id| id.hex().starts_with(digits));
        match matches[..] {
            [] => Ok(None),
            [id] => Ok(Some(id)),
            _ => Err(Error::Ambiguous { prefix: digits.to_owned(), matches }),
        }
    }

    /// The layers an image is made of, the lowest first.
    pub(super) fn diff_ids(&self, id: &Digest) -> Result<Vec<Digest>, Error> {
        let path = records::configuration(&self.images, id);
        let config = parse_configuration(&path, &self.configuration(id)?)?;
        let missing =
            |layer: &String| Error::LayerMissing { image: id.short(), layer: layer.clone() };
        config
            .rootfs()
            .diff_ids()
            .iter()
            .map(|layer| layer.parse().ok().ok_or_else(|| missing(layer)))
            .collect()
    }

    fn image(&self, id: Digest, names: &References) -> Result<Image, Error> {
        let path = records::configuration(&self.images, &id);
        let config = parse_configuration(&path, &self.configuration(&id)?)?;
        let mut layers = Vec::new();
        let (mut layer_sizes, mut size) = (Vec::new(), 0_u64);
        for diff_id in config.rootfs().diff_ids() {
            let missing = || Error::LayerMissing { image: id.short(), layer: diff_id.clone() };
            let layer = self.layer(&diff_id.parse().ok().ok_or_else(missing)?);
            let record = LayerRecord::read(&layer)?.ok_or_else(missing)?;
            size = size.saturating_add(record.size);
            layer_sizes.push(record.size);
            layers.push(layer.join("fs"));
        }
        let created = config.created().as_deref().and_then(|text| text.parse().ok());
        Ok(Image { id, names: names.names(&id), config, layers, layer_sizes, size, created })
    }
}

/// A name that can be given to an image: one with a tag and without a digest.
pub(super) fn parse_target(text: &str) -> Result<Reference, Error> {
    let name: Reference =
        text.parse().map_err(|source| Error::Name { text: text.to_owned(), source })?;
    match name.digest() {
        None => Ok(name),
        Some(_) => Err(Error::Pinned { text: text.to_owned() }),
    }
}

fn parse_configuration(path: &Path, bytes: &[u8]) -> Result<ImageConfiguration, Error> {
    serde_json::from_slice(bytes).map_err(|source| Error::Record { path: path.to_owned(), source })
}
