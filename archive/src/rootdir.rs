//! Writes below one directory and nowhere else, whatever the names and links say.
//!
//! Every path is resolved by the kernel with the directory as its root (`openat2`,
//! `RESOLVE_IN_ROOT`): an absolute link inside leads to a place inside, `..` stops at the top.
//! The last component is never followed.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::defect::Problem;
use super::place::{Fault, Place};

/// A directory that nothing gets out of.
#[derive(Debug)]
pub(crate) struct RootDir {
    fd: OwnedFd,
}

/// A name of an entry, taken apart: no `..`, no empty parts; nothing at all for the root itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Parts(Vec<Vec<u8>>);

impl Parts {
    /// Leading slashes go, as `tar` does; `climbs` is the answer to `..`.
    pub(crate) fn parse(path: &[u8], climbs: impl FnOnce() -> Problem) -> Result<Self, Problem> {
        if path.contains(&0) {
            return Err(Problem::ZeroByte);
        }
        let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
        let parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
        if parts.iter().any(|part| part == b"..") { Err(climbs()) } else { Ok(Self(parts)) }
    }

    /// The name again, in its plain form.
    pub(crate) fn join(&self) -> Vec<u8> {
        self.0.join(&b'/')
    }

    pub(crate) fn split_last(&self) -> Option<(&[u8], &[Vec<u8>])> {
        self.0.split_last().map(|(name, folders)| (name.as_slice(), folders))
    }
}

impl From<OwnedFd> for RootDir {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl RootDir {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// The place of a name; missing folders on the way are made.
    pub(crate) fn place(&self, folders: &[Vec<u8>], name: &[u8]) -> Result<Place, Fault> {
        let folder = match self.folder(folders) {
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_folders(folders)?,
            Err(Errno::LOOP) => return Err(Problem::Circle.into()),
            other => other.map_err(Fault::from)?,
        };
        Place::new(folder, name)
    }

    /// The place of a name whose folders are there; `None` when they are not.
    pub(crate) fn find(&self, folders: &[Vec<u8>], name: &[u8]) -> Result<Option<Place>, Fault> {
        let folder = match self.folder(folders) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            other => other?,
        };
        Place::new(folder, name).map(Some)
    }

    /// The root itself, to set its attributes.
    pub(crate) fn itself(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    fn folder(&self, parts: &[Vec<u8>]) -> Result<OwnedFd, Errno> {
        let path: PathBuf = parts.iter().map(|part| OsStr::from_bytes(part)).collect();
        let path = if parts.is_empty() { Path::new(".") } else { &path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // A rename anywhere on the machine may make the kernel unsure about a `..` in a link.
        let mut answer = Err(Errno::AGAIN);
        for _ in 0..1000 {
            answer = rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve);
            if !matches!(answer, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        answer
    }

    fn make_folders(&self, parts: &[Vec<u8>]) -> Result<OwnedFd, Fault> {
        let mut folder = self.folder(&[])?;
        for depth in 1..=parts.len() {
            let (path, name) = (&parts[..depth], &parts[depth - 1]);
            folder = match self.folder(path) {
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    Place::new(folder, name)?.put_implied_folder(path)?
                }
                other => other?,
            };
        }
        Ok(folder)
    }
}
