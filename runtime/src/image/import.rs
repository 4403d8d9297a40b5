//! Makes an image of a plain root file system.

use jiff::Timestamp;
use oci_spec::image::{History, ImageConfiguration};

use twill_archive::{Defect, Devices, Digest, Source, is_image_archive};

use super::changes;
use super::commit::{Committed, Finished, Trouble, Work};
use super::error::Error;
use super::store::{self, Store};

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
