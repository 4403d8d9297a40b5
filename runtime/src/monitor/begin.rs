//! How a monitor begins: away from its caller, alone, and with open ears.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::Flock;
use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{dup, dup2_stderr, dup2_stdin, dup2_stdout, setgroups, setsid};

use super::connection::Connection;
use super::log::{Log, Style};
use super::socket;
use super::supervise::Desk;
use crate::Paths;
use crate::cgroup::{self, Hierarchies};
use crate::container::{Attempt, Container, Record, Store, liveness, reap};
use crate::error::{Error, FileContext as _, Result, SystemContext as _};
use crate::signals::Signal;

/// Whoever locks a container for its life's sake needs less.
const PATIENCE: Duration = Duration::from_secs(3);
/// Another monitor has started its container or cleared up after it by then.
const TURN: Duration = Duration::from_secs(30);

/// Becomes the monitor of a container that has none.
pub(super) fn begin(store: &Store<'_>, id: &str) -> Result<(liveness::Held, Record)> {
    let (_lock, record) = wait_for_turn(store, id)?;
    // Whoever died before us may have left something that is in the way.
    if store.paths().run_container(id).exists() {
        reap::clear(store.paths(), &record)?;
    }
    store.prepare_run(id)?;
    let held = liveness::acquire(store.paths(), id)?;
    Ok((held.ok_or_else(|| Error::AlreadyRunning(record.name.clone()))?, record))
}

/// There may be a monitor that has not started its container yet, or whose container has ended: what comes of
/// it is seen soon.
fn wait_for_turn(store: &Store<'_>, id: &str) -> Result<(Flock<File>, Record)> {
    let deadline = Instant::now() + TURN;
    loop {
        let lock = lock_soon(store, id)?;
        let Container { record, state } = store.read(id)?;
        if liveness::monitor(store.paths(), id)?.is_none() {
            return Ok((lock, record));
        }
        if state.status.is_alive() {
            return Err(Error::AlreadyRunning(record.name));
        }
        if Instant::now() >= deadline {
            return Err(Error::Busy(record.name));
        }
        drop(lock);
        // Not too often: others take a lock that is held for work at the container.
        _ = nix::poll::poll(&mut [], 20_u8);
    }
}

/// Everybody who locks a container lets it go soon, except who copies what is in it.
fn lock_soon(store: &Store<'_>, id: &str) -> Result<Flock<File>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.try_lock_container(id)? {
            Attempt::Locked(lock) => return Ok(lock),
            Attempt::Gone => return Err(Error::NoSuchContainer(id.to_owned())),
            Attempt::Held if Instant::now() >= deadline => {
                return Err(Error::Busy(store.read(id)?.record.name));
            }
            Attempt::Held => cgroup::breathe(),
        }
    }
}

pub(super) fn open_desk(paths: &Paths, record: &Record, first: Option<Connection>) -> Result<Desk> {
    let mut mask = SigSet::empty();
    for signal in [NixSignal::SIGTERM, NixSignal::SIGINT, NixSignal::SIGHUP] {
        mask.add(signal);
    }
    mask.thread_block().system("block signals")?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let listener = socket::listen(&paths.run_container(&record.id), "control.sock")?;
    listener.set_nonblocking(true).system("prepare the control socket")?;
    Ok(Desk {
        listener,
        clients: first.into_iter().collect(),
        log: Log::open(&paths.container(&record.id).join("log.json"), Style::of(record)?)?,
        signals: SignalFd::with_flags(&mask, flags).system("listen to signals")?,
        stop_signal: Signal::from_number(record.stop_signal).unwrap_or(Signal::TERM),
        cgroup: Hierarchies::here()?.cgroup(&record.cgroup()),
        feeds_once: record.feeds_once(),
        is_ending: false,
        health: None,
    })
}

/// Cuts every tie to the process that started this one; returns the first client's connection.
pub(super) fn leave_the_caller() -> Result<UnixStream> {
    // Already a leader if a person calls the hidden command by hand; then there is no harm.
    _ = setsid();
    let connection = dup(std::io::stdin().as_fd()).system("keep the first connection")?;
    rustix::io::fcntl_setfd(&connection, rustix::io::FdFlags::CLOEXEC)
        .system("keep the first connection")?;
    let path = Path::new("/dev/null");
    let null = File::options().read(true).write(true).open(path).file("open", path)?;
    dup2_stdin(&null)
        .and_then(|()| dup2_stdout(&null))
        .and_then(|()| dup2_stderr(&null))
        .system("let the caller's streams go")?;
    setgroups(&[]).system("drop the caller's groups")?;
    umask(Mode::from_bits_truncate(0o022));
    let root = Path::new("/");
    std::env::set_current_dir(root).file("enter", root)?;
    Ok(UnixStream::from(connection))
}
