//! Ending containers: a signal, a polite stop, a removal.

use std::time::Duration;

use super::liveness;
use super::reap;
use super::state::Status;
use super::store::{Container, Store};
use crate::error::{Error, Result};
use crate::process::{Handle, Process};
use crate::signals::Signal;

/// A killed process and its monitor are given this long; only a broken kernel needs more.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends a signal to the first process of a running container.
pub fn signal(container: &Container, signal: Signal) -> Result<()> {
    let Container { record, state } = container;
    let handle = state.process.filter(|_| state.status == Status::Running).and_then(Process::open);
    handle.ok_or_else(|| Error::NotRunning(record.name.clone()))?.signal(signal)
}

/// Asks, waits, forces; returns when everything of the run is cleared away. `None` never forces.
/// One that does not run is stopped already.
pub fn stop(store: &Store<'_>, container: &Container, grace: Option<Duration>) -> Result<()> {
    let Container { record, state } = container;
    if state.status != Status::Running {
        return Ok(());
    }
    let asking = Signal::from_number(record.stop_signal).unwrap_or(Signal::TERM);
    if let Some(first) = state.process.and_then(Process::open) {
        first.signal(asking)?;
        if !first.wait(grace)? {
            first.signal(Signal::KILL)?;
            first.wait(Some(PATIENCE))?;
        }
    }
    wait_for_monitor(store, &record.id)?;
    reap::settle(store, container.clone()).map(drop)
}

/// Takes a container away with everything it left. Without force it must not run.
pub fn remove(store: &Store<'_>, container: &Container, force: bool) -> Result<()> {
    let record = &container.record;
    if container.state.status == Status::Running && !force {
        return Err(Error::StillRunning { name: record.name.clone() });
    }
    loop {
        stop(store, container, Some(Duration::ZERO))?;
        // It may be starting, or have been started again.
        kill_monitor(store, &record.id, force)?;
        let Some(_lock) = store.lock_container(&record.id)? else { return Ok(()) };
        if liveness::monitor(store.paths(), &record.id)?.is_none() {
            reap::clear(store.paths(), record)?;
            return store.remove(record);
        }
    }
}

/// A monitor that is still there belongs to a start in progress or to an end.
fn kill_monitor(store: &Store<'_>, id: &str, force: bool) -> Result<()> {
    let Some(handle) = open_monitor(store, id)? else { return Ok(()) };
    // An end clears up by itself; it needs a moment only.
    if !handle.wait(Some(Duration::from_secs(1)))? {
        if !force {
            return Err(Error::StillRunning { name: store.read(id)?.record.name });
        }
        handle.signal(Signal::KILL)?;
        handle.wait(Some(PATIENCE))?;
    }
    Ok(())
}

fn wait_for_monitor(store: &Store<'_>, id: &str) -> Result<()> {
    open_monitor(store, id)?.map_or(Ok(true), |handle| handle.wait(Some(PATIENCE))).map(drop)
}

fn open_monitor(store: &Store<'_>, id: &str) -> Result<Option<Handle>> {
    Ok(liveness::monitor(store.paths(), id)?.and_then(Process::open))
}
