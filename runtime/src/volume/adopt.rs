//! The first use of a volume that is a directory of the host: an empty one gets what the image has, as any other.
//!
//! The directory itself has to stay: it may be a mount point, and others have it open. So the copy is made in a
//! directory in it, and what is in that is moved up when it is whole. A note beside the volume, where nobody but us
//! writes, says which directory that is and how far it has come: what is half is thrown away by the next use,
//! what is whole is moved further. Nothing that somebody else put there is replaced, or believed. Containers may have
//! the same directory: no link in it is followed.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, Gid, Mode, OFlags, RenameFlags, Uid, fchmod, fchown, fstat, mkdirat, openat,
    renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::fill::{copy, lock};
use super::store::Volumes;
use crate::container::id;
use crate::container::store::remove_all;
use crate::durable;
use crate::error::{FileContext as _, Result};

const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Gives the directory that a volume stands for what is in another one, given by descriptor, unless it has
/// something already or we may not write there.
pub fn adopt(volumes: &Volumes<'_>, name: &str, (place, from): (&Path, &OwnedFd)) -> Result<()> {
    let volume = volumes.data(name);
    let volume = volume.parent().unwrap_or(&volume);
    // One of all volumes at a time: two may stand for the same directory.
    let _lock = lock(volume.parent().unwrap_or(volume))?;
    let directory = open_place(place).file("open", place)?;
    let book = Book(volume.join("adopting.json"));
    let copied = match book.read()? {
        Some(note) if note.whole => note.open(&directory).map(|copied| (note, copied)),
        Some(note) => {
            note.discard((&directory, place));
            book.close()?;
            None
        }
        None => None,
    };
    let (note, copied) = match copied {
        Some(copied) => copied,
        None if !is_empty(&directory).file("list", place)? => return book.close(),
        None => match begin(&book, &directory).file("create a directory in", place)? {
            None => return book.close(),
            Some((note, copied)) => {
                let whole = copy(from, &copied, volume)
                    .and_then(|()| durable::sync_file_system(place).file("write", place));
                if whole.is_err() {
                    note.discard((&directory, place));
                    return whole.and(book.close());
                }
                let note = Note { whole: true, ..note };
                book.write(&note).file("write", &book.0)?;
                (note, copied)
            }
        },
    };
    move_up(&copied, &directory).file("fill", place)?;
    remove_all(&place.join(&note.name))?;
    durable::sync_folder(place).file("write", place)?;
    book.close()
}

/// Takes away what a use that was cut short left in the directory of a volume that goes away.
pub(super) fn abandon(volume: &Path, place: &Path) {
    let note = Book(volume.join("adopting.json")).read().ok().flatten();
    if let (Some(note), Ok(directory)) = (note, open_place(place)) {
        note.discard((&directory, place));
    }
}

/// An empty directory in that one; `None` if it can be nobody's but ours.
fn begin(book: &Book, directory: &OwnedFd) -> io::Result<Option<(Note, OwnedFd)>> {
    let name = format!(".twill-{}", &id::random()[..12]);
    let note = Note { name, inode: None, whole: false };
    book.write(&note)?;
    match mkdirat(directory, &*note.name, Mode::RWXU) {
        Err(Errno::ROFS | Errno::PERM | Errno::ACCESS) => return Ok(None),
        made => made?,
    }
    let copied = openat(directory, &*note.name, FLAGS, Mode::empty())?;
    let stat = fstat(&copied)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        // A file system of others' rules: what we write is not what we write.
        _ = unlinkat(directory, &*note.name, AtFlags::REMOVEDIR);
        return Ok(None);
    }
    let note = Note { inode: Some((stat.st_dev, stat.st_ino)), ..note };
    book.write(&note)?;
    Ok(Some((note, copied)))
}

/// How far a copy has come.
#[derive(Debug, Deserialize, Serialize)]
struct Note {
    /// Of the directory that it is made in.
    name: String,
    /// Device and number of that; none before it is there.
    inode: Option<(u64, u64)>,
    whole: bool,
}

impl Note {
    /// Unless somebody has put something else in its place.
    fn open(&self, directory: &OwnedFd) -> Option<OwnedFd> {
        let copied = openat(directory, &*self.name, FLAGS, Mode::empty()).ok()?;
        let stat = fstat(&copied).ok()?;
        (self.inode == Some((stat.st_dev, stat.st_ino))).then_some(copied)
    }

    fn discard(&self, (directory, place): (&OwnedFd, &Path)) {
        if self.open(directory).is_some() {
            drop(remove_all(&place.join(&self.name)));
        } else if self.inode.is_none() {
            _ = unlinkat(directory, &*self.name, AtFlags::REMOVEDIR);
        }
    }
}

/// The file with the note.
struct Book(PathBuf);

impl Book {
    /// One that is torn says nothing.
    fn read(&self) -> Result<Option<Note>> {
        match fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            text => Ok(serde_json::from_slice(&text.file("read", &self.0)?).ok()),
        }
    }

    fn write(&self, note: &Note) -> io::Result<()> {
        durable::write(&self.0, &serde_json::to_vec(note).map_err(io::Error::other)?, 0o600)
    }

    fn close(&self) -> Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.file("remove", &self.0),
        }
    }
}

fn open_place(place: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, place, FLAGS - OFlags::NOFOLLOW, Mode::empty())
}

/// The directory becomes what the other one is, and gets what is in that.
fn move_up(copied: &OwnedFd, directory: &OwnedFd) -> rustix::io::Result<()> {
    let stat = fstat(copied)?;
    fchown(directory, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(directory, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    for entry in Dir::read_from(copied)? {
        let entry = entry?.file_name().to_owned();
        if is_name(&entry) {
            move_one(copied, directory, &entry)?;
        }
    }
    Ok(())
}

fn move_one(copied: &OwnedFd, directory: &OwnedFd, name: &CString) -> rustix::io::Result<()> {
    let name = name.as_c_str();
    match renameat_with(copied, name, directory, name, RenameFlags::NOREPLACE) {
        // Somebody on the host was faster: that counts.
        Err(Errno::EXIST) => Ok(()),
        // A file system that cannot do that, as NFS.
        Err(Errno::INVAL) => match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => renameat(copied, name, directory, name),
            there => there.map(drop),
        },
        moved => moved,
    }
}

fn is_empty(directory: &OwnedFd) -> rustix::io::Result<bool> {
    for entry in Dir::read_from(directory)? {
        if is_name(entry?.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_name(name: &std::ffi::CStr) -> bool {
    !matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use jiff::Timestamp;

    use super::*;
    use crate::Paths;
    use crate::volume::Volume;

    /// A volume `it`, an image, and the directory of the host that the volume is.
    struct World {
        _root: tempfile::TempDir,
        paths: Paths,
        image: PathBuf,
        host: PathBuf,
        book: Book,
    }

    impl World {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let paths = Paths::new(root.path().join("lib"), root.path().join("run"));
            let (created, labels) = (Timestamp::UNIX_EPOCH, BTreeMap::new());
            let options = BTreeMap::new();
            let volume = Volume { name: "it".into(), created, labels, anonymous: false, options };
            Volumes::new(&paths).ensure(&volume).unwrap();
            let [image, host] = ["image", "host"].map(|name| root.path().join(name));
            fs::create_dir_all(image.join("deep")).unwrap();
            fs::write(image.join("deep/file"), "of the image").unwrap();
            fs::write(image.join("other"), "of the image").unwrap();
            fs::set_permissions(&image, fs::Permissions::from_mode(0o750)).unwrap();
            fs::create_dir(&host).unwrap();
            let book = Book(paths.volume("it").join("adopting.json"));
            Self { _root: root, paths, image, host, book }
        }

        /// Fills, and answers what is there then.
        fn fill(&self) -> String {
            let from = OwnedFd::from(File::open(&self.image).unwrap());
            adopt(&Volumes::new(&self.paths), "it", (&self.host, &from)).unwrap();
            self.list()
        }

        fn list(&self) -> String {
            let names = fs::read_dir(&self.host).unwrap().map(|it| it.unwrap().file_name());
            let mut names: Vec<String> = names.map(|it| it.into_string().unwrap()).collect();
            names.sort();
            names.join(" ")
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.host.join(name)).unwrap()
        }

        /// A directory of a use that was cut short.
        fn staging(&self) -> (u64, u64) {
            let staging = self.host.join(".twill-1");
            fs::create_dir_all(staging.join("deep")).unwrap();
            fs::write(staging.join("deep/file"), "of the image").unwrap();
            fs::write(staging.join("other"), "of the image").unwrap();
            let found = fs::metadata(&staging).unwrap();
            (found.dev(), found.ino())
        }

        fn note(&self, inode: Option<(u64, u64)>, whole: bool) {
            self.book.write(&Note { name: ".twill-1".into(), inode, whole }).unwrap();
        }
    }

    #[test]
    fn an_empty_directory_of_the_host_is_filled_and_nothing_in_it_is_replaced() {
        let world = World::new();
        // Somebody died over the copy.
        world.note(Some(world.staging()), false);
        assert_eq!(
            (world.fill(), world.read("deep/file")),
            ("deep other".into(), "of the image".into())
        );
        assert_eq!(fs::metadata(&world.host).unwrap().permissions().mode() & 0o7777, 0o750);
        assert!(!world.book.0.exists());
        fs::write(world.host.join("other"), "changed").unwrap();
        fs::remove_dir_all(world.host.join("deep")).unwrap();
        assert_eq!((world.fill(), world.read("other")), ("other".into(), "changed".into()));
        // Somebody died between two moves, and somebody else wrote where the next one goes.
        world.note(Some(world.staging()), true);
        assert_eq!((world.fill(), world.read("other")), ("deep other".into(), "changed".into()));
        assert_eq!(world.read("deep/file"), "of the image");
    }

    #[test]
    fn what_only_looks_like_ours_is_anybodys() {
        let world = World::new();
        let ours = world.staging();
        for inode in [None, Some((1, 1))] {
            world.note(inode, true);
            assert_eq!(world.fill(), ".twill-1");
        }
        // A volume that goes away takes what is half along.
        world.note(Some(ours), false);
        abandon(&world.paths.volume("it"), &world.host);
        assert_eq!(world.list(), "");
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
        let found = fs::metadata(&secrets).unwrap();
        std::os::unix::fs::symlink(&secrets, host.join(".twill-1")).unwrap();
        for whole in [false, true] {
            let inode = Some((found.dev(), found.ino()));
            let book = Book(volumes.data("it").with_file_name("adopting.json"));
            book.write(&Note { name: ".twill-1".into(), inode, whole }).unwrap();
            adopt(&volumes, "it", (&host, &from)).unwrap();
            assert_eq!(fs::read_to_string(secrets.join("file")).unwrap(), "secrets");
            assert_eq!(fs::read_to_string(host.join("file")).unwrap(), "host");
        }
    }
}
