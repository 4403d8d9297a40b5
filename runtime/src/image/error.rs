//! What can go wrong with images, and the way out of it.

use std::io;
use std::path::{Path, PathBuf};

use twill_archive::{Defect, Digest, InvalidReference};

use super::changes;

/// An operation on the image store that did not happen; the store is as it was.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("no such image: {name}")]
    Unknown { name: String },
    #[error("image id {prefix} is ambiguous: {} images start with it", .matches.len())]
    Ambiguous { prefix: String, matches: Vec<Digest> },
    #[error("invalid image name '{text}'")]
    Name { text: String, source: InvalidReference },
    #[error("a digest cannot be given to an image: '{text}'")]
    Pinned { text: String },
    #[error("image {image} is being used by container {container}")]
    InUse { image: String, container: String },
    #[error("cannot tell which containers use the image")]
    Users(#[source] super::remove::UserOf),
    #[error("image {image} has several names: {}", .names.join(", "))]
    SeveralNames { image: String, names: Vec<String> },
    #[error("cannot use {archive}")]
    Archive { archive: String, source: Defect },
    #[error("invalid change '{text}'")]
    Change { text: String, source: changes::Invalid },
    #[error("cannot {operation} {}", .path.display())]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is damaged", .path.display())]
    Record { path: PathBuf, source: serde_json::Error },
    #[error("cannot write the configuration of the new image")]
    Configuration(#[source] serde_json::Error),
    #[error("cannot write the archive")]
    Save(#[source] io::Error),
    #[error("image {image} is damaged: layer {layer} is missing from the store")]
    LayerMissing { image: String, layer: String },
}

impl Error {
    /// What the user can do about it, for the line that starts with `hint:`.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Unknown { .. } => {
                "`twill images` lists what is here, `twill load -i FILE` adds to it".into()
            }
            Self::Ambiguous { matches, .. } => {
                let ids: Vec<String> = matches.iter().map(Digest::short).collect();
                format!("give more digits: {}", ids.join(", "))
            }
            Self::Pinned { .. } => "give it a name and a tag, as in 'bb:1.0'".into(),
            Self::InUse { container, .. } => {
                format!("remove the container first: `twill rm {container}`")
            }
            Self::SeveralNames { .. } => {
                "remove its names one by one, or all at once with `twill rmi -f`".into()
            }
            Self::Archive { source, .. } => return source.hint().map(str::to_owned),
            Self::Record { .. } | Self::LayerMissing { .. } => {
                "remove the image with `twill rmi -f` and load it again".into()
            }
            Self::Change { .. } => {
                "known are CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR"
                    .into()
            }
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => "twill needs root".into(),
                io::ErrorKind::StorageFull => "free some space, or give --root another disk".into(),
                _ => return None,
            },
            Self::Name { .. } | Self::Configuration(_) | Self::Users(_) | Self::Save(_) => {
                return None;
            }
        };
        Some(text)
    }

    /// For `map_err`: the operation on the file at `path` failed.
    pub(super) fn file(
        operation: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { operation, path, source }
    }
}
