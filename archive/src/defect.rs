//! What can be wrong with an archive that somebody handed in.

use std::io;

use super::digest::{Digest, NotADigest};
use super::reference;

/// Why an archive is not taken.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Defect {
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("what is known of it cannot be written down")]
    Record(#[source] io::Error),
    #[error("it is empty")]
    Empty,
    #[error("it is cut off after {at} bytes")]
    CutOff { at: u64 },
    #[error("it has no end: it is cut off")]
    NoEnd,
    #[error("it is not a tar archive (byte {at})")]
    NotTar { at: u64 },
    #[error("it is compressed with {0}, which twill does not read")]
    Compression(&'static str),
    #[error("it would fill the disk: only {free} bytes are left")]
    NoRoom { free: u64 },
    #[error("it has more than {limit} entries")]
    TooManyEntries { limit: u64 },
    #[error("its names are more than {limit} bytes together")]
    NamesTooLong { limit: usize },
    #[error("the header at byte {at} is larger than {limit} bytes")]
    HeaderTooLarge { at: u64, limit: u64 },
    #[error("the extended header at byte {at} is malformed")]
    ExtendedHeader { at: u64 },
    #[error("entry '{entry}' {problem}")]
    Entry { entry: String, problem: Problem },
    #[error("cannot write entry '{entry}'")]
    Write { entry: String, source: io::Error },
    #[error("layer {layer}")]
    Layer { layer: String, source: Box<Self> },
    #[error("its content has the digest {actual}, not {expected}")]
    WrongDigest { expected: Digest, actual: Digest },
    #[error("it holds no image: neither manifest.json nor index.json is in it")]
    NoImage,
    #[error("it holds no image for {platform}")]
    NoImageFor { platform: String },
    #[error("it holds an image archive, not a root file system")]
    ImageArchive,
    #[error("'{member}' is not in it")]
    Missing { member: String },
    #[error("'{member}' is {size} bytes long, more than {limit}")]
    MemberTooLarge { member: String, size: u64, limit: u64 },
    #[error("its configurations are more than {limit} bytes together")]
    ConfigurationsTooLarge { limit: u64 },
    #[error("'{member}' is {actual} bytes long, not {expected}")]
    WrongSize { member: String, expected: u64, actual: u64 },
    #[error("'{member}' is not what it should be")]
    Json { member: String, source: serde_json::Error },
    #[error("'{member}' is nested too deeply")]
    Nested { member: String },
    #[error("'{member}' names a layer badly")]
    LayerName { member: String, source: NotADigest },
    #[error("'{member}' lists {actual} layers, but its configuration {expected}")]
    LayerCount { member: String, expected: usize, actual: usize },
    #[error("it names its image '{text}'")]
    Name { text: String, source: reference::Invalid },
    #[error("it names its image '{text}': a digest cannot be given to an image")]
    Pinned { text: String },
}

/// What an entry of a tar archive does that is not allowed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Problem {
    #[error("climbs out of the archive with '..'")]
    Climbs,
    #[error("is a link to '{0}', which climbs out of the archive with '..'")]
    LinkClimbs(String),
    #[error("is a hard link to '{0}', which is not a file in the archive")]
    LinkToNothing(String),
    #[error("is a link to nothing")]
    NoTarget,
    #[error("is a device node ({kind} {major}:{minor})")]
    Device { kind: &'static str, major: u32, minor: u32 },
    #[error("has a zero byte in its name")]
    ZeroByte,
    #[error("has no name")]
    NoName,
    #[error("has the unknown type '{0}'")]
    Type(char),
    #[error("is a sparse file in a form that twill does not read")]
    Sparse,
    #[error("has a number in its header that cannot be read")]
    Number,
    #[error("says it is {size} bytes long, but only {free} are free on the disk")]
    TooLarge { size: u64, free: u64 },
    #[error("would fill the disk: only {free} bytes are left")]
    NoRoom { free: u64 },
    #[error("lies below '{0}', which is not a directory")]
    BelowFile(String),
    #[error("lies below links that lead in a circle")]
    Circle,
    #[error("replaces a directory that is not empty")]
    ReplacesDirectory,
    #[error("is a directory and cannot overwrite a non-directory")]
    DirectoryOverOther,
    #[error("is not a directory and cannot overwrite one")]
    OtherOverDirectory,
    #[error("was exchanged for something else while it was made")]
    Exchanged,
    #[error("hides nothing: the name after '.wh.' is not one")]
    Whiteout,
}

impl Defect {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Empty | Self::CutOff { .. } | Self::NoEnd => {
                Some("make or fetch the archive again")
            }
            Self::NotTar { .. } => Some("it should be a tar archive, plain or by gzip or zstd"),
            Self::Compression("xz") => Some("unpack it first: `xz -dc FILE | twill …`"),
            Self::Compression(_) => Some("unpack it first: `bzip2 -dc FILE | twill …`"),
            Self::NoImage => Some("a plain root file system is taken by `twill import FILE NAME`"),
            Self::ImageArchive => Some("take it with `twill load -i FILE`"),
            Self::WrongDigest { .. } | Self::WrongSize { .. } => {
                Some("it was changed or damaged on its way: make or fetch it again")
            }
            Self::Entry { problem, .. } => problem.hint(),
            Self::Layer { source, .. } => source.hint(),
            Self::NoRoom { .. } => Some("free some space, or give --root another disk"),
            Self::Write { source, .. } | Self::Record(source)
                if source.kind() == io::ErrorKind::StorageFull =>
            {
                Some("free some space, or give --root another disk")
            }
            _ => None,
        }
    }

    /// A name of an entry as it may be shown: on one line, without control characters.
    #[must_use]
    pub fn shown(name: &[u8]) -> String {
        String::from_utf8_lossy(name).escape_debug().to_string()
    }
}

impl Problem {
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Climbs | Self::LinkClimbs(_) => {
                Some("pack it again from inside the root directory: `tar -C DIR -cf FILE .`")
            }
            Self::LinkToNothing(_) => {
                Some("pack it again from inside the root directory, with the file it links to")
            }
            Self::Device { .. } => Some(
                "containers get their own /dev; leave it out, or take it with --allow-devices if you trust the archive",
            ),
            Self::Sparse => Some("pack it again without --sparse"),
            Self::TooLarge { .. } | Self::NoRoom { .. } => {
                Some("free some space, or give --root another disk")
            }
            _ => None,
        }
    }
}

impl From<io::Error> for Defect {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}
