//! The package for Debian, packed from the programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::programs::Programs;

/// Packs it as `version` into `directory`. Not compressed, as it is not to travel.
///
/// # Errors
/// When a tool is missing.
pub fn pack(directory: &Path, version: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(root.join("scripts/deb.sh"))
        .env("PROGRAMS_DIR", Programs::find()?.dir())
        .envs([("DEB_VERSION", version), ("DEB_COMPRESS", "none")])
        .env("DEB_DIR", directory)
        .output()
        .context("cannot start scripts/deb.sh")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "scripts/deb.sh: {said}");
    let package = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    ensure!(package.exists(), "no package: {said}");
    Ok(package)
}
