//! Takes in image archives: all images of one, or none.

use std::fmt;

use super::archive::{Archive, Source};
use super::commit::{Committed, Finished, Trouble, Work};
use super::digest::Digest;
use super::error::Error;
use super::plan::{self, Planned};
use super::reference::Reference;
use super::store::Store;
use super::unpack::Devices;

/// An image that a load put into the store, or found there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Loaded {
    /// The image.
    pub id: Digest,
    /// The names it got.
    pub names: Vec<Reference>,
}

impl Store {
    /// Takes in all images of an archive of `docker save`, `podman save` or an OCI layout in a
    /// tar, each plain or compressed. When it fails, the store is as it was.
    pub fn load(&self, source: Source, devices: Devices) -> Result<Vec<Loaded>, Error> {
        let name = source.name().to_owned();
        self.try_load(source, devices).map_err(|trouble| trouble.in_archive(&name))
    }

    fn try_load(&self, source: Source, devices: Devices) -> Result<Vec<Loaded>, Trouble> {
        let mut work = Work::new(self, devices)?;
        let archive = Archive::open(source, &work.staging)?;
        let images = plan::plan(&archive)?;
        loop {
            for layer in images.iter().flat_map(|image| &image.layers) {
                if !work.has(self, &layer.diff_id) {
                    work.unpack(archive.read(&layer.member)?, Some(&layer.diff_id))
                        .map_err(|trouble| trouble.in_layer(&layer.member))?;
                }
            }
            let finished: Vec<Finished<'_>> = images.iter().map(Planned::finished).collect();
            if work.commit(self, &finished)? == Committed::All {
                break;
            }
        }
        Ok(images.into_iter().map(|image| Loaded { id: image.id, names: image.names }).collect())
    }
}

impl Planned {
    fn finished(&self) -> Finished<'_> {
        Finished {
            id: self.id,
            configuration: &self.configuration,
            layers: self.layers.iter().map(|layer| layer.diff_id).collect(),
            names: &self.names,
        }
    }
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.names.is_empty() {
            return write!(f, "Loaded image ID: {}", self.id);
        }
        for (index, name) in self.names.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}Loaded image: {name}")?;
        }
        Ok(())
    }
}
