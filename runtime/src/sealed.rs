//! This program as a container may meet it: through a mount that nobody can write through.
//!
//! Until it executes the container's program, a process on its way into a container is this one. If
//! the container's program, or the interpreter of its script, is `/proc/self/exe`, ours goes on
//! running in the container's hands, and through `/proc/<pid>/exe` the file of the host could be
//! written (CVE-2019-5736). Through a read-only mount it cannot, and no path leads to that mount.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcontainer::syscall::linux::{AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, MountAttr};
use libcontainer::syscall::syscall::create_syscall;
use rustix::fs::{CWD, StatVfsMountFlags, statvfs};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::error::{FileContext as _, Result, SystemContext as _};

const SELF: &str = "/proc/self/exe";

/// This program's file, to be executed.
#[derive(Debug)]
pub(crate) struct Program(OwnedFd);

impl Program {
    /// Makes the mount. It goes with the last process that runs from it.
    pub(crate) fn seal() -> Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, SELF, flags).system("protect this program")?;
        let (attr_set, attr_clr, propagation, userns_fd) = (MOUNT_ATTR_RDONLY, 0, 0, 0);
        let attributes = MountAttr { attr_set, attr_clr, propagation, userns_fd };
        let size = size_of::<MountAttr>();
        create_syscall()
            .mount_setattr(tree.as_fd(), Path::new(""), AT_EMPTY_PATH, &attributes, size)
            .map_err(io::Error::other)
            .system("protect this program")?;
        Ok(Self(tree))
    }

    /// Leads to it for this process and those that it forks.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// Everything but the three standard streams ends with the next program: a descriptor that the
/// caller left open must neither reach a container nor be held for as long as one lives.
pub(crate) fn close_on_exec() -> Result<()> {
    let closed = create_syscall().close_range(0).map_err(io::Error::other);
    closed.system("let the caller's files go")
}

/// Goes on as the same command, but sealed and without the caller's files. Call it before anything
/// is opened.
#[expect(clippy::disallowed_methods, reason = "nothing is started: this process goes on")]
pub(crate) fn enter() -> Result<()> {
    if is_sealed()? && has_streams_only()? {
        return Ok(());
    }
    close_on_exec()?;
    let program = Program::seal()?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "twill".into());
    Err(Command::new(program.path()).arg0(name).args(arguments).exec())
        .system("execute this program anew")
}

fn is_sealed() -> Result<bool> {
    Ok(statvfs(SELF).file("look at", Path::new(SELF))?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn has_streams_only() -> Result<bool> {
    let path = Path::new("/proc/self/fd");
    // Three, and the one of the directory that is being listed.
    Ok(fs::read_dir(path).file("list", path)?.count() <= 4)
}
