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

use std::fs;
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
    root.join(oci::LAYOUT).is_file()
        || fs::read(root.join(docker::MANIFEST)).is_ok_and(|bytes| docker::is_manifest(&bytes))
}
