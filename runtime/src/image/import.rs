//! Makes an image of a plain root file system.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use oci_spec::image::{History, ImageConfiguration};

use super::archive::Source;
use super::changes;
use super::commit::{Committed, Finished, Trouble, Work};
use super::defect::Defect;
use super::digest::Digest;
use super::docker;
use super::error::Error;
use super::oci;
use super::store::{self, Store};
use super::unpack::Devices;

/// What an import adds to the files.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The name of the new image, if it is to have one.
    pub reference: Option<String>,
    /// Dockerfile instructions, one each: `CMD ["sh"]`, `ENV A=b`.
    pub changes: Vec<String>,
    /// For the image's history.
    pub message: Option<String>,
    /// Which device nodes the archive may hold.
    pub devices: Devices,
}

impl Store {
    /// Makes an image of one layer out of a tar archive, plain or compressed, read once from
    /// front to back. When it fails, the store is as it was.
    pub fn import(&self, source: Source, options: &ImportOptions) -> Result<Digest, Error> {
        let name = options.reference.as_deref().map(store::parse_target).transpose()?;
        let mut image = ImageConfiguration::default();
        image.set_config(Some(changes::apply(&options.changes)?));
        let archive = source.name().to_owned();
        let comment = options.message.clone().unwrap_or_else(|| format!("Imported from {archive}"));
        let mut work = Work::new(self, options.devices)?;
        let layer = take_in(&mut work, source).map_err(|trouble| trouble.in_archive(&archive))?;
        describe(&mut image, &layer, comment);
        let configuration = serde_json::to_vec(&image).map_err(Error::Configuration)?;
        let id = Digest::of(&configuration);
        let names = name.as_slice();
        let finished = Finished { id, configuration: &configuration, layers: vec![layer], names };
        match work.commit(self, &[finished])? {
            Committed::All => Ok(id),
            Committed::Nothing => {
                Err(Error::LayerMissing { image: id.short(), layer: layer.to_string() })
            }
        }
    }
}

fn take_in(work: &mut Work, source: Source) -> Result<Digest, Trouble> {
    let layer = work.unpack(source.into_reader(), None)?.diff_id;
    match work.root(&layer) {
        Some(root) if is_image_archive(&root) => Err(Defect::ImageArchive.into()),
        _ => Ok(layer),
    }
}

fn describe(image: &mut ImageConfiguration, layer: &Digest, comment: String) {
    let now = Timestamp::now().to_string();
    let mut history = History::default();
    history.set_created(Some(now.clone())).set_comment(Some(comment));
    image.set_created(Some(now)).set_history(Some(vec![history]));
    image.rootfs_mut().set_diff_ids(vec![layer.to_string()]);
}

/// Somebody gave `import` what is for `load`: the files would be an archive's, not a system's.
fn is_image_archive(root: &Path) -> bool {
    root.join(oci::LAYOUT).is_file()
        || fs::read(root.join(docker::MANIFEST)).is_ok_and(|bytes| docker::is_manifest(&bytes))
}
