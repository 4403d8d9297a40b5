//! Where the programs under test are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The directory that holds `twilld`, `twillctl`, `twill`, `twill-cni` and `twill-lab`.
#[derive(Clone, Debug)]
pub struct Programs {
    dir: PathBuf,
}

impl Programs {
    /// `TWILL_BIN_DIR`, or the directory this executable was built into.
    ///
    /// # Errors
    /// When `twill-lab` itself is not there.
    pub fn find() -> Result<Self> {
        let dir = match env::var_os("TWILL_BIN_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => beside(&env::current_exe().context("cannot find this executable")?),
        };
        let dir = dir.canonicalize().with_context(|| format!("no directory {}", dir.display()))?;
        let programs = Self { dir };
        programs.path("twill-lab")?;
        Ok(programs)
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// One program's absolute path.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        if !path.is_file() {
            bail!("{} is missing: run make build, or set TWILL_BIN_DIR", path.display());
        }
        Ok(path)
    }
}

// Test executables live one level below the programs, in `deps/`.
fn beside(executable: &Path) -> PathBuf {
    let dir = executable.parent().unwrap_or(Path::new("/"));
    if dir.ends_with("deps") { dir.parent().unwrap_or(dir).to_owned() } else { dir.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_beside_the_executable_or_above_its_deps_directory() {
        let rows = [
            ("a binary", "/t/debug/twill-lab", "/t/debug"),
            ("a test", "/t/debug/deps/net-0a1b", "/t/debug"),
        ];
        for (name, executable, want) in rows {
            assert_eq!(beside(Path::new(executable)), Path::new(want), "{name}");
        }
    }
}
