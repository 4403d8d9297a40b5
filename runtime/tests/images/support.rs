//! A store of one's own, and what is in it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use twill::Paths;
use twill::image::{Devices, Digest, Error, ImportOptions, Loaded, Source, Store};

/// A store in a temporary directory.
pub(crate) struct Lab {
    folder: TempDir,
    pub(crate) paths: Paths,
    pub(crate) store: Store,
}

impl Lab {
    /// `None`, loudly, without root; a failure when root was promised.
    #[expect(clippy::print_stderr, reason = "a skipped test must be heard")]
    pub(crate) fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            let required = std::env::var_os("REQUIRE_ROOT").is_some_and(|value| value == "1");
            assert!(!required, "REQUIRE_ROOT=1, but this test runs without root");
            eprintln!("SKIPPED: layers hold files of many owners; this test needs root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("root"), folder.path().join("run"));
        let store = Store::open(&paths).unwrap();
        Some(Self { folder, paths, store })
    }

    /// A place for files of the test, beside the store.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn import(&self, tar: Vec<u8>, name: &str) -> Result<Digest, Error> {
        let options = ImportOptions { reference: Some(name.to_owned()), ..Default::default() };
        self.store.import(stream(tar), &options)
    }

    pub(crate) fn load(&self, archive: Vec<u8>) -> Result<Vec<Loaded>, Error> {
        self.store.load(stream(archive), Devices::Standard)
    }

    /// The files of an image of one layer.
    pub(crate) fn root_of(&self, name: &str) -> PathBuf {
        let image = self.store.resolve(name).unwrap();
        assert_eq!(image.layers.len(), 1);
        image.layers[0].clone()
    }

    /// Every path below the root of the store, but for the locks that come and stay.
    pub(crate) fn contents(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        walk(self.paths.root(), &mut found);
        let layers = self.paths.layers();
        let locks = [
            self.paths.images().join("lock"),
            layers.join(".staging"),
            layers.join(".staging/lock"),
        ];
        found.into_iter().filter(|path| !locks.contains(path)).collect()
    }

    /// Nobody is at work, and nobody left anything.
    #[track_caller]
    pub(crate) fn assert_staging_is_empty(&self) {
        let mut found = BTreeSet::new();
        walk(&self.paths.layers().join(".staging"), &mut found);
        found.remove(&self.paths.layers().join(".staging/lock"));
        assert_eq!(found, BTreeSet::new());
    }
}

pub(crate) fn stream(bytes: Vec<u8>) -> Source {
    Source::stream("the archive", Cursor::new(bytes))
}

/// The whole chain of causes on one line, as the program prints it.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), found);
        }
        found.insert(entry.path());
    }
}
