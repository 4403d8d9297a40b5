//! Archives that somebody handed in: of images, of layers, of plain files.
//!
//! ```text
//! archive ──sniff, decompress──► spool ──► plan (configurations, layers, names: all checked)
//! layer   ──sniff, decompress──► entries with limits ──► one name at a time below one directory
//! ```
//!
//! Nothing in an archive is believed: sizes are limited, sums and digests are compared, and the kernel
//! keeps every path inside the directory that was named. `docs/images.md` lists the tricks that are
//! known, and what becomes of each.

mod archive;
mod compression;
mod defect;
mod digest;
mod docker;
mod entries;
mod hashing;
mod header;
mod oci;
mod pax;
mod place;
mod plan;
mod record;
mod reference;
mod room;
mod rootdir;
mod slice;
mod unpack;
mod watch;

use std::io::Read as _;
use std::path::Path;

pub use archive::{Archive, Source};
pub use defect::{Defect, Problem};
pub use digest::{Digest, NotADigest};
pub use plan::{Planned, PlannedLayer, plan};
pub use record::replay;
pub use reference::{Invalid as InvalidReference, Reference};
pub use unpack::{Devices, Target, Unpacked, extract, unpack};
pub use watch::Step;

/// Whether the files below `root` are those of an image archive: somebody gave to `import` what is for `load`.
#[must_use]
pub fn is_image_archive(root: &Path) -> bool {
    let Ok(root) = rootdir::RootDir::open(root) else { return false };
    // Whoever made the archive also made what has these names: links, pipes, devices.
    let open = |name: &str| root.find(&[], name.as_bytes()).ok().flatten()?.open_file().ok();
    let mut manifest = Vec::new();
    open(oci::LAYOUT).is_some()
        || open(docker::MANIFEST).is_some_and(|file| {
            let read = file.take(archive::DOCUMENT_LIMIT).read_to_end(&mut manifest);
            read.is_ok() && docker::is_manifest(&manifest)
        })
}
