//! The volumes below one root: making, finding, removing.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Backing, adopt, unknown};
use crate::container::store::{make_private, remove_all};
use crate::container::{self, id};
use crate::durable::{self, Lock, Sharing};
use crate::error::{Error, FileContext as _, Result};
use crate::{Paths, events};

/// One volume as its file shows it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Volume {
    /// Its name, which is that of its directory.
    pub name: String,
    /// When.
    pub created: Timestamp,
    /// The user's.
    pub labels: BTreeMap<String, String>,
    /// Was it made for one container, without a name?
    pub anonymous: bool,
    /// What it is made of, as [`Backing`] reads it.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl Volume {
    /// What containers see of it.
    pub fn backing(&self) -> Result<Backing> {
        Backing::of(&self.options)
            .map_err(|wrong| Error::Usage(format!("volume {}: {wrong}", self.name)))
    }
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Volumes<'a> {
    paths: &'a Paths,
}

/// While it is held, no volume goes away.
#[derive(Debug)]
#[must_use = "the volumes are let go at once when it is not kept"]
pub struct Hold(#[expect(dead_code, reason = "held for its drop")] Lock);

impl<'a> Volumes<'a> {
    /// Touches nothing.
    #[must_use]
    pub fn new(paths: &'a Paths) -> Self {
        Self { paths }
    }

    /// Keeps every volume where it is until the result is dropped: until the record of the container
    /// that is to have it is on disk.
    pub fn hold(&self) -> Result<Hold> {
        self.lock(Sharing::Shared).map(Hold)
    }

    fn lock(&self, sharing: Sharing) -> Result<Lock> {
        make_private(self.paths.run_root())?;
        let path = self.paths.run_root().join("volumes.lock");
        durable::lock(&path, sharing).file("lock", &path)
    }

    /// Where the files of a volume are.
    #[must_use]
    pub fn data(&self, name: &str) -> PathBuf {
        self.paths.volume(name).join("_data")
    }

    /// Makes a volume unless there is one of that name; whether it was made.
    pub fn ensure(&self, volume: &Volume) -> Result<bool> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let place = self.paths.volume(&volume.name);
        if place.exists() {
            return Ok(false);
        }
        // Whoever walks in needs the way: files in it are guarded by their own permissions.
        make_private(&self.paths.volumes())?;
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let staging = self.paths.volumes().join(format!(".new-{}-{unique}", std::process::id()));
        remove_all(&staging)?;
        let made = make(&staging, volume).and_then(|()| match fs::rename(&staging, &place) {
            // Somebody was faster.
            Err(error) if place.exists() => {
                drop(error);
                Ok(false)
            }
            renamed => renamed.file("create", &place).map(|()| true),
        });
        if !matches!(made, Ok(true)) {
            // The first cause counts.
            drop(fs::remove_dir_all(&staging));
        }
        if made? {
            let folder = self.paths.volumes();
            durable::sync_folder(&folder).file("write", &folder)?;
            events::volume(self.paths, &volume.name, "create");
            return Ok(true);
        }
        Ok(false)
    }

    /// One by its name.
    pub fn find(&self, name: &str) -> Result<Volume> {
        if super::check_name(name).is_err() {
            return Err(unknown(name));
        }
        let path = self.paths.volume(name).join("volume.json");
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unknown(name)),
            bytes => bytes.file("read", &path)?,
        };
        serde_json::from_slice(&bytes).map_err(|source| Error::Decode { path, source })
    }

    /// All of them, by name.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let folder = self.paths.volumes();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.file("list", &folder)?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry.file("list", &folder)?.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            match self.find(name) {
                // Removed since it was listed, or nothing of ours.
                Err(Error::NoSuchVolume(_)) => {}
                found => all.push(found?),
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Which containers use which volumes.
    pub fn users(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for container in container::Store::new(self.paths).list_whole()? {
            for volume in container.record.mounts.iter().filter_map(|mount| mount.volume()) {
                let all = users.entry(volume.name.clone()).or_default();
                all.push(container.record.id.clone());
            }
        }
        Ok(users)
    }

    /// Removes a volume that no container uses.
    pub fn remove(&self, name: &str) -> Result<()> {
        let grave = {
            let _lock = self.lock(Sharing::Exclusive)?;
            self.sweep()?;
            let volume = self.find(name)?;
            if let Some(users) = self.users()?.remove(name) {
                return Err(Error::VolumeInUse { name: name.to_owned(), users });
            }
            let place = self.paths.volume(name);
            if let Ok(Backing::Host { path, .. }) = volume.backing() {
                adopt::abandon(&place, &path);
            }
            let grave = self.paths.volumes().join(format!(".gone-{}", id::random()));
            fs::rename(&place, &grave).file("remove", &place)?;
            grave
        };
        events::volume(self.paths, name, "destroy");
        // However long that takes, nobody has to wait for it.
        remove_all(&grave)
    }

    /// Takes away what is nobody's volume: what a crash left of one that was being made or removed.
    pub fn tidy(&self) -> Result<()> {
        let lock = self.lock(Sharing::Exclusive)?;
        let leftovers = self.leftovers()?;
        drop(lock);
        for path in leftovers {
            drop(fs::remove_dir_all(path));
        }
        Ok(())
    }

    /// Removes those that were made for one container, which is gone; one that another container uses
    /// by now stays.
    pub fn remove_anonymous(&self, record: &container::Record) -> Result<()> {
        let of_its_own = record.mounts.iter().filter_map(|mount| mount.volume());
        let mut outcome = Ok(());
        for volume in of_its_own.filter(|volume| volume.anonymous) {
            match self.remove(&volume.name) {
                Ok(()) | Err(Error::NoSuchVolume(_) | Error::VolumeInUse { .. }) => {}
                failed => outcome = outcome.and(failed),
            }
        }
        outcome
    }

    fn sweep(&self) -> Result<()> {
        // Whoever is removing one may be faster.
        for path in self.leftovers()? {
            drop(fs::remove_dir_all(path));
        }
        Ok(())
    }

    /// What a crash left, or is on its way out. Under the exclusive lock nobody makes one for a container;
    /// whoever makes one by hand holds the lock, too.
    fn leftovers(&self) -> Result<Vec<PathBuf>> {
        let folder = self.paths.volumes();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.file("list", &folder)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.file("list", &folder)?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                found.push(entry.path());
            }
        }
        Ok(found)
    }
}

fn make(staging: &Path, volume: &Volume) -> Result<()> {
    let data = staging.join("_data");
    for (directory, mode) in [(staging, 0o700), (&data, 0o755)] {
        DirBuilder::new().mode(mode).create(directory).file("create", directory)?;
    }
    let path = staging.join("volume.json");
    let bytes = serde_json::to_vec_pretty(volume).map_err(io::Error::other).file("write", &path)?;
    durable::write(&path, &bytes, 0o600).file("write", &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str) -> Volume {
        let (created, labels) = (Timestamp::UNIX_EPOCH, BTreeMap::new());
        let options = BTreeMap::new();
        Volume { name: name.to_owned(), created, labels, anonymous: false, options }
    }

    #[test]
    fn volumes_come_and_go() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path().join("lib"), root.path().join("run"));
        let volumes = Volumes::new(&paths);
        assert_eq!(volumes.list().unwrap(), []);
        assert!(volumes.ensure(&volume("data")).unwrap());
        assert!(!volumes.ensure(&volume("data")).unwrap());
        assert!(volumes.ensure(&volume("more")).unwrap());
        assert_eq!(volumes.list().unwrap(), [volume("data"), volume("more")]);
        fs::write(volumes.data("data").join("file"), "x").unwrap();
        volumes.remove("data").unwrap();
        assert_eq!(volumes.list().unwrap(), [volume("more")]);
        let gone = volumes.remove("data").unwrap_err().to_string();
        assert_eq!(gone, "get data: no such volume");
        assert!(volumes.find("../lib").is_err());
    }

    #[test]
    fn what_a_crash_left_is_swept_and_never_listed() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path().join("lib"), root.path().join("run"));
        let volumes = Volumes::new(&paths);
        volumes.ensure(&volume("data")).unwrap();
        for name in [".new-1-0", ".gone-x"] {
            fs::create_dir_all(paths.volumes().join(name).join("_data/deep")).unwrap();
        }
        assert_eq!(volumes.list().unwrap().len(), 1);
        volumes.remove("data").unwrap();
        assert_eq!(fs::read_dir(paths.volumes()).unwrap().count(), 0);
    }
}
