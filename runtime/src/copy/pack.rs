//! Writes a tree as an archive. Nothing is followed: each step is one name in an open directory.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, StatxFlags, openat, readlinkat, statx,
};
use tar::{Builder, EntryType, Header};

use super::MountPoints;
use crate::container::changes;

/// Whose the copies are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// Root's.
    Root,
    /// Whose the originals are.
    Same,
}

/// How far it goes, and what it takes for what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    /// All that is seen.
    All,
    /// One mount, by the kernel's number.
    Mount(u64),
    /// An upper directory of overlayfs.
    Layer(MountPoints),
}

/// The kernel's number of the mount that something lies in.
pub(super) fn mount_of(file: &OwnedFd) -> io::Result<u64> {
    let found = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(found.stx_mnt_id)
}

/// An archive in the making.
pub(super) struct Packer<W: Write> {
    archive: Builder<W>,
    owner: Owner,
    scope: Scope,
    /// Files with several names, by device and number, and the first name that was seen.
    seen: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packer<W> {
    pub(super) fn new(out: W, owner: Owner) -> Self {
        Self { archive: Builder::new(out), owner, scope: Scope::All, seen: HashMap::new() }
    }

    /// The same, but not everything.
    pub(super) fn within(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Writes the end.
    pub(super) fn finish(self) -> io::Result<W> {
        let mut out = self.archive.into_inner()?;
        out.flush()?;
        Ok(out)
    }

    /// What is in a directory, under its own names.
    pub(super) fn put_contents(&mut self, directory: &OwnedFd) -> io::Result<()> {
        self.put_below(&reopen(directory)?, Path::new(""))
    }

    /// An open thing (with `O_PATH`), under a name.
    pub(super) fn put(&mut self, file: &OwnedFd, stat: &Stat, name: &Path) -> io::Result<()> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.put_directory(&reopen(file)?, stat, name),
            FileType::RegularFile => {
                // The very thing that was looked at, whatever its path leads to by now: to open what
                // only looks like a file, a device, may already do something.
                let file = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
                self.put_file(&file, stat, name)
            }
            FileType::Symlink => {
                let target = readlinkat(file, "", Vec::new())?;
                self.put_symlink(target.as_bytes(), stat, name)
            }
            kind => self.put_node(kind, stat, name),
        }
    }

    fn put_directory(&mut self, directory: &OwnedFd, stat: &Stat, name: &Path) -> io::Result<()> {
        self.put_directory_itself(stat, name)?;
        self.put_below(directory, name)
    }

    fn put_directory_itself(&mut self, stat: &Stat, name: &Path) -> io::Result<()> {
        let mut header = self.header(stat, EntryType::Directory);
        // A directory's name ends in a slash.
        self.archive.append_data(&mut header, name.join(""), io::empty())
    }

    fn put_below(&mut self, directory: &OwnedFd, above: &Path) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in Dir::read_from(directory)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            match self.put_one(directory, &name, &above.join(&name)) {
                // A container that runs takes things away while we copy.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                put => put?,
            }
        }
        Ok(())
    }

    fn put_one(&mut self, directory: &OwnedFd, name: &OsStr, path: &Path) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(directory, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        match self.scope {
            Scope::Mount(own) if mount_of(&file)? != own => return self.put_place(&stat, path),
            Scope::Layer(points) => {
                if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
                    return self.put_mark(path, b".wh.", name);
                }
                if points == MountPoints::LeftOut && name.as_bytes().starts_with(b".wh.") {
                    // In a layer it would be a mark that something else is gone.
                    let text =
                        format!("no image can have a file of that name: /{}", path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                let is_nothing = kind == FileType::Directory || stat.st_size == 0;
                if points == MountPoints::LeftOut
                    && is_nothing
                    && changes::is_mount_point(&Path::new("/").join(path))
                {
                    return Ok(());
                }
            }
            _ => {}
        }
        if kind != FileType::Directory {
            return self.put(&file, &stat, path);
        }
        if is_of_the_kernel(&file)? {
            return self.put_directory_itself(&stat, path);
        }
        let inner = reopen(&file)?;
        // However deep it goes, one descriptor for each step is enough.
        drop(file);
        if matches!(self.scope, Scope::Layer(_)) && changes::is_opaque(&inner) {
            self.put_directory_itself(&stat, path)?;
            self.put_mark(&path.join("x"), b".wh..wh.", OsStr::new(".opq"))?;
            return self.put_below(&inner, path);
        }
        self.put_directory(&inner, &stat, path)
    }

    /// Where something else is mounted: what it is mounted on has the same kind.
    fn put_place(&mut self, stat: &Stat, path: &Path) -> io::Result<()> {
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return self.put_directory_itself(stat, path);
        }
        let mut header = self.header(stat, EntryType::Regular);
        self.archive.append_data(&mut header, path, io::empty())
    }

    /// A file whose name says something about others, beside a path.
    fn put_mark(&mut self, path: &Path, mark: &[u8], name: &OsStr) -> io::Result<()> {
        let marked = OsStr::from_bytes(&[mark, name.as_bytes()].concat()).to_owned();
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        self.archive.append_data(&mut header, path.with_file_name(marked), io::empty())
    }

    fn put_file(&mut self, file: &File, stat: &Stat, name: &Path) -> io::Result<()> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.seen.get(&(stat.st_dev, stat.st_ino)) {
                let mut header = self.header(stat, EntryType::Link);
                return self.archive.append_link(&mut header, name, first);
            }
            self.seen.insert((stat.st_dev, stat.st_ino), name.to_owned());
        }
        let mut attributes = attributes(file);
        if self.takes_over(stat.st_uid) {
            attributes.retain(|(name, _)| !name.ends_with(".security.capability"));
        }
        let pairs = attributes.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        if !attributes.is_empty() {
            self.archive.append_pax_extensions(pairs)?;
        }
        let mut header = self.header(stat, EntryType::Regular);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        header.set_size(size);
        self.archive.append_data(&mut header, name, Exactly { file, left: size })
    }

    fn put_symlink(&mut self, target: &[u8], stat: &Stat, name: &Path) -> io::Result<()> {
        let mut header = self.header(stat, EntryType::Symlink);
        self.archive.append_link(&mut header, name, OsStr::from_bytes(target))
    }

    /// Pipes and devices; sockets mean nothing without whoever listens.
    fn put_node(&mut self, kind: FileType, stat: &Stat, name: &Path) -> io::Result<()> {
        let kind = match kind {
            FileType::Fifo => EntryType::Fifo,
            FileType::CharacterDevice => EntryType::Char,
            FileType::BlockDevice => EntryType::Block,
            _ => return Ok(()),
        };
        let mut header = self.header(stat, kind);
        header.set_device_major(rustix::fs::major(stat.st_rdev))?;
        header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
        self.archive.append_data(&mut header, name, io::empty())
    }

    fn header(&self, stat: &Stat, kind: EntryType) -> Header {
        let mut header = Header::new_gnu();
        let (uid, gid) = match self.owner {
            Owner::Root => (0, 0),
            Owner::Same => (stat.st_uid, stat.st_gid),
        };
        let mut mode = stat.st_mode & 0o7777;
        if self.takes_over(stat.st_uid) {
            mode &= !0o4000;
        }
        if self.takes_over(stat.st_gid) {
            mode &= !0o2000;
        }
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        header.set_size(0);
        header
    }

    /// Does root become the owner of what was somebody else's? Then it must not lend root's rights: what
    /// was to be run with those of its owner, or a file capability, was that owner's to give.
    fn takes_over(&self, owner: u32) -> bool {
        self.owner == Owner::Root && owner != 0
    }
}

/// Is a directory on a file system in which the kernel shows itself? There is no end to what can be read
/// there, and none of it is the container's.
fn is_of_the_kernel(directory: &OwnedFd) -> io::Result<bool> {
    /// proc, sysfs, cgroup, cgroup2, devpts, mqueue, by `linux/magic.h`.
    const MAGICS: [u32; 6] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x1cd1, 0x1980_0202];
    let magic = rustix::fs::fstatfs(directory)?.f_type;
    Ok(MAGICS.iter().any(|known| i64::from(*known) == magic))
}

fn reopen(directory: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(directory, ".", flags, Mode::empty())?)
}

/// Those that belong to a file and not to the host that it is on.
fn attributes(file: impl AsFd) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 64 * 1024];
    // A file system without them still holds the file.
    let length = rustix::fs::flistxattr(&file, names.as_mut_slice()).unwrap_or(0);
    let mut all = Vec::new();
    for name in names[..length].split(|byte| *byte == 0) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if name != "security.capability" && !name.starts_with("user.") {
            continue;
        }
        let mut value = vec![0; 64 * 1024];
        if let Ok(length) = rustix::fs::fgetxattr(&file, name, value.as_mut_slice()) {
            value.truncate(length);
            all.push((format!("SCHILY.xattr.{name}"), value));
        }
    }
    all
}

/// As many bytes as the header promised, though the file may be shorter or longer by now.
struct Exactly<'a> {
    file: &'a File,
    left: u64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..wanted];
        let read = match self.file.read(buffer)? {
            0 => {
                buffer.fill(0);
                wanted
            }
            read => read,
        };
        self.left -= read as u64;
        Ok(read)
    }
}
