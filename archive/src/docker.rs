//! The archive of `docker save` and `podman save`: manifest.json lists configurations, layers,
//! names. Format: moby `image/tarexport`, "Combined Image JSON + Filesystem Changeset Format".

use serde::Deserialize;

use super::archive::Archive;
use super::defect::Defect;
use super::digest::Digest;
use super::plan::{Images, Planned};
use super::reference::Reference;

/// The list of images.
pub(crate) const MANIFEST: &str = "manifest.json";

/// One image of manifest.json.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Image {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

pub(crate) fn plan(archive: &Archive) -> Result<Vec<Planned>, Defect> {
    let mut images = Images::default();
    for image in archive.json::<Vec<Image>>(MANIFEST)? {
        images.add(planned(archive, image)?)?;
    }
    Ok(images.into_vec())
}

/// Whether this is a list of images, not some manifest of a web site.
pub(crate) fn is_manifest(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Vec<Image>>(bytes).is_ok_and(|images| !images.is_empty())
}

fn planned(archive: &Archive, image: Image) -> Result<Planned, Defect> {
    let configuration = archive.document(&image.config)?;
    check_name(&image.config, &configuration)?;
    let members = image.layers.unwrap_or_default();
    let mut planned = Planned::new(&image.config, configuration, members)?;
    for text in image.repo_tags.unwrap_or_default() {
        let name: Reference = text
            .parse()
            .map_err(|source| Defect::Name { text: Defect::shown(text.as_bytes()), source })?;
        if name.digest().is_some() {
            return Err(Defect::Pinned { text: Defect::shown(text.as_bytes()) });
        }
        planned.names.push(name);
    }
    Ok(planned)
}

/// Every known writer calls the configuration by its digest: `<hex>.json`, `blobs/sha256/<hex>`.
/// Where one does, the bytes must keep the promise.
fn check_name(member: &str, configuration: &[u8]) -> Result<(), Defect> {
    let stem = member.rsplit('/').next().unwrap_or(member);
    let Some(expected) = Digest::from_hex(stem.strip_suffix(".json").unwrap_or(stem)) else {
        return Ok(());
    };
    match Digest::of(configuration) {
        actual if actual == expected => Ok(()),
        actual => Err(Defect::WrongDigest { expected, actual }),
    }
}
