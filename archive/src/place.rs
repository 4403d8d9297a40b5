//! Puts one thing in its place in a layer: a file, a directory, a link, a node, a whiteout.
//!
//! Each works on an open folder and a single name in it, so that nothing is followed.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{
    AtFlags, CWD, Dev, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::defect::{Defect, Problem};

/// A place for one name, inside the root.
#[derive(Debug)]
pub(crate) struct Place {
    folder: OwnedFd,
    name: Vec<u8>,
    /// So that putting something in does not change the folder's own time.
    before: Stat,
    /// May a directory take the place of something else, and the reverse?
    replaces_kinds: bool,
    /// Bytes of the file whose place was taken.
    replaced: Cell<u64>,
}

/// Owner, permissions and times, as an archive gives them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(crate) modified: (i64, u32),
}

/// Why something could not be put in its place.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The archive is to blame.
    Problem(Problem),
    /// The kernel said no.
    Write(io::Error),
}

impl Place {
    /// The place called `name`, a single part of a path, in an open folder inside the root.
    pub(crate) fn new(folder: OwnedFd, name: &[u8]) -> Result<Self, Fault> {
        let before = rustix::fs::fstat(&folder)?;
        let replaced = Cell::new(0);
        Ok(Self { folder, name: name.to_vec(), before, replaces_kinds: true, replaced })
    }

    /// The same, but a directory stays one, and nothing else becomes one.
    pub(crate) fn keeping_kinds(self) -> Self {
        Self { replaces_kinds: false, ..self }
    }

    /// Bytes that nobody can read any more, since something else took the place of their file.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced.get()
    }

    /// Makes an empty file and opens it for writing.
    pub(crate) fn put_file(&self) -> Result<File, Fault> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        self.replacing(|| rustix::fs::openat(&self.folder, self.name(), flags, mode))
            .map(File::from)
    }

    /// Opens a regular file that is here, to read it.
    pub(crate) fn open_file(&self) -> io::Result<File> {
        // To open a pipe would wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.folder, self.name(), flags, Mode::empty())?;
        let file = File::from(opened);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// Makes a directory, or takes the one that is there.
    pub(crate) fn put_directory(&self) -> Result<OwnedFd, Fault> {
        let mode = Mode::RWXU;
        match self.look()? {
            Some(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                self.open_directory()
            }
            Some(_) if !self.replaces_kinds => Err(Problem::DirectoryOverOther.into()),
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
    pub(crate) fn put_symlink(&self, target: &[u8], attributes: Attributes) -> Result<(), Fault> {
        let target = OsStr::from_bytes(target);
        self.replacing(|| rustix::fs::symlinkat(target, &self.folder, self.name()))?;
        describe(&self.open_made(FileType::Symlink, 0)?, attributes)
    }

    /// Makes another name of the file at `target`.
    pub(crate) fn put_link(&self, target: &Self) -> Result<(), Fault> {
        if self.is_same_as(target)? {
            return Ok(());
        }
        self.replacing(|| {
            let (from, to) = (&target.folder, &self.folder);
            rustix::fs::linkat(from, target.name(), to, self.name(), AtFlags::empty())
        })
    }

    /// Makes a fifo or a device node.
    pub(crate) fn put_node(
        &self,
        kind: FileType,
        device: (u32, u32),
        attributes: Attributes,
    ) -> Result<(), Fault> {
        let device = rustix::fs::makedev(device.0, device.1);
        let mode = Mode::from_raw_mode(attributes.mode & 0o7777);
        self.replacing(|| rustix::fs::mknodat(&self.folder, self.name(), kind, mode, device))?;
        let node = self.open_made(kind, device)?;
        describe(&node, attributes)?;
        // After the owner: a change of that drops setuid.
        Ok(rustix::fs::chmod(magic_link(&node), mode)?)
    }

    /// Hides the name in the layers below, by overlayfs' mark: a character device 0/0. What this
    /// layer itself has by that name stays, and a directory then shows nothing from below.
    pub(crate) fn put_whiteout(&self) -> Result<(), Fault> {
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
    pub(crate) fn set_folder_opaque(&self) -> Result<(), Fault> {
        set_opaque(&self.folder)
    }

    /// Whether a file, link or node is here that a hard link may lead to.
    pub(crate) fn is_linkable(&self) -> Result<bool, Fault> {
        Ok(self.look()?.is_some_and(|found| {
            FileType::from_raw_mode(found.st_mode) != FileType::Directory && !is_whiteout(&found)
        }))
    }

    /// Gives the folder back the time it had before something was put in.
    pub(crate) fn settle(&self) -> Result<(), Fault> {
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
                let found = self.look()?;
                let flags = match found.map(|found| FileType::from_raw_mode(found.st_mode)) {
                    Some(FileType::Directory) if !self.replaces_kinds => {
                        return Err(Problem::OtherOverDirectory.into());
                    }
                    Some(FileType::Directory) => AtFlags::REMOVEDIR,
                    _ => AtFlags::empty(),
                };
                match rustix::fs::unlinkat(&self.folder, self.name(), flags) {
                    Err(Errno::NOTEMPTY) => Err(Fault::Problem(Problem::ReplacesDirectory)),
                    Err(errno) => Err(errno.into()),
                    Ok(()) => {
                        self.replaced.set(found.as_ref().map_or(0, own_bytes));
                        Ok(put()?)
                    }
                }
            }
            other => Ok(other?),
        }
    }

    /// A folder that no entry describes: root's, open to all, as Docker makes it.
    pub(crate) fn put_implied_folder(&self, path: &[Vec<u8>]) -> Result<OwnedFd, Fault> {
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

    /// What was made just now, open whatever it is. A container that runs may have put something else
    /// there: a link there would lead our rights to any file.
    fn open_made(&self, kind: FileType, device: Dev) -> Result<OwnedFd, Fault> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, self.name(), flags, Mode::empty())?;
        let found = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(found.st_mode) == kind && found.st_rdev == device {
            Ok(file)
        } else {
            Err(Problem::Exchanged.into())
        }
    }
}

/// Owner and time of a link or a node.
fn describe(made: &OwnedFd, attributes: Attributes) -> Result<(), Fault> {
    let (uid, gid) = owner(attributes);
    rustix::fs::chownat(made, "", uid, gid, AtFlags::EMPTY_PATH)?;
    let times = times(attributes.modified);
    Ok(rustix::fs::utimensat(CWD, magic_link(made), &times, AtFlags::empty())?)
}

/// A path that leads to what is open and nowhere else, for calls that take no such descriptor. Where it
/// is a link itself, it is not followed.
fn magic_link(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Sets owner, permissions, extended attributes and times of an open file or directory, in the
/// order in which none undoes another: a change of owner drops setuid and file capabilities.
pub(crate) fn finish(
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

/// Of a file that has no other name.
fn own_bytes(found: &Stat) -> u64 {
    let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
    if is_file && found.st_nlink == 1 { u64::try_from(found.st_size).unwrap_or(0) } else { 0 }
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn what_is_exchanged_meanwhile_leads_nowhere() {
        let root = tempfile::tempdir().unwrap();
        let (victim, folder) = (root.path().join("victim"), root.path().join("folder"));
        fs::write(&victim, "of the host").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(&folder).unwrap();
        let place = |name: &[u8]| Place::new(File::open(&folder).unwrap().into(), name).unwrap();
        let attributes = Attributes {
            mode: 0o4777,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            modified: (7, 0),
        };
        symlink(&victim, folder.join("link")).unwrap();
        let refused = place(b"link").open_made(FileType::Fifo, 0).unwrap_err();
        assert!(matches!(refused, Fault::Problem(Problem::Exchanged)));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    drop(symlink(&victim, folder.join("new")));
                    let met = folder.join("fifo").symlink_metadata();
                    if met.is_ok_and(|met| met.file_type().is_fifo()) {
                        drop(fs::rename(folder.join("new"), folder.join("fifo")));
                    }
                }
            });
            for _ in 0..2000 {
                drop(place(b"fifo").put_node(FileType::Fifo, (0, 0), attributes));
            }
            done.store(true, Ordering::Relaxed);
        });
        let found = victim.metadata().unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, 0o600);
        assert_ne!(
            found.modified().unwrap(),
            std::time::UNIX_EPOCH + std::time::Duration::from_secs(7)
        );
        // Left alone, it is what was asked for.
        place(b"quiet").put_node(FileType::Fifo, (0, 0), attributes).unwrap();
        let made = folder.join("quiet").metadata().unwrap();
        assert_eq!(
            (made.permissions().mode() & 0o7777, made.file_type().is_fifo()),
            (0o4777, true)
        );
        place(b"way").put_symlink(b"quiet", attributes).unwrap();
        let time = folder.join("way").symlink_metadata().unwrap().modified().unwrap();
        assert_eq!(time, std::time::UNIX_EPOCH + std::time::Duration::from_secs(7));
    }
}
