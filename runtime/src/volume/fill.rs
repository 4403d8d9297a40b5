//! The first use of a volume: it gets what the image has at its path, with owners and modes.
//!
//! A file says that it is being filled; whoever finds that file begins anew, and whoever comes
//! meanwhile waits. So a crash leaves an empty volume or a full one to the next container.

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use rustix::fs::{Mode, OFlags, fchmod, fchown, fstat};

use super::store::Volumes;
use crate::copy::{Owner, pack_contents};
use crate::durable;
use crate::error::{Error, FileContext as _, Result};
use crate::image::{Devices, extract};

/// Fills an empty volume with what is in a directory, given by descriptor.
pub fn fill(volumes: &Volumes<'_>, name: &str, from: &OwnedFd) -> Result<()> {
    let data = volumes.data(name);
    let volume = data.parent().unwrap_or(&data).to_owned();
    let lock = File::open(&volume).file("open", &volume)?;
    let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error);
    let _lock = lock.file("lock", &volume)?;
    let mark = volume.join("filling");
    if mark.exists() {
        empty(&data).file("empty", &data)?;
    } else if !is_empty(&data).file("list", &data)? {
        return Ok(());
    }
    fs::write(&mark, "").file("write", &mark)?;
    durable::sync_folder(&volume).file("write", &volume)?;
    copy(from, &data)?;
    durable::sync_file_system(&data).file("write", &data)?;
    fs::remove_file(&mark).file("remove", &mark)
}

fn copy(from: &OwnedFd, data: &Path) -> Result<()> {
    // On the disk that it goes to; it has no name.
    let folder = data.parent().unwrap_or(data);
    let mut spool = tempfile::tempfile_in(folder).file("create a file in", folder)?;
    pack_contents(from, &mut spool, Owner::Same).file("read what the image has for", data)?;
    spool.rewind().file("read", folder)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(data, flags, Mode::empty()).file("open", data)?;
    let root_again = root.try_clone().file("open", data)?;
    extract(io::BufReader::new(spool), root_again, Devices::All)
        .map_err(|defect| Error::Unpack(Box::new(defect)))?;
    // The volume is what the directory was.
    let stat = fstat(from).file("look at what the image has for", data)?;
    let owner = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    fchown(&root, Some(owner.0), Some(owner.1)).file("change", data)?;
    fchmod(&root, Mode::from_raw_mode(stat.st_mode & 0o7777)).file("change", data)
}

fn is_empty(directory: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(directory)?.next().is_none())
}

fn empty(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::Paths;
    use crate::volume::Volume;

    #[test]
    fn only_an_empty_volume_is_filled_and_a_half_one_anew() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path().join("lib"), root.path().join("run"));
        let volumes = Volumes::new(&paths);
        let (created, labels) = (Timestamp::UNIX_EPOCH, BTreeMap::new());
        volumes.ensure(&Volume { name: "data".into(), created, labels, anonymous: false }).unwrap();
        let image = root.path().join("image");
        fs::create_dir_all(image.join("deep/er")).unwrap();
        fs::write(image.join("deep/file"), "of the image").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", image.join("link")).unwrap();
        let from = || OwnedFd::from(File::open(&image).unwrap());
        fill(&volumes, "data", &from()).unwrap();
        let data = volumes.data("data");
        assert_eq!(fs::read_to_string(data.join("deep/file")).unwrap(), "of the image");
        assert_eq!(fs::read_link(data.join("link")).unwrap(), Path::new("/etc/passwd"));
        fs::write(data.join("deep/file"), "changed").unwrap();
        fill(&volumes, "data", &from()).unwrap();
        assert_eq!(fs::read_to_string(data.join("deep/file")).unwrap(), "changed");
        // Somebody died over it.
        fs::write(data.parent().unwrap().join("filling"), "").unwrap();
        fs::write(data.join("half"), "").unwrap();
        fill(&volumes, "data", &from()).unwrap();
        assert_eq!(fs::read_to_string(data.join("deep/file")).unwrap(), "of the image");
        assert!(!data.join("half").exists());
    }
}
