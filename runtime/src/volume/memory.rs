//! Volumes of memory, which all containers that run at once see the same.
//!
//! No process looks after volumes. So the monitor whose container is the first to use one mounts it at the volume's
//! directory, in its own mount namespace alone, and whoever comes later gets that mount from there. The memory goes
//! with the last of them, however that one ends.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, mount, umount2};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::fill::{Use, lock};
use super::store::Volumes;
use crate::Paths;
use crate::bundle::mount_namespace::within;
use crate::container::{Record, Store, liveness};
use crate::error::{FileContext as _, Result, SystemContext as _};
use crate::mount::Tmpfs;

/// A mount of this process; it goes with this.
#[derive(Debug)]
pub(super) struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // At the latest it goes with our namespace.
        _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Mounts a volume of memory at its directory for the container that this process is the monitor of.
pub fn mount_memory(
    paths: &Paths,
    record: &Record,
    (name, options): (&str, &[String]),
) -> Result<Use> {
    let data = Volumes::new(paths).data(name);
    // Links on the way there are those of our root, and not of another process's.
    let data = fs::canonicalize(&data).file("open", &data)?;
    let volume = data.parent().unwrap_or(&data);
    let _lock = lock(volume)?;
    if is_mounted(Path::new("/"), &data) {
        // The same container has it twice.
        return Ok(Use::default());
    }
    if let Some(shared) = of_another(paths, record, (name, &data))? {
        move_mount(&shared, "", CWD, &data, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .file("mount", &data)?;
    } else {
        let (flags, text) = Tmpfs::for_mount(options);
        mount(Some("tmpfs"), &data, Some("tmpfs"), flags, Some(&*text)).file("mount", &data)?;
    }
    Ok(Use::of_memory(Mounted(data)))
}

/// The mount as another monitor has it, if one does.
fn of_another(
    paths: &Paths,
    record: &Record,
    (name, data): (&str, &Path),
) -> Result<Option<OwnedFd>> {
    for other in Store::new(paths).list()? {
        let uses = other.record.mounts.iter().filter_map(|mount| mount.volume());
        // Not our own: whoever looks for the monitor must not be the monitor.
        if other.record.id == record.id || !uses.into_iter().any(|volume| volume.name == name) {
            continue;
        }
        let monitor = liveness::monitor(paths, &other.record.id)?;
        let Some((monitor, handle)) = monitor.and_then(|it| Some((it, it.open()?))) else {
            continue;
        };
        let proc = PathBuf::from(format!("/proc/{}", monitor.pid));
        let root = proc.join("root");
        let namespace = File::open(proc.join("ns/mnt"));
        let place = rustix::fs::open(in_root(&root, data), OFlags::PATH, Mode::empty());
        let is_mounted = is_mounted(&root, data);
        // Asked last: until then its number was its own.
        let (Ok(namespace), Ok(place), true, false) =
            (namespace, place, is_mounted, handle.has_ended())
        else {
            continue;
        };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        match within(&namespace, || open_tree(&place, "", flags))? {
            Ok(mount) => return Ok(Some(mount)),
            // It ended just now, and has unmounted it.
            Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error).system("share the memory of the other container"),
        }
    }
    Ok(None)
}

fn is_mounted(root: &Path, data: &Path) -> bool {
    let device = |path: &Path| fs::metadata(in_root(root, path)).ok().map(|found| found.dev());
    let (own, above) = (device(data), data.parent().and_then(device));
    own.is_some() && own != above
}

fn in_root(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
