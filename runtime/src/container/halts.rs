//! When a container that was halted was let go on last: until then it could answer nobody.

use std::fs;

use jiff::Timestamp;

use crate::Paths;
use crate::error::{FileContext as _, Result};

/// Notes that it is about to go on. The caller has its freezer's lock.
pub fn note_end(paths: &Paths, id: &str) -> Result<()> {
    let path = file(paths, id);
    let new = path.with_extension("new");
    // A look at it never meets half of it.
    fs::write(&new, Timestamp::now().to_string()).file("write", &new)?;
    fs::rename(&new, &path).file("write", &path)
}

/// When it did so last during this run, if ever.
#[must_use]
pub fn last_end(paths: &Paths, id: &str) -> Option<Timestamp> {
    fs::read_to_string(file(paths, id)).ok()?.parse().ok()
}

fn file(paths: &Paths, id: &str) -> std::path::PathBuf {
    paths.run_container(id).join("thawed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_end_counts() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path().join("lib"), root.path().join("run"));
        assert!(note_end(&paths, "x").is_err(), "nobody runs");
        assert_eq!(last_end(&paths, "x"), None);
        fs::create_dir_all(paths.run_container("x")).unwrap();
        let before = Timestamp::now();
        note_end(&paths, "x").unwrap();
        let first = last_end(&paths, "x").unwrap();
        note_end(&paths, "x").unwrap();
        assert!(before <= first && first <= last_end(&paths, "x").unwrap());
    }
}
