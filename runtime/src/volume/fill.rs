//! The first use of a volume: it gets what the image has at its path, with owners and modes.
//!
//! It is filled beside its place and put there in one step, which only works while the place is empty. So a crash
//! leaves an empty volume or a full one, and nothing that was ever written to a volume is taken away.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Seek as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rustix::fs::{Mode, OFlags, fchmod, fchown, fstat};

use super::memory::Mounted;
use super::store::Volumes;
use crate::container::store::remove_all;
use crate::copy::{Owner, pack_contents};
use crate::durable;
use crate::error::{Error, FileContext as _, Result};
use crate::image::{Devices, extract};

/// Somebody has the volume's directory before them: it stays that very directory as long as this is there.
#[derive(Debug, Default)]
#[must_use = "the directory may be replaced at once when it is not kept"]
#[expect(dead_code, reason = "held for its drop")]
pub struct Use {
    directory: Option<Flock<File>>,
    memory: Option<Mounted>,
}

impl Use {
    fn of_directory(lock: Flock<File>) -> Self {
        Self { directory: Some(lock), memory: None }
    }

    pub(super) fn of_memory(mounted: Mounted) -> Self {
        Self { directory: None, memory: Some(mounted) }
    }
}

/// Takes a volume into use; an empty one that nobody else uses gets what is in a directory, given by
/// descriptor.
pub fn take(volumes: &Volumes<'_>, name: &str, from: Option<&OwnedFd>) -> Result<Use> {
    let data = volumes.data(name);
    let volume = data.parent().unwrap_or(&data).to_owned();
    let _lock = lock(&volume)?;
    if let Some(from) = from {
        fill(from, &volume, &data)?;
    }
    let place = File::open(&data).file("open", &data)?;
    match Flock::lock(place, FlockArg::LockSharedNonblock) {
        Ok(lock) => Ok(Use::of_directory(lock)),
        // A program in a container has it, and keeps the directory in its place as well.
        Err((_, Errno::EWOULDBLOCK)) => Ok(Use::default()),
        Err((_, error)) => Err(error).file("lock", &data),
    }
}

/// While it is held, nobody else fills the volume in this directory.
pub(super) fn lock(volume: &Path) -> Result<Flock<File>> {
    let lock = File::open(volume).file("open", volume)?;
    let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error);
    lock.file("lock", volume)
}

fn fill(from: &OwnedFd, volume: &Path, data: &Path) -> Result<()> {
    let beside = volume.join(".filling");
    remove_all(&beside)?;
    let place = File::open(data).file("open", data)?;
    let _alone = match Flock::lock(place, FlockArg::LockExclusiveNonblock) {
        Ok(alone) => alone,
        // A container sees the empty directory: it would go on with that one.
        Err((_, Errno::EWOULDBLOCK)) => return Ok(()),
        Err((_, error)) => return Err(error).file("lock", data),
    };
    if !is_empty(data).file("list", data)? {
        return Ok(());
    }
    DirBuilder::new().mode(0o700).create(&beside).file("create", &beside)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&beside, flags, Mode::empty()).file("open", &beside)?;
    copy(from, &root, volume)?;
    durable::sync_file_system(&beside).file("write", &beside)?;
    match fs::rename(&beside, data) {
        Ok(()) => durable::sync_folder(volume).file("write", volume),
        // Somebody on the host wrote into it just now, or put something else there: that counts.
        Err(error) if is_taken(&error) => remove_all(&beside),
        Err(error) => Err(error).file("fill", data),
    }
}

fn is_taken(error: &io::Error) -> bool {
    let error = error.raw_os_error().map(Errno::from_raw);
    matches!(
        error,
        Some(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EBUSY | Errno::EXDEV | Errno::ENOTDIR)
    )
}

/// Copies into an empty directory, by way of a file without a name in a folder.
pub(super) fn copy(from: &OwnedFd, root: &OwnedFd, folder: &Path) -> Result<()> {
    let mut spool = tempfile::tempfile_in(folder).file("create a file in", folder)?;
    pack_contents(from, &mut spool, Owner::Same).file("read what the image has for", folder)?;
    spool.rewind().file("read", folder)?;
    let root_again = root.try_clone().file("open", folder)?;
    extract(io::BufReader::new(spool), root_again, Devices::All)
        .map_err(|defect| Error::Unpack(Box::new(defect)))?;
    // The volume is what the directory was.
    let stat = fstat(from).file("look at what the image has for", folder)?;
    let owner = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    fchown(root, Some(owner.0), Some(owner.1)).file("fill", folder)?;
    fchmod(root, Mode::from_raw_mode(stat.st_mode & 0o7777)).file("fill", folder)
}

fn is_empty(directory: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(directory)?.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::Paths;
    use crate::volume::Volume;

    #[test]
    fn only_an_empty_volume_that_nobody_uses_is_filled() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path().join("lib"), root.path().join("run"));
        let volumes = Volumes::new(&paths);
        let (created, labels) = (Timestamp::UNIX_EPOCH, BTreeMap::new());
        let options = BTreeMap::new();
        let volume = Volume { name: "data".into(), created, labels, anonymous: false, options };
        volumes.ensure(&volume).unwrap();
        let image = root.path().join("image");
        fs::create_dir_all(image.join("deep/er")).unwrap();
        fs::write(image.join("deep/file"), "of the image").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", image.join("link")).unwrap();
        let from = || OwnedFd::from(File::open(&image).unwrap());
        let fill = |name: &str| take(&volumes, name, Some(&from())).unwrap();
        drop(fill("data"));
        let data = volumes.data("data");
        assert_eq!(fs::read_to_string(data.join("deep/file")).unwrap(), "of the image");
        assert_eq!(fs::read_link(data.join("link")).unwrap(), Path::new("/etc/passwd"));
        fs::write(data.join("deep/file"), "changed").unwrap();
        drop(fill("data"));
        assert_eq!(fs::read_to_string(data.join("deep/file")).unwrap(), "changed");
        // Somebody died over it: what is in the volume stays, what lies beside it goes.
        let beside = data.parent().unwrap().join(".filling");
        fs::create_dir_all(beside.join("half")).unwrap();
        drop(fill("data"));
        assert_eq!(fs::read_to_string(data.join("deep/file")).unwrap(), "changed");
        assert!(!beside.exists());
        // A container lives on the empty one.
        fs::remove_dir_all(&data).unwrap();
        fs::create_dir(&data).unwrap();
        let used = take(&volumes, "data", None).unwrap();
        let second = fill("data");
        assert!(is_empty(&data).unwrap());
        drop((used, second));
        drop(fill("data"));
        assert!(data.join("deep/file").exists());
    }
}
