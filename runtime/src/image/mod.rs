//! Images: taken in from archives, kept as unpacked layers, named.
//!
//! ```text
//! archive ──sniff, decompress──► spool ──► plan (configurations, layers, names: all checked)
//!                                             │
//!                            unpack each layer into staging, digest on the way
//!                                             │ all good
//!                      lock ─► rename layers ─► write configuration ─► write names
//! ```
//!
//! On disk, below the root of the runtime:
//!
//! ```text
//! layers/<diff id>/fs          an unpacked layer as overlayfs wants it: a lower directory
//! layers/<diff id>/layer.json  its size
//! layers/<diff id>/stream.zst  the stream it came as, without the contents of its files
//! layers/.staging/<unique>/    work in progress, locked by whoever works there; swept when not
//! images/<image id>.json       the configuration, byte for byte: its SHA-256 is the image's id
//! images/references.json       names → image ids
//! images/lock                  shared: somebody is about to use an image; exclusive: a change
//! ```
//!
//! A layer directory appears by a rename when it is complete and on disk, a configuration after
//! all of its layers, a name after its configuration. So whatever is seen is whole, at any
//! instant, also after a crash; leftovers are swept by the next command.

mod changes;
mod commit;
mod derive;
mod error;
mod import;
mod load;
mod parallel;
mod pin;
mod records;
mod remove;
mod save;
mod staging;
mod store;

pub use changes::Invalid as InvalidChange;
pub use derive::Derivation;
pub use error::Error;
pub use import::ImportOptions;
pub use load::{Loaded, open};
pub use remove::{Removal, Removed, UserOf};
pub use store::{Hold, Image, Store};
pub use twill_archive::{
    Defect, Devices, Digest, InvalidReference, NotADigest, Problem, Reference, Source, Step,
    extract,
};
