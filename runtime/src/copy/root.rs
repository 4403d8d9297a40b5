//! The root of a container's files, whether it runs or rests.

use nix::fcntl::Flock;

use crate::bundle::mount_namespace;
use crate::bundle::rootfs::{self, Inside};
use crate::container::store::remove_all;
use crate::container::{Container, Record, Status, Store, liveness, reap};
use crate::error::{Error, Result};

/// An open root.
#[derive(Debug)]
pub struct Root<'a> {
    inside: Inside,
    _mounted: Option<Mounted<'a>>,
}

#[derive(Debug)]
struct Mounted<'a> {
    store: &'a Store<'a>,
    record: Record,
    /// Nobody starts it or removes it meanwhile.
    _lock: Flock<std::fs::File>,
}

impl<'a> Root<'a> {
    /// Of one that runs, as its processes see it; of one that rests, mounted for us alone. For that,
    /// this process leaves the host's mount namespace and its current directory: call it before
    /// there is a second thread, and with absolute paths in hand.
    pub fn open(store: &'a Store<'a>, container: &Container) -> Result<Self> {
        let Container { record, state } = container;
        let process = state.process.filter(|_| state.status == Status::Running);
        if let Some(handle) = process.and_then(|process| Some((process, process.open()?))) {
            let (process, handle) = handle;
            let inside = Inside::open(format!("/proc/{}/root", process.pid).as_ref())?;
            // Else it may be the root of a stranger with the same number.
            if !handle.has_ended() {
                return Ok(Self { inside, _mounted: None });
            }
        }
        let gone = || Error::NoSuchContainer(record.name.clone());
        let lock = store.lock_container(&record.id)?.ok_or_else(gone)?;
        if liveness::monitor(store.paths(), &record.id)?.is_some() {
            return Err(Error::Busy(record.name.clone()));
        }
        reap::clear(store.paths(), record)?;
        store.prepare_run(&record.id)?;
        mount_namespace::leave_host_mounts()?;
        let mounted = Mounted { store, record: record.clone(), _lock: lock };
        let at = rootfs::mount_overlay(store.paths(), record)?;
        Ok(Self { inside: Inside::open(&at)?, _mounted: Some(mounted) })
    }

    /// To look and to write.
    #[must_use]
    pub fn inside(&self) -> &Inside {
        &self.inside
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let paths = self.store.paths();
        // What is left is cleared up by the next command that looks at the container.
        let unmounted = rootfs::unmount(paths, &self.record);
        drop(std::env::set_current_dir("/"));
        // What is mounted there is the container's own: never through the mount.
        if unmounted.is_ok() {
            drop(remove_all(&paths.run_container(&self.record.id)));
        }
    }
}
