//! The one process that stays with a container: it starts it, keeps its output, learns its exit code,
//! and clears up.
//!
//! `run` starts it by executing itself again: a fresh process with one thread, which libcontainer
//! needs, and without anything of the caller's. The connection that it is born with, its standard input, is that of its first client.
//! The container dies with its monitor (`PR_SET_PDEATHSIG`); what is then left, the next command
//! clears up ([`crate::container::reap`]).

mod begin;
mod connection;
pub mod control;
pub mod executor;
mod forward;
mod health;
mod init;
mod join;
mod launch;
mod log;
mod ports;
pub mod session;
mod sharing;
mod socket;
mod spawn;
mod supervise;

use std::time::Instant;

use jiff::Timestamp;
use nix::sys::prctl;

use self::begin::{begin, leave_the_caller, open_desk};
use self::connection::Connection;
use self::control::Frame;
use self::health::Physician;
use self::launch::Launched;
use self::ports::Held;
use self::supervise::Desk;
use crate::Paths;
use crate::bundle::rootfs;
use crate::cgroup::Hierarchies;
use crate::container::health::Health;
use crate::container::links;
use crate::container::restart::Backoff;
use crate::container::{Container, Record, State, Status, Store, Wish, reap, renumber};
use crate::error::{Error, Result, SystemContext as _};
use crate::events;
use crate::volume::Volumes;

/// The whole life of a monitor. Failures go to the first client; there is nobody else.
pub fn run(paths: &Paths, id: &str) -> Result<()> {
    // Else the number of a descriptor, by which it was executed.
    prctl::set_name(c"twill").system("name the monitor")?;
    let mut first = Connection::new(leave_the_caller()?);
    let store = Store::new(paths);
    let started = begin(&store, id);
    let (held, record) = match started {
        Ok(begun) => begun,
        Err(error) => {
            if let Some(client) = &mut first {
                tell_failure(client, &error);
            }
            return Ok(());
        }
    };
    let desk = open_desk(paths, &record, first);
    let ended = desk.and_then(|mut desk| {
        let ended = live(&store, &record, &mut desk);
        Ok((desk, ended?))
    });
    match ended {
        Ok((mut desk, frame)) => {
            for client in &mut desk.clients {
                client.queue(&frame);
                client.send_all();
            }
            Ok(())
        }
        Err(error) => {
            // Whoever waits sees the connection end. What is cleared already may be the next monitor's by now.
            let _lock = store.lock_container(id);
            if held.stands(paths, id) {
                drop(clear(paths, &record));
            }
            Err(error)
        }
    }
}

/// Stays with the container from start to start, as its policy says, and clears up. Returns the last
/// word for the clients.
fn live(store: &Store<'_>, record: &Record, desk: &mut Desk) -> Result<Frame> {
    let (mut record, mut backoff, mut restarts) = (record.clone(), Backoff::default(), 0);
    let mut held = Held::default();
    loop {
        let begun = Instant::now();
        let (launched, state) = match start(store, &record, (restarts, &mut held)) {
            Ok(started) => started,
            Err(error) => return fail(store, &record, &error),
        };
        for client in &mut desk.clients {
            client.queue(&Frame::Started);
            client.send();
        }
        desk.health = Physician::new(store.paths(), &record);
        let code = supervise::supervise(desk, launched);
        desk.health = None;
        let code = code?;
        let mut ended = write_end(store, &record, state, code)?;
        if desk.is_ending && matches!(ended, End::Again(_)) {
            // The host goes down: what is to run again is started when it is back.
            ended = End::Rests;
            write_rest(store, &record)?;
        }
        match ended {
            End::Again(newer) => record = *newer,
            End::Rests | End::Vanishes => {
                // How it ended counts; what could not be cleared up is left to the next command.
                drop(finish(store, &record, &ended));
                return Ok(Frame::Exited(code));
            }
        }
        // Whoever waited for an end has seen one.
        for mut client in desk.clients.drain(..) {
            client.queue(&Frame::Exited(code));
            client.send_all();
        }
        rootfs::unmount(store.paths(), &record)?;
        reap::clear_for_restart(store.paths(), &record)?;
        let woken = supervise::rest(desk, backoff.after(begun.elapsed()))?;
        // Name, limits, policy and wish may have changed in the meantime.
        let found = store.read(&record.id)?;
        record = found.record;
        if woken || !record.restart.restarts(code, restarts, found.state.wish) {
            write_rest(store, &record)?;
            drop(finish(store, &record, &End::Rests));
            return Ok(Frame::Exited(code));
        }
        restarts += 1;
    }
}

fn start(
    store: &Store<'_>,
    record: &Record,
    (restarts, held): (u32, &mut Held),
) -> Result<(Launched, State)> {
    let launched = launch::launch(store.paths(), record, held)?;
    let mut state = State {
        status: Status::Running,
        process: Some(launched.process),
        started: Some(Timestamp::now()),
        address: launched.address.clone(),
        ports: launched.ports.clone(),
        restarts,
        ..State::default()
    };
    if restarts > 0 {
        // A person may have spoken while it was being started.
        let _lock = store.lock_container(&record.id)?;
        state.wish = store.read(&record.id)?.state.wish;
        store.write_state(record, &state)?;
    } else {
        store.write_state(record, &state)?;
    }
    events::container(store.paths(), record, "start", &[]);
    links::renew(store, &record.id);
    // It runs; what cannot be moved now, `twill network sync` moves or reports.
    drop(renumber::catch_up(store, record, state.address.as_ref()));
    Ok((launched, state))
}

/// What follows the end of a run.
enum End {
    /// The next run, of what is written down by now.
    Again(Box<Record>),
    Rests,
    Vanishes,
}

fn write_end(store: &Store<'_>, record: &Record, state: State, code: u8) -> Result<End> {
    let out_of_memory = Hierarchies::here()
        .is_ok_and(|hierarchies| hierarchies.cgroup(&record.cgroup()).was_out_of_memory());
    let health = record.health.as_ref().and_then(|_| Health::read(store.paths(), &record.id));
    let mut state = State { out_of_memory, health, ..state.exited(code, Timestamp::now()) };
    let (record, end) = {
        // Whoever moves the container to another subnet must not write over its end, and a wish comes
        // before it or after it.
        let _lock = store.lock_container(&record.id)?;
        let found = store.read(&record.id).ok();
        state.wish = found.as_ref().map_or(state.wish, |found| found.state.wish);
        let record = found.map_or_else(|| record.clone(), |found| found.record);
        let end = if record.auto_remove && state.wish != Wish::Again {
            End::Vanishes
        } else if record.restart.restarts(code, state.restarts, state.wish) {
            state.status = Status::Restarting;
            End::Again(Box::new(record.clone()))
        } else {
            End::Rests
        };
        // A full disk keeps neither the code from the clients nor anything from being cleared up;
        // the next command sees that nobody runs.
        if !matches!(end, End::Vanishes) {
            drop(store.write_state(&record, &state));
        }
        (record, end)
    };
    if out_of_memory {
        events::container(store.paths(), &record, "oom", &[]);
    }
    events::container(store.paths(), &record, "die", &[("exitCode", code.to_string())]);
    Ok(end)
}

fn finish(store: &Store<'_>, record: &Record, end: &End) -> Result<()> {
    // What is half cleared shows no monitor any more: who looks then must not take it for lost, nor start the
    // next one, which this one would clear away.
    let lock = store.lock_container(&record.id)?;
    clear(store.paths(), record)?;
    if lock.is_some() && matches!(end, End::Vanishes) {
        // Under the name that it has by now.
        let record = store.read(&record.id).map_or_else(|_| record.clone(), |found| found.record);
        store.remove(&record)?;
        events::container(store.paths(), &record, "destroy", &[]);
        Volumes::new(store.paths()).remove_anonymous(&record)?;
    }
    Ok(())
}

/// There is no next start.
fn write_rest(store: &Store<'_>, record: &Record) -> Result<()> {
    let _lock = store.lock_container(&record.id)?;
    let Container { record, state } = store.read(&record.id)?;
    // As above: a full disk is no reason to stay.
    drop(store.write_state(&record, &State { status: Status::Exited, ..state }));
    Ok(())
}

/// The mount is ours alone; the rest is what others would clear up, too.
fn clear(paths: &Paths, record: &Record) -> Result<()> {
    rootfs::unmount(paths, record).and(reap::clear(paths, record))
}

/// A start that failed leaves the container as it was, and the reason in its state.
fn fail(store: &Store<'_>, record: &Record, error: &Error) -> Result<Frame> {
    let frame = failure(error);
    let _lock = store.lock_container(&record.id)?;
    let cleared = clear(store.paths(), record);
    if let (Ok(Container { state, .. }), Frame::Failed { code, message, .. }) =
        (store.read(&record.id), &frame)
    {
        let mut state = State { error: message.clone(), exit_code: *code, ..state };
        if state.status == Status::Restarting {
            state.status = Status::Exited;
        }
        // The client is told; a full disk must not take the reason's place.
        drop(store.write_state(record, &state));
    }
    cleared.map(|()| frame)
}

fn failure(error: &Error) -> Frame {
    let code = match error {
        Error::Start { code, .. } => *code,
        _ => 125,
    };
    Frame::Failed { code, message: error.chain(), hint: error.hint().unwrap_or_default() }
}

fn tell_failure(client: &mut Connection, error: &Error) {
    let said = match error {
        Error::AlreadyRunning(_) => Frame::Running,
        error => failure(error),
    };
    client.queue(&said);
    client.send_all();
}
