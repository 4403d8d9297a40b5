//! The first use of a volume that is a directory of the host: an empty one gets what the image has, as any other.
//!
//! The directory itself has to stay: it may be a mount point, and others have it open. So the copy is made in a
//! directory in it, gets another name when it is whole, and what is in it is moved up. A crash leaves one of the
//! two: what is half is thrown away by the next use, what is whole is moved further. Nothing that somebody
//! else put there is replaced. Containers may have the same directory: no link in it is followed.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, Gid, Mode, OFlags, RenameFlags, Uid, fchmod, fchown, fstat, mkdirat, openat,
    renameat_with, statat,
};
use rustix::io::Errno;

use super::fill::{copy, lock};
use super::store::Volumes;
use crate::container::store::remove_all;
use crate::durable;
use crate::error::{FileContext as _, Result};

const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Gives the directory that a volume stands for what is in another one, given by descriptor, unless it has
/// something already or nobody may write there.
pub fn adopt(volumes: &Volumes<'_>, name: &str, (place, from): (&Path, &OwnedFd)) -> Result<()> {
    let volume = volumes.data(name);
    let volume = volume.parent().unwrap_or(&volume);
    let _lock = lock(volume)?;
    let (half, whole) = (format!(".twill-{name}.half"), format!(".twill-{name}.whole"));
    let directory = openat(CWD, place, FLAGS - OFlags::NOFOLLOW, Mode::empty());
    let directory = directory.file("open", place)?;
    if statat(&directory, &*whole, AtFlags::SYMLINK_NOFOLLOW).is_err() {
        remove_all(&place.join(&half))?;
        if !is_empty(&directory).file("list", place)? {
            return Ok(());
        }
        match mkdirat(&directory, &*half, Mode::RWXU) {
            Err(Errno::ROFS) => return Ok(()),
            made => made.file("create a directory in", place)?,
        }
        let copied = openat(&directory, &*half, FLAGS, Mode::empty()).file("open", place)?;
        copy(from, &copied, volume)?;
        durable::sync_file_system(place).file("write", place)?;
        renameat_with(&directory, &*half, &directory, &*whole, RenameFlags::NOREPLACE)
            .file("fill", place)?;
    }
    let copied = openat(&directory, &*whole, FLAGS, Mode::empty()).file("open", place)?;
    move_up(&copied, &directory).file("fill", place)?;
    remove_all(&place.join(&whole))?;
    durable::sync_folder(place).file("write", place)
}

/// The directory becomes what the other one is, and gets what is in that.
fn move_up(copied: &OwnedFd, directory: &OwnedFd) -> rustix::io::Result<()> {
    let stat = fstat(copied)?;
    fchown(directory, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(directory, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    for entry in entries(copied)? {
        match renameat_with(copied, &*entry, directory, &*entry, RenameFlags::NOREPLACE) {
            // Somebody on the host was faster: that counts.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_empty(directory: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(entries(directory)?.is_empty())
}

fn entries(directory: &OwnedFd) -> rustix::io::Result<Vec<std::ffi::CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt as _;

    use jiff::Timestamp;

    use super::*;
    use crate::Paths;
    use crate::volume::Volume;

    #[test]
    fn an_empty_directory_of_the_host_is_filled_and_nothing_in_it_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path().join("lib"), root.path().join("run"));
        let volumes = Volumes::new(&paths);
        let (created, labels) = (Timestamp::UNIX_EPOCH, BTreeMap::new());
        let options = BTreeMap::new();
        let volume = Volume { name: "it".into(), created, labels, anonymous: false, options };
        volumes.ensure(&volume).unwrap();
        let image = root.path().join("image");
        fs::create_dir_all(image.join("deep")).unwrap();
        fs::write(image.join("deep/file"), "of the image").unwrap();
        fs::write(image.join("other"), "of the image").unwrap();
        fs::set_permissions(&image, fs::Permissions::from_mode(0o750)).unwrap();
        let host = root.path().join("host");
        fs::create_dir(&host).unwrap();
        let fill = || {
            let from = OwnedFd::from(File::open(&image).unwrap());
            adopt(&volumes, "it", (&host, &from)).unwrap();
        };
        let list = || {
            let names = fs::read_dir(&host).unwrap().map(|it| it.unwrap().file_name());
            let mut names: Vec<String> = names.map(|it| it.into_string().unwrap()).collect();
            names.sort();
            names.join(" ")
        };
        let read = |name: &str| fs::read_to_string(host.join(name)).unwrap();
        // Somebody died over the copy.
        fs::create_dir_all(host.join(".twill-it.half/old")).unwrap();
        fill();
        assert_eq!((list().as_str(), read("deep/file").as_str()), ("deep other", "of the image"));
        assert_eq!(fs::metadata(&host).unwrap().permissions().mode() & 0o7777, 0o750);
        fs::write(host.join("other"), "changed").unwrap();
        fs::remove_dir_all(host.join("deep")).unwrap();
        fill();
        assert_eq!((list().as_str(), read("other").as_str()), ("other", "changed"));
        // Somebody died between two moves, and somebody else wrote where the next one goes.
        let whole = host.join(".twill-it.whole");
        fs::create_dir_all(whole.join("deep")).unwrap();
        fs::write(whole.join("deep/file"), "of the image").unwrap();
        fs::write(whole.join("other"), "of the image").unwrap();
        fill();
        assert_eq!((list().as_str(), read("other").as_str()), ("deep other", "changed"));
        assert_eq!(read("deep/file"), "of the image");
    }

    #[test]
    fn a_link_of_a_containers_leads_nowhere() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path().join("lib"), root.path().join("run"));
        let volumes = Volumes::new(&paths);
        fs::create_dir_all(volumes.data("it")).unwrap();
        for name in ["image", "host", "secrets"] {
            fs::create_dir(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join("file"), name).unwrap();
        }
        let (host, secrets) = (root.path().join("host"), root.path().join("secrets"));
        let from = OwnedFd::from(File::open(root.path().join("image")).unwrap());
        for name in ["half", "whole"] {
            let link = host.join(format!(".twill-it.{name}"));
            std::os::unix::fs::symlink(&secrets, &link).unwrap();
            let filled = adopt(&volumes, "it", (&host, &from));
            assert_eq!(filled.is_ok(), name == "half");
            assert_eq!(fs::read_to_string(secrets.join("file")).unwrap(), "secrets");
            drop(fs::remove_file(&link));
        }
    }
}
