//! The life of a monitor between the start and the end of its container: moving bytes.
//!
//! One thread, one `poll`. Memory is bounded everywhere: as long as an attached client does not
//! read, the container's output waits in its pipe, as it would without us.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::connection::Connection;
use super::control::Frame;
use super::health::Physician;
use super::launch::{Launched, Streams};
use super::log::{Log, Stream};
use crate::cgroup::Cgroup;
use crate::error::{Result, SystemContext as _};
use crate::process::Handle;
use crate::signals::Signal;

const PIECE: usize = 16 * 1024;
/// As much input as is kept for a container that does not read it.
const INPUT_LIMIT: usize = 64 * 1024;
/// How long a container may take when the host asks us to end.
const GRACE: Duration = Duration::from_secs(10);

/// Who is connected and what is written down.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) listener: UnixListener,
    pub(super) clients: Vec<Connection>,
    pub(super) log: Log,
    pub(super) signals: SignalFd,
    pub(super) stop_signal: Signal,
    pub(super) cgroup: Cgroup,
    /// Does the container's input end with whoever feeds it?
    pub(super) feeds_once: bool,
    /// Was this monitor asked to end? Then no policy starts the container again.
    pub(super) is_ending: bool,
    /// Who asks the container how it is, if anybody does.
    pub(super) health: Option<Physician>,
}

impl Desk {
    /// A signal finds nobody at home in a paused container, so it is let go on, as Docker does.
    fn strike(&self, handle: &Handle, signal: Signal) -> Result<()> {
        handle.signal(signal)?;
        let ends = signal == Signal::KILL || signal == self.stop_signal;
        if (ends || self.stop_signal == Signal::TERM) && self.cgroup.is_frozen() {
            self.cgroup.thaw()?;
        }
        Ok(())
    }
}

/// Moves bytes until the container has ended; returns its code, 128+n for signal n.
pub(super) fn supervise(desk: &mut Desk, launched: Launched) -> Result<u8> {
    let _volumes = launched.volumes;
    let mut wires = Wires::new(launched.streams)?;
    let handle = launched.handle;
    let mut deadline: Option<Instant> = None;
    loop {
        let ready = wait(desk, &wires, handle.fd().as_fd(), deadline)?;
        if ready.signal && desk.signals.read_signal().system("read a signal")?.is_some() {
            desk.is_ending = true;
            desk.strike(&handle, desk.stop_signal)?;
            deadline.get_or_insert(Instant::now() + GRACE);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            desk.strike(&handle, Signal::KILL)?;
            deadline = None;
        }
        if ready.listener
            && let Ok((stream, _)) = desk.listener.accept()
        {
            desk.clients.extend(Connection::new(stream));
        }
        for (index, readable) in ready.clients.iter().enumerate() {
            if *readable {
                desk.clients[index].receive();
            }
        }
        if let Some(physician) = &mut desk.health {
            physician.turn();
        }
        obey(desk, &mut wires, &handle)?;
        wires.pass_output(desk);
        wires.pass_input();
        desk.clients.iter_mut().for_each(Connection::send);
        desk.clients.retain(|client| !client.is_gone());
        if ready.ended {
            break;
        }
    }
    // Everybody who could write has ended with the first process: the rest is in the pipes.
    while wires.pass_output(desk) {
        desk.clients.iter_mut().for_each(Connection::send_all);
    }
    desk.log.finish(Timestamp::now());
    exit_code(launched.process.pid)
}

/// Waits until the next start; true if a signal came first. Whoever connects meanwhile belongs to
/// the next run.
pub(super) fn rest(desk: &mut Desk, delay: Duration) -> Result<bool> {
    let deadline = Instant::now() + delay;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        let mut set = [
            PollFd::new(desk.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(desk.listener.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut set, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).system("wait for the next start"),
        }
        let called = set[1].any().unwrap_or(false);
        if desk.signals.read_signal().system("read a signal")?.is_some() {
            return Ok(true);
        }
        if called && let Ok((stream, _)) = desk.listener.accept() {
            desk.clients.extend(Connection::new(stream));
        }
    }
}

fn exit_code(pid: i32) -> Result<u8> {
    loop {
        match waitpid(Pid::from_raw(pid), None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(u8::try_from(code & 0xff).unwrap_or(255)),
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Ok(128 + u8::try_from(signal as i32).unwrap_or(127));
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).system("learn the container's exit code"),
        }
    }
}

#[derive(Debug, Default)]
struct Ready {
    ended: bool,
    signal: bool,
    listener: bool,
    /// Can it be read from?
    clients: Vec<bool>,
}

fn wait(
    desk: &Desk,
    wires: &Wires,
    ended: BorrowedFd<'_>,
    deadline: Option<Instant>,
) -> Result<Ready> {
    let input = PollFlags::POLLIN;
    let mut set = vec![
        PollFd::new(ended, input),
        PollFd::new(desk.signals.as_fd(), input),
        PollFd::new(desk.listener.as_fd(), input),
    ];
    let room_for_input = wires.pending.len() < INPUT_LIMIT;
    let mut asked = Vec::new();
    for client in &desk.clients {
        let mut flags = PollFlags::empty();
        // Who sends no input has only wishes, which do not wait for the container.
        flags.set(PollFlags::POLLIN, room_for_input || !client.feeds());
        flags.set(PollFlags::POLLOUT, client.wants_to_send());
        asked.push(flags);
        // Nobody is asked for nothing: one that hung up would answer for ever.
        set.extend((!flags.is_empty()).then(|| PollFd::new(client.fd(), flags)));
    }
    let room_for_output = desk.clients.iter().all(Connection::has_room);
    set.extend(wires.poll_set(room_for_output));
    let health = desk.health.as_ref();
    set.extend(health.and_then(Physician::fd).map(|fd| PollFd::new(fd, input)));
    let deadline = deadline.into_iter().chain(health.map(Physician::deadline)).min();
    let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut set, timeout) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(error) => return Err(error).system("wait for the container"),
    }
    let hot = |entry: &PollFd<'_>| entry.any().unwrap_or(false);
    let mut answers = set[3..].iter();
    let readable = |flags: &PollFlags| {
        let answer = if flags.is_empty() { None } else { answers.next() };
        let got = answer.and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        flags.contains(PollFlags::POLLIN) && !(got - PollFlags::POLLOUT).is_empty()
    };
    let clients = asked.iter().map(readable).collect();
    Ok(Ready { ended: hot(&set[0]), signal: hot(&set[1]), listener: hot(&set[2]), clients })
}

/// Does what the clients asked for.
fn obey(desk: &mut Desk, wires: &mut Wires, handle: &Handle) -> Result<()> {
    let mut signals = Vec::new();
    for client in &mut desk.clients {
        while let Some(frame) = client.next_wish() {
            match frame {
                Frame::Input(bytes) if client.feeds() => wires.pending.extend_from_slice(&bytes),
                Frame::InputEnd => wires.input_ended |= desk.feeds_once,
                Frame::Resize { rows, columns } => wires.resize(rows, columns),
                Frame::Signal(number) => signals.extend(Signal::from_number(number.into())),
                // The rest is for clients only, or for those that said they would feed it.
                _ => client.hang_up(),
            }
        }
        // Who fed the container and left will feed it no more.
        wires.input_ended |= desk.feeds_once && client.is_gone() && client.feeds();
    }
    signals.into_iter().try_for_each(|signal| desk.strike(handle, signal))
}

/// The container's streams without waiting.
#[derive(Debug)]
struct Wires {
    outputs: Vec<(Stream, File)>,
    input: Option<File>,
    terminal: bool,
    pending: Vec<u8>,
    input_ended: bool,
}

impl Wires {
    fn new(streams: Streams) -> Result<Self> {
        let (outputs, input, terminal) = match streams {
            Streams::Pipes { input, output, error } => {
                let file = |pipe: io::PipeReader| File::from(std::os::fd::OwnedFd::from(pipe));
                let outputs = vec![(Stream::Output, file(output)), (Stream::Error, file(error))];
                (outputs, input.map(|pipe| File::from(std::os::fd::OwnedFd::from(pipe))), false)
            }
            Streams::Terminal(master) => {
                let writer = master.try_clone().system("copy the terminal")?;
                (vec![(Stream::Output, master)], Some(writer), true)
            }
        };
        for file in outputs.iter().map(|(_, file)| file).chain(&input) {
            let set = fcntl(file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
            set.system("prepare the container's streams")?;
        }
        Ok(Self { outputs, input, terminal, pending: Vec::new(), input_ended: false })
    }

    fn poll_set(&self, room_for_output: bool) -> impl Iterator<Item = PollFd<'_>> {
        let outputs = self.outputs.iter().filter(move |_| room_for_output);
        let outputs = outputs.map(|(_, file)| PollFd::new(file.as_fd(), PollFlags::POLLIN));
        let hungry = self.input.iter().filter(|_| !self.pending.is_empty());
        outputs.chain(hungry.map(|file| PollFd::new(file.as_fd(), PollFlags::POLLOUT)))
    }

    /// Moves at most one piece of each stream; false if there was nothing.
    fn pass_output(&mut self, desk: &mut Desk) -> bool {
        let mut moved = false;
        let mut piece = [0; PIECE];
        if !desk.clients.iter().all(Connection::has_room) {
            return false;
        }
        self.outputs.retain_mut(|(stream, file)| match file.read(&mut piece) {
            Ok(0) => false,
            Ok(length) => {
                moved = true;
                deliver(desk, *stream, &piece[..length]);
                true
            }
            Err(error) => {
                use io::ErrorKind::{Interrupted, WouldBlock};
                // A terminal whose last user is gone answers EIO.
                matches!(error.kind(), WouldBlock | Interrupted)
            }
        });
        moved
    }

    fn pass_input(&mut self) {
        let Some(input) = &mut self.input else {
            self.pending.clear();
            return;
        };
        match input.write(&self.pending) {
            Ok(length) => drop(self.pending.drain(..length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The container closed it.
            Err(_) => {
                self.pending.clear();
                self.input_ended = true;
            }
        }
        if self.input_ended && self.pending.is_empty() && !self.terminal {
            self.input = None;
        }
    }

    fn resize(&self, rows: u16, columns: u16) {
        if let (true, Some((_, master))) = (self.terminal, self.outputs.first()) {
            let size = rustix::termios::Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // A terminal that is going away needs no size.
            _ = rustix::termios::tcsetwinsize(master, size);
        }
    }
}

fn deliver(desk: &mut Desk, stream: Stream, bytes: &[u8]) {
    desk.log.write(stream, bytes, Timestamp::now());
    let frame = match stream {
        Stream::Output => Frame::Output(bytes.to_vec()),
        Stream::Error => Frame::ErrorOutput(bytes.to_vec()),
    };
    desk.clients
        .iter_mut()
        .filter(|client| client.listens_to(stream))
        .for_each(|client| client.queue(&frame));
}
