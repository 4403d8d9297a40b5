//! What a container changed of its image's files: its own layer, compared with those below.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat, openat2, statat,
};
use rustix::io::Errno;

use super::record::Record;
use crate::Paths;
use crate::error::{FileContext as _, Result};

/// Deeper than any path that the kernel takes.
const DEPTH: usize = 2048;

/// Made so that something of the host can be mounted there; no change of the container's.
const MOUNT_POINTS: [&str; 10] = [
    "/.dockerenv",
    "/dev",
    "/dev/console",
    "/dev/pts",
    "/dev/shm",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
];

/// What became of a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The image has none.
    Added,
    /// The image has another.
    Changed,
    /// The image has one.
    Deleted,
}

impl Kind {
    /// Docker's.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// One path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// From the container's root.
    pub path: PathBuf,
    /// What became of it.
    pub kind: Kind,
}

/// All changes, by path.
pub fn list(paths: &Paths, record: &Record) -> Result<Vec<Change>> {
    let upper = paths.container(&record.id).join("upper");
    compare(&upper, &record.image.layers)
}

fn compare(upper: &Path, layers: &[PathBuf]) -> Result<Vec<Change>> {
    let root = match File::open(upper) {
        // Never started.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        root => root.file("open", upper)?,
    };
    let mut lower = Vec::new();
    for layer in layers.iter().rev() {
        lower.push(File::open(layer).file("open", layer)?);
    }
    let mut walk = Walk { lower: &lower, found: BTreeMap::new() };
    let whole = Place { path: PathBuf::from("/"), hidden: false };
    walk.directory(&root.into(), &whole, DEPTH)
        .map_err(io::Error::from)
        .file("look through", upper)?;
    Ok(walk.found.into_iter().map(|(path, kind)| Change { path, kind }).collect())
}

struct Place {
    path: PathBuf,
    /// Is nothing of the image to be seen here?
    hidden: bool,
}

struct Walk<'a> {
    /// The image's layers, the top one first.
    lower: &'a [File],
    found: BTreeMap<PathBuf, Kind>,
}

impl Walk<'_> {
    /// Nothing is followed: each step is one name in an open directory.
    fn directory(&mut self, directory: &OwnedFd, place: &Place, depth: usize) -> Looked {
        if depth == 0 {
            return Err(Errno::NAMETOOLONG);
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(directory)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        for name in names {
            let Some(below) = self.name(directory, &name, place)? else { continue };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(directory, &name, flags, Mode::empty()) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                inner => self.inside(&inner?, below, depth - 1)?,
            }
        }
        Ok(())
    }

    /// One name; the answer is where to go on, if it is a directory.
    fn name(&mut self, directory: &OwnedFd, name: &OsStr, place: &Place) -> Looked<Option<Place>> {
        let path = place.path.join(name);
        let here = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            // A container that runs takes things away while we look.
            Err(Errno::NOENT) => return Ok(None),
            here => here?,
        };
        let before = if place.hidden { None } else { self.before(&path)? };
        if is_whiteout(&here) {
            if before.is_some() {
                self.record(path, Kind::Deleted);
            }
            return Ok(None);
        }
        let is_directory = is_directory(&here);
        if before.is_none() && is_mount_point(&path) && (is_directory || here.st_size == 0) {
            return Ok(None);
        }
        match &before {
            None => self.record(path.clone(), Kind::Added),
            // A directory is there for what is in it.
            Some(before) if is_directory && self::is_directory(before) => {
                if !has_same_owner_and_mode(before, &here) {
                    self.record(path.clone(), Kind::Changed);
                }
            }
            Some(_) => self.record(path.clone(), Kind::Changed),
        }
        Ok(is_directory.then_some(Place { path, hidden: place.hidden || before.is_none() }))
    }

    fn inside(&mut self, directory: &OwnedFd, place: Place, depth: usize) -> Looked {
        let opaque = is_opaque(directory);
        if opaque && !place.hidden {
            self.deleted_below(&place.path)?;
        }
        self.directory(directory, &Place { hidden: place.hidden || opaque, ..place }, depth)
    }

    /// What is changed changes the directories above.
    fn record(&mut self, path: PathBuf, kind: Kind) {
        for above in path.ancestors().skip(1).filter(|above| *above != Path::new("/")) {
            self.found.entry(above.to_owned()).or_insert(Kind::Changed);
        }
        self.found.insert(path, kind);
    }

    /// What the image shows at a path.
    fn before(&self, path: &Path) -> rustix::io::Result<Option<Stat>> {
        for layer in self.lower {
            match look_into(layer, path)? {
                Seen::Here(found) => return Ok(Some(found)),
                Seen::Hidden => return Ok(None),
                Seen::Not => {}
            }
        }
        Ok(None)
    }

    /// A directory that shows nothing from below was removed and made again: what is not in it any
    /// more is gone.
    fn deleted_below(&mut self, path: &Path) -> rustix::io::Result<()> {
        let mut names = std::collections::BTreeSet::new();
        for layer in self.lower {
            let Ok(directory) = open_below(layer, path, OFlags::RDONLY | OFlags::DIRECTORY) else {
                continue;
            };
            for entry in Dir::read_from(&directory)? {
                names.insert(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned());
            }
        }
        for name in names.into_iter().filter(|name| name != "." && name != "..") {
            let path = path.join(name);
            if self.before(&path)?.is_some() {
                // Found again in the layer above, it becomes something else.
                self.record(path, Kind::Deleted);
            }
        }
        Ok(())
    }
}

type Looked<T = ()> = rustix::io::Result<T>;

/// What one layer says about a path.
enum Seen {
    Here(Stat),
    /// It, or a directory above, hides what is below.
    Hidden,
    Not,
}

fn look_into(layer: &File, path: &Path) -> rustix::io::Result<Seen> {
    let mut opaque = false;
    for above in path.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
        match open_below(layer, above, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(directory) => opaque |= is_opaque(&directory),
            Err(Errno::NOENT) => return Ok(missing(opaque)),
            // A file, a link or a whiteout instead of a directory.
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Seen::Hidden),
            Err(error) => return Err(error),
        }
    }
    let found = match open_below(layer, path, OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(file) => rustix::fs::fstat(&file)?,
        Err(Errno::NOENT) => return Ok(missing(opaque)),
        Err(error) => return Err(error),
    };
    Ok(if is_whiteout(&found) { Seen::Hidden } else { Seen::Here(found) })
}

/// Below an opaque directory nothing of the layers under it is seen.
fn missing(below_opaque: bool) -> Seen {
    if below_opaque { Seen::Hidden } else { Seen::Not }
}

/// Links are nothing that leads anywhere here.
fn open_below(root: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(root, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn is_directory(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

fn is_whiteout(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0
}

/// Does it hide what is below it?
pub(crate) fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0; 1];
    let length = rustix::fs::fgetxattr(directory, "trusted.overlay.opaque", &mut value);
    length == Ok(1) && value == *b"y"
}

/// Was it made for a mount of ours?
pub(crate) fn is_mount_point(path: &Path) -> bool {
    MOUNT_POINTS.iter().any(|point| Path::new(point) == path)
}

fn has_same_owner_and_mode(before: &Stat, here: &Stat) -> bool {
    (before.st_mode, before.st_uid, before.st_gid) == (here.st_mode, here.st_uid, here.st_gid)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn paths_are_compared_through_all_layers() {
        let root = tempfile::tempdir().unwrap();
        let make = |layer: &str, path: &str| {
            let path = root.path().join(layer).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        for (layer, path) in [
            ("low", "etc/kept"),
            ("low", "etc/changed"),
            ("low", "usr/bin/tool"),
            ("top", "etc/group"),
            ("upper", "etc/changed"),
            ("upper", "new/deep/file"),
            ("upper", "usr/bin/other"),
            ("upper", "root"),
            ("low", "shut/in/old"),
            ("top", "shut/in/other"),
            ("upper", "shut/in/old"),
        ] {
            make(layer, path);
        }
        for directory in ["upper/proc", "upper/var", "low/var"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        fs::write(root.path().join("upper/etc/hosts"), "").unwrap();
        // What lies in a lower layer below it, however deep, is not seen.
        let (shut, flags) = (root.path().join("top/shut"), rustix::fs::XattrFlags::empty());
        rustix::fs::setxattr(&shut, "trusted.overlay.opaque", b"y", flags).unwrap();
        let layers = ["low", "top"].map(|name| root.path().join(name));
        let got = compare(&root.path().join("upper"), &layers).unwrap();
        let line = |it: &Change| format!("{} {}", it.kind.letter(), it.path.display());
        let lines: Vec<String> = got.iter().map(line).collect();
        assert_eq!(
            lines,
            [
                "C /etc",
                "C /etc/changed",
                "A /new",
                "A /new/deep",
                "A /new/deep/file",
                "A /root",
                "C /shut",
                "C /shut/in",
                "A /shut/in/old",
                "C /usr",
                "C /usr/bin",
                "A /usr/bin/other",
            ]
        );
        assert_eq!(compare(&root.path().join("nosuch"), &layers).unwrap(), []);
    }
}
