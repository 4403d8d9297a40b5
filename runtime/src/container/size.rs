//! How much a container has written.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::record::Record;
use crate::error::{Error, FileContext as _, Result};
use crate::listing::containers::Size;
use crate::{Paths, image};

/// Of its own, and of its image.
pub fn of(paths: &Paths, record: &Record) -> Result<Size> {
    let upper = paths.container(&record.id).join("upper");
    let own = below(&upper).file("look through", &upper)?;
    let images = image::Store::open(paths).map_err(Error::Image)?;
    // Its image may be gone by force; what is left of it cannot be told any more.
    let image = images.resolve(&record.image.id).map_or(0, |image| image.size);
    Ok(Size { own, image })
}

/// Bytes in the files below a directory; one that is not there has none.
pub fn below(directory: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut sum = 0_u64;
    for entry in entries {
        let entry = entry?;
        let metadata = match entry.metadata() {
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_dir() {
            sum += below(&entry.path())?;
        } else if metadata.is_file() {
            sum += metadata.size();
        }
    }
    Ok(sum)
}
