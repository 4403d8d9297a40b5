//! Ending containers: a signal, a polite stop, a removal.

use std::time::{Duration, Instant};

use super::liveness;
use super::reap;
use super::record::Record;
use super::restart::Policy;
use super::state::{State, Status, Wish};
use super::store::{Container, Store};
use crate::cgroup::Hierarchies;
use crate::error::{Error, Result};
use crate::events;
use crate::process::{Handle, Process};
use crate::signals::Signal;
use crate::volume::Volumes;

/// A killed process and its monitor are given this long; only a broken kernel needs more.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks whether somebody else has started it again.
const BEAT: Duration = Duration::from_millis(20);
/// A start or an end is over by then.
const MOMENT: Duration = Duration::from_secs(1);

/// How a container is brought to its end.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How it is asked, if not by its own stop signal.
    pub signal: Option<Signal>,
    /// How long it may take; `None` never forces.
    pub grace: Option<Duration>,
    /// What is to become of it then.
    pub wish: Wish,
}

impl Manner {
    /// At once, and for good.
    const FORCED: Self = Self { signal: None, grace: Some(Duration::ZERO), wish: Wish::Rest };
}

/// Sends a signal to the first process of a running container.
///
/// As with Docker, a signal that is meant to end it lets a paused one go on, to meet it.
pub fn signal(store: &Store<'_>, container: &Container, signal: Signal) -> Result<()> {
    let Container { record, state } = container;
    if state.status == Status::Restarting {
        // There is nobody to get it; what it means is heeded.
        wish(store, container, Wish::Rest)?;
        return wake_monitor(store, &record.id);
    }
    let handle = state.process.filter(|_| state.status == Status::Running).and_then(Process::open);
    let handle = handle.ok_or_else(|| Error::NotRunning(record.name.clone()))?;
    let ends = signal == Signal::KILL || signal.number() == record.stop_signal;
    if ends {
        wish(store, container, Wish::Rest)?;
    }
    handle.signal(signal)?;
    told(store, record, signal);
    // Without a stop signal of its own, Docker takes every signal for one.
    if ends || record.stop_signal == Signal::TERM.number() {
        thaw(container)?;
    }
    Ok(())
}

/// Writes down what is asked for. Where that cannot be, as on a disk that the container itself has
/// filled, it ends all the same: only a policy would have had to read it, and a monitor that is asked to
/// end heeds none.
fn wish(store: &Store<'_>, Container { record, state }: &Container, wish: Wish) -> Result<State> {
    match store.wish(&record.id, wish) {
        Err(Error::File { .. } | Error::Decode { .. }) => {
            if record.restart != Policy::No {
                wake_monitor(store, &record.id)?;
            }
            Ok(state.clone())
        }
        met => met,
    }
}

fn told(store: &Store<'_>, record: &Record, signal: Signal) {
    events::container(store.paths(), record, "kill", &[("signal", signal.number().to_string())]);
}

fn thaw(container: &Container) -> Result<()> {
    if !container.state.paused {
        return Ok(());
    }
    Hierarchies::here()?.cgroup(&container.record.cgroup()).thaw()
}

/// Asks, waits, forces; returns when everything of the run is cleared away. One that does not run
/// is stopped already.
pub fn stop(store: &Store<'_>, container: &Container, manner: Manner) -> Result<()> {
    let Container { record, state } = container;
    if !state.status.is_alive() {
        return Ok(());
    }
    let state = match wish(store, container, manner.wish) {
        Err(Error::NoSuchContainer(_)) => return Ok(()),
        met => met?,
    };
    let own = || Signal::from_number(record.stop_signal).unwrap_or(Signal::TERM);
    if let Some(first) = state.process.and_then(Process::open) {
        let asking = manner.signal.unwrap_or_else(own);
        first.signal(asking)?;
        told(store, record, asking);
        thaw(container)?;
        if !first.wait(manner.grace)? {
            first.signal(Signal::KILL)?;
            told(store, record, Signal::KILL);
            // Somebody may have paused it while we waited.
            Hierarchies::here()?.cgroup(&record.cgroup()).thaw()?;
            first.wait(Some(PATIENCE))?;
        }
    }
    if state.status == Status::Restarting {
        wake_monitor(store, &record.id)?;
        open_monitor(store, &record.id)?
            .map_or(Ok(true), |monitor| monitor.wait(Some(PATIENCE)))?;
    } else {
        wait_for_monitor(store, (&record.id, state.process))?;
    }
    reap::settle(store, container.clone())?;
    events::container(store.paths(), record, "stop", &[]);
    Ok(())
}

/// What a removal may do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Removal {
    /// Kill what runs.
    pub force: bool,
    /// Take its volumes without a name, too.
    pub volumes: bool,
}

/// Takes a container away with everything it left. Without force it must not run.
pub fn remove(store: &Store<'_>, container: &Container, how: Removal) -> Result<()> {
    let Container { record, state } = container;
    let force = how.force;
    match (force, state.paused, state.status) {
        (false, true, _) => return Err(Error::StillPaused { name: record.name.clone() }),
        (false, _, Status::Running | Status::Restarting) => {
            return Err(Error::StillRunning { name: record.name.clone() });
        }
        _ => {}
    }
    let mut met = container.clone();
    loop {
        stop(store, &met, Manner::FORCED)?;
        // It may be starting, or have been started again.
        if let Some(alive) = end_monitor(store, &met, force)? {
            met = alive;
            continue;
        }
        let Some(_lock) = store.lock_container(&record.id)? else { return Ok(()) };
        if liveness::monitor(store.paths(), &record.id)?.is_none() {
            reap::clear(store.paths(), record)?;
            store.remove(record)?;
            events::container(store.paths(), record, "destroy", &[]);
            if how.volumes || record.auto_remove {
                Volumes::new(store.paths()).remove_anonymous(record)?;
            }
            return Ok(());
        }
    }
}

/// A monitor that is still there belongs to a start in progress or to an end. Whose start succeeds meanwhile can
/// be stopped as any other: then whoever waits for its end hears of it.
fn end_monitor(store: &Store<'_>, met: &Container, force: bool) -> Result<Option<Container>> {
    let id = &met.record.id;
    let Some(handle) = open_monitor(store, id)? else { return Ok(None) };
    // An end clears up by itself, and is not cut short: somebody waits to hear of it.
    let limit = if met.state.status == Status::Exited { PATIENCE } else { MOMENT };
    let deadline = Instant::now() + limit;
    while !handle.wait(Some(BEAT))? {
        let is_new = |process: &Process| Some(*process) != met.state.process;
        let found = store.read(id).ok();
        let alive = found.filter(|found| found.state.process.as_ref().is_some_and(is_new));
        match alive {
            Some(alive) if force => return Ok(Some(alive)),
            _ if Instant::now() < deadline => {}
            _ if !force => {
                return Err(Error::StillRunning { name: store.read(id)?.record.name });
            }
            _ => {
                handle.signal(Signal::KILL)?;
                handle.wait(Some(PATIENCE))?;
                break;
            }
        }
    }
    Ok(None)
}

/// One that waits to start its container again ends; one that has just started it stops it politely.
fn wake_monitor(store: &Store<'_>, id: &str) -> Result<()> {
    open_monitor(store, id)?.map_or(Ok(()), |monitor| monitor.signal(Signal::TERM))
}

/// Until the monitor of the run that ended has cleared up. If it is that of the next run, there is nothing to
/// wait for.
fn wait_for_monitor(store: &Store<'_>, (id, ended): (&str, Option<Process>)) -> Result<()> {
    let Some(monitor) = open_monitor(store, id)? else { return Ok(()) };
    let deadline = Instant::now() + PATIENCE;
    while !monitor.wait(Some(BEAT))? && Instant::now() < deadline {
        let now = store.read(id).ok().and_then(|found| found.state.process);
        if now.is_some() && now != ended {
            break;
        }
    }
    Ok(())
}

fn open_monitor(store: &Store<'_>, id: &str) -> Result<Option<Handle>> {
    Ok(liveness::monitor(store.paths(), id)?.and_then(Process::open))
}
