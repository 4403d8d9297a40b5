//! The root file system: the image's layers below, the container's own changes on top.
//!
//! It is mounted in the mount namespace of the monitor alone: it dies with the monitor, nothing on
//! the host can hold it busy, and no crash leaves a mount behind.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2, readlinkat};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

use crate::Paths;
use crate::container::Record;
use crate::error::{FileContext as _, Result, SystemContext as _};

/// The kernel takes at most one page of options.
const MAX_OPTIONS: usize = 4095;
/// As many links in a row as the kernel follows.
const MAX_LINKS: u8 = 40;

/// Mounts the root file system of a container and returns where.
///
/// The current directory of the process is changed.
pub fn mount_overlay(paths: &Paths, record: &Record) -> Result<PathBuf> {
    let container = paths.container(&record.id);
    let run = paths.run_container(&record.id);
    let target = run.join("rootfs");
    let lower = run.join("l");
    let empty = run.join("empty");
    let mut directories = vec![&target, &lower];
    let layers = if record.image.layers.is_empty() {
        directories.push(&empty);
        std::slice::from_ref(&empty)
    } else {
        record.image.layers.as_slice()
    };
    for directory in directories {
        fs::create_dir(directory).file("create", directory)?;
    }
    // Scratch space of the last mount; a volatile one would refuse to be used again.
    crate::container::store::remove_all(&container.join("work"))?;
    for name in ["upper", "work"] {
        let directory = container.join(name);
        fs::create_dir_all(&directory).file("create", &directory)?;
        let link = run.join(name);
        symlink(&directory, &link).file("create", &link)?;
    }
    // Short names, relative to here: whatever the layers are called, as many fit as the kernel stacks.
    let mut names = Vec::new();
    for (index, layer) in once_each(layers).into_iter().enumerate() {
        let name = format!("l/{index}");
        let link = run.join(&name);
        symlink(layer, &link).file("create", &link)?;
        names.push(name);
    }
    std::env::set_current_dir(&run).file("enter", &run)?;
    let options = options(&names, record.auto_remove, &switches());
    if options.len() > MAX_OPTIONS {
        let error = io::Error::other(format!("an image of {} layers is too high", layers.len()));
        return Err(error).file("mount", &target);
    }
    let flags = MsFlags::empty();
    mount(Some("overlay"), "rootfs", Some("overlay"), flags, Some(options.as_str()))
        .file("mount", &target)?;
    Ok(target)
}

/// The top one first. A layer that occurs twice is left out below: all that it has, it has above as well, and
/// the kernel refuses to stack a directory on itself.
fn once_each(layers: &[PathBuf]) -> Vec<&PathBuf> {
    let mut seen = BTreeSet::new();
    layers.iter().rev().filter(|layer| seen.insert(*layer)).collect()
}

/// Takes the root file system away, in the namespace that mounted it. One that is not there is fine.
pub fn unmount(paths: &Paths, record: &Record) -> Result<()> {
    let target = paths.run_container(&record.id).join("rootfs");
    match umount2(&target, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(error) => Err(error).file("unmount", &target),
    }
}

/// However the host is set up, an upper directory holds what is there and no hints to other files: it is read
/// as it stands. A kernel that does not know a switch would refuse it.
fn switches() -> String {
    let known = |name: &str| Path::new("/sys/module/overlay/parameters").join(name).exists();
    let switch = |name: &str| if known(name) { format!(",{name}=off") } else { String::new() };
    switch("redirect_dir") + &switch("metacopy")
}

fn options(lower: &[String], volatile: bool, switches: &str) -> String {
    // index: an upper directory may be used again while its last mount is still on its way out.
    let fixed = "upperdir=upper,workdir=work,index=off";
    // What vanishes with the container need not reach the disk first.
    let volatile = if volatile { ",volatile" } else { "" };
    format!("lowerdir={},{fixed}{switches}{volatile}", lower.join(":"))
}

/// A root file system as its own processes see it: no link leads out of it.
#[derive(Debug)]
pub struct Inside(File);

impl Inside {
    /// By its mount point, or by `/proc/<pid>/root`.
    pub fn open(rootfs: &Path) -> Result<Self> {
        File::open(rootfs).file("open", rootfs).map(Self)
    }

    /// The number of the root's descriptor.
    pub(super) fn number(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// The text of a small file; empty if there is none. Anything but a file is left closed: opening
    /// is all that some devices wait for, and a container may make any.
    pub fn read(&self, path: &Path) -> Result<String> {
        const ENOUGH: u64 = 1 << 20;
        let found = match self.descend(path, OFlags::PATH) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(String::new()),
            found => File::from(found.file("open in the container", path)?),
        };
        if !found.metadata().file("look at in the container", path)?.is_file() {
            return Ok(String::new());
        }
        // The very thing that was looked at, whatever the path leads to by now.
        let file = File::open(format!("/proc/self/fd/{}", found.as_raw_fd()));
        let file = file.file("open in the container", path)?;
        let mut text = Vec::new();
        file.take(ENOUGH).read_to_end(&mut text).file("read in the container", path)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Makes a directory with all that lead to it, also where a link leads that leads nowhere yet.
    pub fn ensure_directory(&self, path: &Path) -> Result<()> {
        self.make_directory(path, MAX_LINKS)
    }

    /// Makes an empty file unless there is something. A link that leads nowhere stays and gets its
    /// target: `resolv.conf` of systems with systemd-resolved is one.
    pub fn ensure_file(&self, path: &Path) -> Result<()> {
        if self.descend(path, OFlags::PATH).is_ok() {
            return Ok(());
        }
        let target = self.follow(path)?;
        self.ensure_directory(target.parent().unwrap_or(&target))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW;
        self.descend_as(&target, flags, Mode::from_raw_mode(0o644))
            .map(drop)
            .file("create in the container", &target)
    }

    fn make_directory(&self, path: &Path, links: u8) -> Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        if self.descend(path, flags).is_ok() {
            return Ok(());
        }
        let mut parent = PathBuf::from("/");
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::ParentDir => {
                    parent.pop();
                    continue;
                }
                _ => continue,
            };
            let above = self.descend(&parent, flags).file("open in the container", &parent)?;
            parent.push(name);
            match mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => {}
                Err(rustix::io::Errno::EXIST) if links == 0 => break,
                Err(rustix::io::Errno::EXIST) => {
                    let target = self.follow(&parent)?;
                    if target != parent {
                        self.make_directory(&target, links - 1)?;
                    }
                }
                Err(error) => return Err(error).file("create in the container", &parent),
            }
        }
        self.descend(path, flags).map(drop).file("create in the container", path)
    }

    /// Where the links at the end of a path lead, whether something is there or not.
    pub(crate) fn follow(&self, path: &Path) -> Result<PathBuf> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Ok(link) = self.descend(&path, OFlags::PATH | OFlags::NOFOLLOW) else {
                return Ok(path);
            };
            // Of anything but a link this is refused.
            let Ok(target) = readlinkat(&link, "", Vec::new()) else { return Ok(path) };
            path.pop();
            path.push(OsStr::from_bytes(target.as_bytes()));
        }
        Err(rustix::io::Errno::LOOP).file("open in the container", &path)
    }

    /// A new terminal of the container: our end and its.
    pub fn new_terminal(&self) -> Result<(OwnedFd, OwnedFd)> {
        let path = Path::new("/dev/pts/ptmx");
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let master = self.descend(path, flags).file("open in the container", path)?;
        unlockpt(&master).system("make a terminal")?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        // By descriptor: no path of the container's is followed.
        let terminal = ioctl_tiocgptpeer(&master, flags).system("make a terminal")?;
        Ok((master, terminal))
    }

    /// Opens something, with the kernel keeping us inside whatever the links say.
    pub(crate) fn descend(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        self.descend_as(path, flags, Mode::empty())
    }

    fn descend_as(&self, path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        openat2(&self.0, path, flags | OFlags::CLOEXEC, mode, ResolveFlags::IN_ROOT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_layers_fit_into_the_page() {
        let names: Vec<String> = (0..500).map(|index| format!("l/{index}")).collect();
        assert!(options(&names, true, ",redirect_dir=off,metacopy=off").len() <= MAX_OPTIONS);
        assert_eq!(
            options(&names[..2], false, ""),
            "lowerdir=l/0:l/1,upperdir=upper,workdir=work,index=off"
        );
    }

    #[test]
    fn links_do_not_lead_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        symlink("/etc", root.join("absolute")).unwrap();
        symlink("../../../../../../etc", root.join("relative")).unwrap();
        let inside = Inside::open(root).unwrap();
        assert_eq!(inside.read(Path::new("absolute/passwd")).unwrap(), "");
        assert_eq!(inside.read(Path::new("relative/passwd")).unwrap(), "");
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("etc/passwd"), "here").unwrap();
        assert_eq!(inside.read(Path::new("/absolute/passwd")).unwrap(), "here");
        inside.ensure_directory(Path::new("/absolute/a/b")).unwrap();
        assert!(root.join("etc/a/b").is_dir());
        inside.ensure_directory(Path::new("/absolute/a/b")).unwrap();
        assert!(inside.ensure_directory(Path::new("/etc/passwd/x")).is_err());
        assert_eq!(inside.read(Path::new("/etc")).unwrap(), "", "a directory is no file");
        nix::unistd::mkfifo(&root.join("etc/group"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(inside.read(Path::new("/etc/group")).unwrap(), "", "nor is a pipe");
    }

    #[test]
    fn links_to_nothing_get_their_target() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("etc")).unwrap();
        let inside = Inside::open(root).unwrap();
        let check = |name: &str, target: &str, made: Option<&str>| {
            symlink(target, root.join("etc").join(name)).unwrap();
            let path = Path::new("/etc").join(name);
            assert_eq!(inside.ensure_file(&path).is_ok(), made.is_some(), "{name} -> {target}");
            assert!(made.is_none_or(|made| root.join(made).is_file()), "{name} -> {target}");
        };
        check("relative", "../run/systemd/resolve/stub", Some("run/systemd/resolve/stub"));
        check("absolute", "/var/a/b", Some("var/a/b"));
        check("outside", "../../../../../outside/x", Some("outside/x"));
        check("twice", "relative2", Some("etc/relative2"));
        check("itself", "itself", None);
        check("first", "/etc/second/x", Some("etc/second/x"));
        check("here", "/gone/there/x", Some("gone/there/x"));
        check("below", "/etc/here/x", None);
        symlink("/b/x", root.join("a")).unwrap();
        symlink("/a/y", root.join("b")).unwrap();
        inside.ensure_directory(Path::new("/a")).unwrap_err();
        symlink("new/work", root.join("w")).unwrap();
        inside.ensure_directory(Path::new("/w/deeper")).unwrap();
        assert!(root.join("new/work/deeper").is_dir());
        inside.ensure_file(Path::new("/etc/plain")).unwrap();
        assert!(root.join("etc/plain").is_file());
        assert!(!root.parent().unwrap().join("outside").exists());
    }
}
