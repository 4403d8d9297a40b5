//! A large image, as an archive that all of them load.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use anyhow::Result;
use rand::{Rng as _, SeedableRng as _};
use tar::{Builder, Header};

use crate::host::Host;

/// Its name.
pub(super) const NAME: &str = "large";

/// Where a host finds it.
const ARCHIVE: &str = "/run/lab/share/large.tar";
const TREE: &str = "/run/lab/share/tree.tar";
const MEGABYTE: usize = 1_000_000;

/// Writes it by way of our own store: files of one megabyte, half of each noise, as programs and data are.
pub(super) fn write(host: &Host, size: u16) -> Result<String> {
    let mut tree = Builder::new(BufWriter::new(File::create(host.path(TREE))?));
    let mut noise = rand::rngs::StdRng::seed_from_u64(6);
    let mut content = vec![0; MEGABYTE];
    for number in 0..size {
        noise.fill_bytes(&mut content[..MEGABYTE / 2]);
        let mut header = Header::new_gnu();
        header.set_size(content.len().try_into()?);
        header.set_mode(0o644);
        header.set_mtime(0);
        tree.append_data(&mut header, format!("data/{number}"), content.as_slice())?;
    }
    tree.into_inner()?.flush()?;
    host.ok(["twill", "import", TREE, NAME])?;
    host.ok(["twill", "save", "-o", ARCHIVE, NAME])?;
    host.ok(["twill", "rmi", NAME])?;
    host.sh(&format!("rm {TREE}"))?;
    Ok(ARCHIVE.to_owned())
}
