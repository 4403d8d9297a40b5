//! Takes in image archives: all images of one, or none.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use twill_archive::{Archive, Devices, Digest, Planned, PlannedLayer, Reference, Source};

use super::commit::{Committed, Finished, Trouble, Work};
use super::error::Error;
use super::store::Store;

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
        let archive = Archive::open(source, work.staging.path())?;
        let images = twill_archive::plan(&archive)?;
        loop {
            let mut seen = BTreeSet::new();
            let mut missing: Vec<&PlannedLayer> =
                images.iter().flat_map(|image| &image.layers).collect();
            missing.retain(|layer| seen.insert(layer.diff_id) && !work.has(self, &layer.diff_id));
            work.unpack_all(&archive, &missing)?;
            let finished: Vec<Finished<'_>> = images.iter().map(finished).collect();
            if work.commit(self, &finished)? == Committed::All {
                break;
            }
        }
        Ok(images.into_iter().map(|image| Loaded { id: image.id, names: image.names }).collect())
    }
}

fn finished(image: &Planned) -> Finished<'_> {
    Finished {
        id: image.id,
        configuration: &image.configuration,
        layers: image.layers.iter().map(|layer| layer.diff_id).collect(),
        names: &image.names,
    }
}

/// The archive in a file, which is read in place when it can be.
pub fn open(path: &Path) -> Result<Source, Error> {
    Source::file(path).map_err(Error::file("open", path))
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
