//! Puts one thing in its place in a layer: a file, a directory, a link, a node, a whiteout.
//!
//! Each works on an open folder and a single name in it, so that nothing is followed.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::defect::{Defect, Problem};

/// A place for one name, inside the root.
#[derive(Debug)]
pub(super) struct Place {
    folder: OwnedFd,
    name: Vec<u8>,
    /// So that putting something in does not change the folder's own time.
    before: Stat,
}

/// Owner, permissions and times, as an archive gives them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(super) modified: (i64, u32),
}

/// Why something could not be put in its place.
#[derive(Debug)]
pub(super) enum Fault {
    /// The archive is to blame.
    Problem(Problem),
    /// The kernel said no.
    Write(io::Error),
}

impl Place {
    /// The place called `name`, a single part of a path, in an open folder inside the root.
    pub(super) fn new(folder: OwnedFd, name: &[u8]) -> Result<Self, Fault> {
        let before = rustix::fs::fstat(&folder)?;
        Ok(Self { folder, name: name.to_vec(), before })
    }

    /// Makes an empty file and opens it for writing.
    pub(super) fn put_file(&self) -> Result<File, Fault> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        self.replacing(|| rustix::fs::openat(&self.folder, self.name(), flags, mode))
            .map(File::from)
    }

    /// Makes a directory, or takes the one that is there.
    pub(super) fn put_directory(&self) -> Result<OwnedFd, Fault> {
        let mode = Mode::RWXU;
        match self.look()? {
            Some(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                self.open_directory()
            }
            found => {
                self.replacing(|| rustix::fs::mkdirat(&self.folder, self.name(), mode))?;
                let directory = self.open_directory()?;
                if found.is_some_and(|found| is_whiteout(&found)) {
                    set_opaque(&directory)?;
                }
                Ok(directory)
            }
        }
    }

    /// Makes a symbolic link; its target is only text here.
    pub(super) fn put_symlink(&self, target: &[u8], attributes: Attributes) -> Result<(), Fault> {
        let target = OsStr::from_bytes(target);
        self.replacing(|| rustix::fs::symlinkat(target, &self.folder, self.name()))?;
        self.own(attributes)?;
        self.set_time(attributes)
    }

    /// Makes another name of the file at `target`.
    pub(super) fn put_link(&self, target: &Self) -> Result<(), Fault> {
        if self.is_same_as(target)? {
            return Ok(());
        }
        self.replacing(|| {
            let (from, to) = (&target.folder, &self.folder);
            rustix::fs::linkat(from, target.name(), to, self.name(), AtFlags::empty())
        })
    }

    /// Makes a fifo or a device node.
    pub(super) fn put_node(
        &self,
        kind: FileType,
        device: (u32, u32),
        attributes: Attributes,
    ) -> Result<(), Fault> {
        let device = rustix::fs::makedev(device.0, device.1);
        let mode = Mode::from_raw_mode(attributes.mode & 0o7777);
        self.replacing(|| rustix::fs::mknodat(&self.folder, self.name(), kind, mode, device))?;
        self.own(attributes)?;
        rustix::fs::chmodat(&self.folder, self.name(), mode, AtFlags::empty())?;
        self.set_time(attributes)
    }

    /// Hides the name in the layers below, by overlayfs' mark: a character device 0/0. What this
    /// layer itself has by that name stays, and a directory then shows nothing from below.
    pub(super) fn put_whiteout(&self) -> Result<(), Fault> {
        match self.look()? {
            None => {
                let kind = FileType::CharacterDevice;
                rustix::fs::mknodat(&self.folder, self.name(), kind, Mode::empty(), 0)?;
                Ok(())
            }
            Some(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                set_opaque(&self.open_directory()?)
            }
            Some(_) => Ok(()),
        }
    }

    /// Makes the folder of this place show nothing from the layers below.
    pub(super) fn set_folder_opaque(&self) -> Result<(), Fault> {
        set_opaque(&self.folder)
    }

    /// Whether a file, link or node is here that a hard link may lead to.
    pub(super) fn is_linkable(&self) -> Result<bool, Fault> {
        Ok(self.look()?.is_some_and(|found| {
            FileType::from_raw_mode(found.st_mode) != FileType::Directory && !is_whiteout(&found)
        }))
    }

    /// Gives the folder back the time it had before something was put in.
    pub(super) fn settle(&self) -> Result<(), Fault> {
        let modified =
            (self.before.st_mtime, u32::try_from(self.before.st_mtime_nsec).unwrap_or(0));
        Ok(rustix::fs::futimens(&self.folder, &times(modified))?)
    }

    fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }

    fn look(&self) -> Result<Option<Stat>, Fault> {
        match rustix::fs::statat(&self.folder, self.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn is_same_as(&self, other: &Self) -> Result<bool, Fault> {
        let key = |found: &Stat| (found.st_dev, found.st_ino);
        let here = self.look()?;
        Ok(here.is_some() && here.as_ref().map(key) == other.look()?.as_ref().map(key))
    }

    /// A later entry of the same name wins, as everywhere; but never over a filled directory.
    fn replacing<T>(&self, put: impl Fn() -> Result<T, Errno>) -> Result<T, Fault> {
        match put() {
            Err(Errno::EXIST) => {
                let found = self.look()?.map(|found| FileType::from_raw_mode(found.st_mode));
                let flags = match found {
                    Some(FileType::Directory) => AtFlags::REMOVEDIR,
                    _ => AtFlags::empty(),
                };
                match rustix::fs::unlinkat(&self.folder, self.name(), flags) {
                    Err(Errno::NOTEMPTY) => Err(Fault::Problem(Problem::ReplacesDirectory)),
                    Err(errno) => Err(errno.into()),
                    Ok(()) => Ok(put()?),
                }
            }
            other => Ok(other?),
        }
    }

    /// A folder that no entry describes: root's, open to all, as Docker makes it.
    pub(super) fn put_implied_folder(&self, path: &[Vec<u8>]) -> Result<OwnedFd, Fault> {
        match self.look()? {
            Some(found) if !is_whiteout(&found) => {
                let path = path.join(&b'/');
                return Err(Fault::Problem(Problem::BelowFile(Defect::shown(&path))));
            }
            _ => {}
        }
        let directory = self.put_directory()?;
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(0o755))?;
        self.settle()?;
        Ok(directory)
    }

    fn open_directory(&self) -> Result<OwnedFd, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.folder, self.name(), flags, Mode::empty())?)
    }

    fn own(&self, attributes: Attributes) -> Result<(), Fault> {
        let (uid, gid) = owner(attributes);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::chownat(&self.folder, self.name(), uid, gid, flags)?)
    }

    fn set_time(&self, attributes: Attributes) -> Result<(), Fault> {
        let times = times(attributes.modified);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::utimensat(&self.folder, self.name(), &times, flags)?)
    }
}

/// Sets owner, permissions, extended attributes and times of an open file or directory, in the
/// order in which none undoes another: a change of owner drops setuid and file capabilities.
pub(super) fn finish(
    file: BorrowedFd<'_>,
    attributes: Attributes,
    extended: &[(String, Vec<u8>)],
) -> Result<(), Fault> {
    let (uid, gid) = owner(attributes);
    rustix::fs::fchown(file, uid, gid)?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(attributes.mode & 0o7777))?;
    for (name, value) in extended.iter().filter(|(name, _)| belongs_to_the_image(name)) {
        match rustix::fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty()) {
            // A file system without them still holds the file.
            Err(Errno::NOTSUP) => {}
            other => other?,
        }
    }
    Ok(rustix::fs::futimens(file, &times(attributes.modified))?)
}

/// Labels of a security policy and overlayfs' own marks belong to the host that wrote them; taken
/// over, `trusted.overlay.redirect` would let a layer rearrange the ones below.
fn belongs_to_the_image(name: &str) -> bool {
    name == "security.capability"
        || name.starts_with("user.")
        || matches!(name, "system.posix_acl_access" | "system.posix_acl_default")
}

fn set_opaque(directory: &OwnedFd) -> Result<(), Fault> {
    let name = "trusted.overlay.opaque";
    Ok(rustix::fs::fsetxattr(directory.as_fd(), name, b"y", XattrFlags::empty())?)
}

fn is_whiteout(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0
}

fn owner(attributes: Attributes) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::Write(errno.into())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}
