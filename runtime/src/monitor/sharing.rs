//! The namespaces that a container shares with another one, found when it starts.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::Paths;
use crate::bundle::mount_namespace::within;
use crate::bundle::{Shared, Space};
use crate::container::isolation::{Ipc, Pid};
use crate::container::{Record, Store};
use crate::error::{Error, FileContext as _, Result, SystemContext as _};
use crate::process::{Handle, Process};

/// What was found. Keep it until the container is built.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) shared: Shared,
    /// What the paths in there lead to.
    open: Vec<File>,
    memory: Option<Memory>,
}

/// Whatever is to be shared must be there: its owner has to run.
pub(super) fn find(paths: &Paths, record: &Record) -> Result<Found> {
    let mut found = Found::default();
    match &record.isolation.pid {
        Pid::Own => {}
        Pid::Host => found.shared.pid = Space::Host,
        Pid::Container(id) => {
            let donor = Donor::find(paths, id, "PID")?;
            found.shared.pid = donor.space("pid", &mut found.open)?;
        }
    }
    if let Some(id) = &record.wiring.shares {
        let donor = Donor::find(paths, id, "network")?;
        found.shared.network = donor.space("net", &mut found.open)?;
    }
    match &record.isolation.ipc {
        Ipc::Private | Ipc::Shareable | Ipc::None => {}
        Ipc::Host => found.shared.ipc = Space::Host,
        Ipc::Container(id) => {
            let donor = Donor::find(paths, id, "IPC")?;
            found.shared.ipc = donor.space("ipc", &mut found.open)?;
            let target = paths.run_container(&record.id).join("shm");
            found.memory = Some(donor.memory(&target)?);
            found.shared.shm = Some(target);
        }
    }
    Ok(found)
}

struct Donor {
    process: Process,
    handle: Handle,
    gone: String,
}

impl Donor {
    fn find(paths: &Paths, id: &str, what: &str) -> Result<Self> {
        let gone = format!("cannot join {what} of a non running container: {id}");
        let refuse = || Error::Usage(gone.clone());
        let process = Store::new(paths).read(id).ok().and_then(|found| found.state.process);
        let process = process.ok_or_else(refuse)?;
        let handle = process.open().ok_or_else(refuse)?;
        Ok(Self { process, handle, gone })
    }

    /// By descriptor, which stays what it is; a number may go to a stranger.
    fn open(&self, name: &str) -> Result<File> {
        let file = File::open(format!("/proc/{}/ns/{name}", self.process.pid));
        match file {
            Ok(file) if !self.handle.has_ended() => Ok(file),
            _ => Err(Error::Usage(self.gone.clone())),
        }
    }

    fn space(&self, name: &str, open: &mut Vec<File>) -> Result<Space> {
        let file = self.open(name)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        open.push(file);
        Ok(Space::Of(path))
    }

    fn memory(&self, target: &Path) -> Result<Memory> {
        let theirs = self.open("mnt")?;
        let mount = within(&theirs, || {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
            open_tree(CWD, "/dev/shm", flags)
        })?;
        let mount = mount.system("share the memory of the other container")?;
        fs::create_dir(target).file("create", target)?;
        let memory = Memory(target.to_owned());
        move_mount(&mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .file("mount", target)?;
        Ok(memory)
    }
}

/// The `/dev/shm` of another container, mounted below our own directory of the run. It must be gone before
/// that directory is emptied.
#[derive(Debug)]
struct Memory(PathBuf);

impl Drop for Memory {
    fn drop(&mut self) {
        // Not mounted, if mounting it was what failed.
        _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
