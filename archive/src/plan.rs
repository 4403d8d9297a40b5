//! What an archive wants to put into the store, checked as far as that goes without unpacking.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;

use super::archive::{Archive, parse};
use super::defect::Defect;
use super::digest::Digest;
use super::reference::Reference;
use super::{docker, oci};

/// For the configurations of all images, as often as one is listed: they are kept in memory.
const CONFIGURATIONS_LIMIT: u64 = 256 << 20;

/// One image of an archive.
#[derive(Clone, Debug)]
pub struct Planned {
    /// SHA-256 of the configuration.
    pub id: Digest,
    /// Byte for byte as it came.
    pub configuration: Vec<u8>,
    /// The lowest first.
    pub layers: Vec<PlannedLayer>,
    /// The names it is to get.
    pub names: Vec<Reference>,
}

/// One layer of an image.
#[derive(Clone, Debug)]
pub struct PlannedLayer {
    /// SHA-256 of the tar stream, unpacked.
    pub diff_id: Digest,
    /// Its place in the archive.
    pub member: String,
}

/// All images of an archive. Docker 25 and later write both formats into one; manifest.json has
/// the names then.
pub fn plan(archive: &Archive) -> Result<Vec<Planned>, Defect> {
    let planned = if archive.has(docker::MANIFEST) {
        docker::plan(archive)?
    } else if archive.has(oci::INDEX) {
        oci::plan(archive)?
    } else {
        return Err(Defect::NoImage);
    };
    if planned.is_empty() {
        return Err(Defect::NoImage);
    }
    for layer in planned.iter().flat_map(|image| &image.layers) {
        drop(archive.read(&layer.member)?);
    }
    Ok(planned)
}

/// The images of an archive, each once: one may be listed once for each of its names.
#[derive(Debug, Default)]
pub(crate) struct Images {
    all: Vec<Planned>,
    places: BTreeMap<Digest, usize>,
    /// Bytes of configurations so far.
    configurations: u64,
}

impl Images {
    pub(crate) fn add(&mut self, mut image: Planned) -> Result<(), Defect> {
        self.configurations += image.configuration.len() as u64;
        if self.configurations > CONFIGURATIONS_LIMIT {
            return Err(Defect::ConfigurationsTooLarge { limit: CONFIGURATIONS_LIMIT });
        }
        let place = *self.places.entry(image.id).or_insert(self.all.len());
        match self.all.get_mut(place) {
            Some(known) => known.names.append(&mut image.names),
            None => self.all.push(image),
        }
        Ok(())
    }

    pub(crate) fn into_vec(self) -> Vec<Planned> {
        self.all
    }
}

impl Planned {
    /// Joins a configuration with the members that hold its layers.
    pub(crate) fn new(
        name: &str,
        configuration: Vec<u8>,
        members: Vec<String>,
    ) -> Result<Self, Defect> {
        let member = || Defect::shown(name.as_bytes());
        let config: ImageConfiguration = parse(name, &configuration)?;
        let diff_ids = config.rootfs().diff_ids();
        if diff_ids.len() != members.len() {
            let (expected, actual) = (diff_ids.len(), members.len());
            return Err(Defect::LayerCount { member: member(), expected, actual });
        }
        let layers = diff_ids.iter().zip(members).map(|(diff_id, member_of_layer)| {
            let diff_id =
                diff_id.parse().map_err(|source| Defect::LayerName { member: member(), source })?;
            Ok(PlannedLayer { diff_id, member: member_of_layer })
        });
        let layers = layers.collect::<Result<_, Defect>>()?;
        Ok(Self { id: Digest::of(&configuration), configuration, layers, names: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_fit_into_memory_together() {
        let image = |name: &[u8]| Planned {
            id: Digest::of(name),
            configuration: vec![0; 128 << 20],
            layers: Vec::new(),
            names: Vec::new(),
        };
        let mut images = Images::default();
        images.add(image(b"one")).unwrap();
        images.add(image(b"two")).unwrap();
        let refused = images.add(image(b"two")).unwrap_err();
        assert!(matches!(refused, Defect::ConfigurationsTooLarge { .. }), "{refused}");
        assert_eq!(images.into_vec().len(), 2);
    }
}
