//! An OCI image layout in a tar archive: index.json leads by digests to everything else.
//! Format: opencontainers/image-spec 1.1, `image-layout.md`, `image-index.md`, `manifest.md`.

use oci_spec::image::{
    ANNOTATION_REF_NAME, Arch, Descriptor, ImageIndex, ImageManifest, MediaType, Os,
};

use super::archive::{Archive, blob_name, parse};
use super::defect::Defect;
use super::digest::Digest;
use super::plan::{Images, Planned};
use super::reference::Reference;

/// Says that this is a layout.
pub(crate) const LAYOUT: &str = "oci-layout";
/// Where the layout begins.
pub(crate) const INDEX: &str = "index.json";
/// containerd and docker write the whole name here and only the tag in `ref.name`.
const WHOLE_NAME: &str = "io.containerd.image.name";
/// buildkit's provenance records stand among the images.
const NOT_AN_IMAGE: &str = "vnd.docker.reference.type";
/// An index in an index occurs; deeper nesting is a loop or a joke.
const DEPTH_LIMIT: usize = 3;

pub(crate) fn plan(archive: &Archive) -> Result<Vec<Planned>, Defect> {
    let index: ImageIndex = archive.json(INDEX)?;
    let mut images = Images::default();
    let mut other_platforms = false;
    for descriptor in index.manifests() {
        let Some(mut planned) = choose(archive, descriptor, 0)? else {
            other_platforms = true;
            continue;
        };
        planned.names.extend(name(descriptor)?);
        images.add(planned)?;
    }
    let images = images.into_vec();
    if images.is_empty() && other_platforms {
        return Err(Defect::NoImageFor { platform: format!("linux/{}", Arch::default()) });
    }
    Ok(images)
}

/// The image behind a descriptor; of an index, the one for this machine.
fn choose(
    archive: &Archive,
    descriptor: &Descriptor,
    depth: usize,
) -> Result<Option<Planned>, Defect> {
    let annotations = descriptor.annotations().as_ref();
    if annotations.is_some_and(|a| a.contains_key(NOT_AN_IMAGE)) || !fits(descriptor) {
        return Ok(None);
    }
    let digest = digest(descriptor)?;
    let bytes = archive.blob(&digest, descriptor.size())?;
    let member = blob_name(&digest);
    match descriptor.media_type() {
        MediaType::ImageIndex => {}
        MediaType::Other(kind) if kind.ends_with("manifest.list.v2+json") => {}
        _ => return image(archive, &member, &bytes).map(Some),
    }
    if depth == DEPTH_LIMIT {
        return Err(Defect::Nested { member });
    }
    let index: ImageIndex = parse(&member, &bytes)?;
    for descriptor in index.manifests() {
        if let Some(planned) = choose(archive, descriptor, depth + 1)? {
            return Ok(Some(planned));
        }
    }
    Ok(None)
}

fn image(archive: &Archive, member: &str, bytes: &[u8]) -> Result<Planned, Defect> {
    let manifest: ImageManifest = parse(member, bytes)?;
    let id = digest(manifest.config())?;
    let configuration = archive.blob(&id, manifest.config().size())?;
    let layers = manifest.layers().iter().map(|layer| Ok(blob_name(&digest(layer)?)));
    Planned::new(&blob_name(&id), configuration, layers.collect::<Result<_, Defect>>()?)
}

/// A descriptor without a platform does not say; so it may be for this machine.
fn fits(descriptor: &Descriptor) -> bool {
    descriptor.platform().as_ref().is_none_or(|platform| {
        *platform.os() == Os::Linux && *platform.architecture() == Arch::default()
    })
}

fn digest(descriptor: &Descriptor) -> Result<Digest, Defect> {
    let text = descriptor.digest().to_string();
    text.parse().map_err(|source| Defect::LayerName { member: INDEX.to_owned(), source })
}

/// The name a descriptor gives to its image. The specification lets `ref.name` be a bare tag;
/// that names nothing, so the image gets none. Nor does it get one with a digest, by which
/// containerd calls what was pulled so.
fn name(descriptor: &Descriptor) -> Result<Option<Reference>, Defect> {
    let Some(annotations) = descriptor.annotations() else { return Ok(None) };
    let whole = annotations.get(WHOLE_NAME);
    let reference = annotations.get(ANNOTATION_REF_NAME).filter(|text| text.contains([':', '/']));
    let Some(text) = whole.or(reference) else { return Ok(None) };
    let parsed = text.parse::<Reference>();
    parsed
        .map(|name| Some(name).filter(|name| name.digest().is_none()))
        .map_err(|source| Defect::Name { text: Defect::shown(text.as_bytes()), source })
}
