//! Mount namespaces: one of our own, and those of others.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{FileContext as _, Result, SystemContext as _};

/// Moves this process into a mount namespace of its own. Mounts of the host still come and go in
/// it, so that it keeps no disk busy; its own stay inside.
pub fn leave_host_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).system("leave the host's mount namespace")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
        .system("separate the mount namespace from the host's")
}

/// Does one thing in another mount namespace, where every path is the container's.
pub fn within(
    theirs: &File,
    work: impl FnOnce() -> rustix::io::Result<OwnedFd>,
) -> Result<rustix::io::Result<OwnedFd>> {
    let path = Path::new("/proc/self/ns/mnt");
    let own = File::open(path).file("open", path)?;
    let here = std::env::current_dir().system("find the current directory")?;
    let kind = Some(LinkNameSpaceType::Mount);
    move_into_link_name_space(theirs.as_fd(), kind).system("enter the other container")?;
    let done = work();
    if move_into_link_name_space(own.as_fd(), kind).is_err() {
        // Whatever we did next would be done to the container's files.
        std::process::abort();
    }
    std::env::set_current_dir(&here).file("enter", &here)?;
    Ok(done)
}
