//! Volumes: directories that outlive containers.
//!
//! ```text
//! <root>/volumes/<name>/volume.json   when it was made, its labels
//!                       _data/        what containers see, unless it is memory or a path of the host
//!                       .filling/     what an image has for an empty one, in the making
//!                       adopting.json how far that has come where it is a directory of the host
//!                .<unique>/           in the making, or on its way out
//! <run root>/volumes.lock             shared: somebody is about to use a volume; exclusive: a removal
//! ```
//!
//! A volume appears and disappears by a rename, so that what is seen is whole at any moment.

mod adopt;
mod backing;
mod fill;
mod memory;
mod store;

pub use adopt::adopt;
pub use backing::Backing;
pub use fill::{Use, take};
pub use memory::mount_memory;
pub use store::{Hold, Volume, Volumes};

use crate::error::Error;

/// Docker's rule.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.chars().count() < 2 {
        return Err(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric characters"
        ));
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if first && bytes.all(allowed) && name.len() <= 255 {
        return Ok(());
    }
    Err(format!(
        "create {name}: {name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    ))
}

/// There is none of that name.
pub(crate) fn unknown(name: &str) -> Error {
    Error::NoSuchVolume(name.to_owned())
}
