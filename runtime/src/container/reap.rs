//! Finishing what a monitor could not: after a kill -9 of anybody, at any moment.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use twill_endpoint::{Host, Interface, Keeper, Owner};

use super::health::Health;
use super::record::{Network, Record};
use super::state::{State, Status};
use super::store::{Attempt, Container, Store, remove_all};
use super::{births, liveness};
use crate::Paths;
use crate::cgroup::{self, Hierarchies};
use crate::error::{Error, FileContext as _, Result, SystemContext as _};
use crate::events;
use crate::volume::Volumes;

/// What a container without a monitor ended with: it died with its monitor.
pub(crate) const LOST: u8 = 137;
/// Nothing that is being born takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells the truth about a container, clearing up after a monitor that is gone.
///
/// `None` if the container is no more: it was to vanish with its end.
pub fn settle(store: &Store<'_>, container: Container) -> Result<Option<Container>> {
    let settled = settle_life(store, container)?;
    settled.map(|container| with_pause(store.paths(), container, &OnceCell::new())).transpose()
}

/// Asks the kernel whether the processes of a running container are halted, and its monitor how it is.
fn with_pause(
    paths: &Paths,
    mut container: Container,
    here: &OnceCell<Hierarchies>,
) -> Result<Container> {
    let Container { record, state } = &mut container;
    if state.status == Status::Running {
        if record.health.is_some() {
            state.health = Some(Health::read(paths, &record.id).unwrap_or_default());
        }
        let hierarchies = if let Some(hierarchies) = here.get() {
            hierarchies
        } else {
            let found = Hierarchies::here()?;
            here.get_or_init(|| found)
        };
        state.paused = hierarchies.cgroup(&record.cgroup()).is_frozen();
    }
    Ok(container)
}

fn settle_life(store: &Store<'_>, container: Container) -> Result<Option<Container>> {
    let Container { record, state } = &container;
    let leftovers = store.paths().run_container(&record.id).exists();
    if (!state.status.is_alive() && !leftovers)
        || liveness::monitor(store.paths(), &record.id)?.is_some()
    {
        return Ok(Some(container));
    }
    let _lock = if state.status.is_alive() {
        let Some(lock) = store.lock_container(&record.id)? else { return Ok(None) };
        lock
    } else {
        match store.try_lock_container(&record.id)? {
            Attempt::Locked(lock) => lock,
            // Somebody starts it or copies what is in it: those are no leftovers, and nobody need wait.
            Attempt::Held => return Ok(Some(container)),
            Attempt::Gone => return Ok(None),
        }
    };
    // Under the lock: a start or another settling may have come first.
    if liveness::monitor(store.paths(), &record.id)?.is_some() {
        return store.read(&record.id).map(Some);
    }
    clear(store.paths(), record)?;
    let Container { record, state } = store.read(&record.id)?;
    if !state.status.is_alive() {
        return Ok(Some(Container { record, state }));
    }
    if record.auto_remove {
        events::container(store.paths(), &record, "die", &[("exitCode", LOST.to_string())]);
        store.remove(&record)?;
        events::container(store.paths(), &record, "destroy", &[]);
        Volumes::new(store.paths()).remove_anonymous(&record)?;
        return Ok(None);
    }
    let state = State {
        error: "the monitor of the container was killed".into(),
        ..state.exited(LOST, Timestamp::now())
    };
    // On a full or read-only disk it is true all the same: `ps` has to work there, and `rm` even more.
    drop(store.write_state(&record, &state));
    events::container(store.paths(), &record, "die", &[("exitCode", LOST.to_string())]);
    Ok(Some(Container { record, state }))
}

/// All containers, each settled.
pub fn settle_all(store: &Store<'_>) -> Result<Vec<Container>> {
    let mut settled = Vec::new();
    let here = OnceCell::new();
    for container in store.list()? {
        match settle_life(store, container) {
            Ok(Some(container)) => settled.push(with_pause(store.paths(), container, &here)?),
            Ok(None) => {}
            // Removed by somebody else in between.
            Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(settled)
}

/// Takes away everything of a run but its files that outlive it: processes, cgroups, the place on
/// the bridge, the volatile directory. Goes on after a failure and reports the first.
pub fn clear(paths: &Paths, record: &Record) -> Result<()> {
    let processes = end_processes(paths, record);
    let network = leave_network(paths, record);
    let files = remove_all(&paths.run_container(&record.id));
    processes.and(network).and(files)
}

/// The same, but its monitor goes on, and with it the lock and the socket.
pub fn clear_for_restart(paths: &Paths, record: &Record) -> Result<()> {
    let processes = end_processes(paths, record);
    let network = leave_network(paths, record);
    let directory = paths.run_container(&record.id);
    processes.and(network).and(empty(&directory).file("empty", &directory))
}

fn empty(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == "monitor.lock" || entry.file_name() == "control.sock" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Kills whoever is in the cgroup, and whoever is still on the way into it.
fn end_processes(paths: &Paths, record: &Record) -> Result<()> {
    let cgroup = Hierarchies::here()?.cgroup(&record.cgroup());
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Asked first: if nobody is being born now, whoever was is in the cgroup.
        let nobody = births::none(paths, &record.id)?;
        cgroup.remove()?;
        if nobody {
            return Ok(());
        }
        if Instant::now() > deadline {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            return Err(late).system("end what the monitor was starting");
        }
        cgroup::breathe();
    }
}

/// Gives the container's address back.
pub fn leave_network(paths: &Paths, record: &Record) -> Result<()> {
    if record.network != Network::Bridge {
        return Ok(());
    }
    host(paths)
        .detach(&owner(record))
        .map_err(|source| Error::Network { operation: "leave", source })
}

/// The host that the containers below these paths belong to.
#[must_use]
pub fn host(paths: &Paths) -> Host {
    Host { subnet_env: paths.subnet_env().to_owned(), ..Host::default() }
}

/// How the endpoint's books call this container.
#[must_use]
pub fn owner(record: &Record) -> Owner {
    Owner { keeper: Keeper::Twill, container: record.id.clone(), interface: interface() }
}

fn interface() -> Interface {
    "eth0".parse().unwrap_or_else(|_| unreachable!("a name of four letters"))
}
