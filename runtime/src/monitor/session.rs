//! The client's end: starting a monitor, and sitting between a terminal and a container.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal as NixSignal;

use super::connection::Connection;
use super::control::Frame;
pub use super::forward::Signals;
use super::socket;
use super::spawn::spawn;
use crate::Paths;
use crate::container::reap::LOST;
use crate::container::{Attachment, Record, Store, id};
use crate::error::{Error, Result, SystemContext as _};
use crate::terminal::{self, DetachKeys, Raw};

const PIECE: usize = 16 * 1024;
/// From the end of a monitor to that of its container's files.
const REMOVAL: Duration = Duration::from_secs(1);

/// What is connected to a container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wishes {
    /// Which streams.
    pub attached: Attachment,
    /// Has the container a terminal?
    pub tty: bool,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The container ended with this code.
    Exited(u8),
    /// The user left it running.
    Detached,
}

/// A connection to the monitor of a container.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    /// Where the monitor listens.
    directory: PathBuf,
    paths: Paths,
    id: String,
    wishes: Option<Wishes>,
}

impl Session {
    /// Starts a monitor, which starts the container. With wishes, no byte of output is missed.
    pub fn start(paths: &Paths, record: &Record, wishes: Option<Wishes>) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().system("make a connection")?;
        let mut session = Self::new(ours, (paths, &record.id))?;
        session.wish(wishes);
        spawn(paths, &record.id, theirs.into())?;
        Ok(session)
    }

    /// Connects to the monitor of a running container.
    pub fn join(paths: &Paths, record: &Record, wishes: Option<Wishes>) -> Result<Self> {
        let directory = paths.run_container(&record.id);
        let stream = socket::connect(&directory, "control.sock")
            .map_err(|_no_monitor| Error::NotRunning(record.name.clone()))?;
        let mut session = Self::new(stream, (paths, &record.id))?;
        session.wish(wishes);
        Ok(session)
    }

    fn new(stream: UnixStream, (paths, id): (&Paths, &str)) -> Result<Self> {
        let connection = Connection::new(stream).ok_or(io::ErrorKind::BrokenPipe);
        let connection = connection.system("prepare the connection")?;
        let (directory, paths) = (paths.run_container(id), paths.clone());
        Ok(Self { connection, directory, paths, id: id.to_owned(), wishes: None })
    }

    fn wish(&mut self, wishes: Option<Wishes>) {
        self.wishes = wishes;
        let Some(Wishes { attached, tty }) = wishes else { return };
        self.connection.queue(&Frame::Attach(attached));
        if tty {
            self.tell_size();
        }
        self.connection.send();
    }

    fn tell_size(&mut self) {
        if let Some((rows, columns)) = terminal::size(io::stdout()) {
            self.connection.queue(&Frame::Resize { rows, columns });
        }
    }

    /// Waits until the program has been executed, by whomever, or the reason why not.
    pub fn wait_until_started(&mut self) -> Result<()> {
        match self.wait_for_frame()? {
            Frame::Started => Ok(()),
            Frame::Running => self.move_over(),
            Frame::Exited(_) => Err(Error::NoSuchContainer(id::short(&self.id).to_owned())),
            Frame::Failed { code, message, hint } => {
                let hint = (!hint.is_empty()).then_some(hint);
                Err(Error::Start { code, message, hint })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// To the monitor that stays with the container. One that only looked at it misses nothing here.
    fn move_over(&mut self) -> Result<()> {
        let Some(wishes) = self.wishes else { return Ok(()) };
        let joined =
            Self::join(&self.paths, &Store::new(&self.paths).read(&self.id)?.record, Some(wishes))?;
        self.connection = joined.connection;
        Ok(())
    }

    /// Waits for the end and returns the code.
    pub fn wait_for_end(mut self) -> Result<u8> {
        loop {
            if let Frame::Exited(code) = self.wait_for_frame()? {
                return Ok(code);
            }
        }
    }

    /// Why the monitor is gone: whoever removes a container by force may end that first, and is a moment later
    /// with the rest. For us its container was killed then.
    fn lost(&self) -> Result<u8> {
        let deadline = Instant::now() + REMOVAL;
        while Instant::now() < deadline {
            if !self.paths.container(&self.id).exists() {
                return Ok(LOST);
            }
            crate::cgroup::breathe();
        }
        let message = "the monitor of the container ended without a word".to_owned();
        let hint = Some("`twill ps -a` shows what is left".into());
        Err(Error::Start { code: 125, message, hint })
    }

    fn wait_for_frame(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.connection.next_wish() {
                return Ok(frame);
            }
            if self.connection.is_gone() {
                return self.lost().map(Frame::Exited);
            }
            let mut set = [PollFd::new(self.connection.fd(), PollFlags::POLLIN)];
            match poll(&mut set, PollTimeout::NONE) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error).system("wait for the monitor"),
            }
            self.connection.receive();
        }
    }

    /// Connects the caller's streams with the container's until one of them ends, or there is no more to be
    /// sent and nothing to be seen.
    pub fn sit(mut self, wishes: Wishes, signals: &Signals) -> Result<Ending> {
        let typing = wishes.attached.input && wishes.tty && terminal::is_terminal(io::stdin());
        let _raw = typing.then(|| Raw::enter(io::stdin())).transpose()?;
        let mut keys = typing.then(DetachKeys::default);
        let mut input = wishes.attached.input;
        loop {
            while let Some(frame) = self.connection.next_wish() {
                match frame {
                    Frame::Output(bytes) => show(&mut io::stdout(), &bytes)?,
                    Frame::ErrorOutput(bytes) => show(&mut io::stderr(), &bytes)?,
                    Frame::Exited(code) => return Ok(Ending::Exited(code)),
                    other => return Err(unexpected(&other)),
                }
            }
            if self.connection.is_gone() {
                return self.lost().map(Ending::Exited);
            }
            if !input && !wishes.attached.watches() && !self.connection.wants_to_send() {
                return Ok(Ending::Detached);
            }
            let ready = self.wait(input && self.connection.has_room(), signals)?;
            if ready.signal
                && let Some(signal) = signals.read()?
            {
                match signal {
                    NixSignal::SIGWINCH => self.tell_size(),
                    other => self.hand_on(other),
                }
            }
            if ready.input {
                match self.read_input(keys.as_mut())? {
                    Input::Some => {}
                    Input::End => input = false,
                    Input::Detach => return Ok(Ending::Detached),
                }
            }
            if ready.connection {
                self.connection.receive();
            }
            self.connection.send();
        }
    }

    /// By a connection of its own: on ours it would wait behind input that the container may never
    /// read.
    fn hand_on(&self, signal: NixSignal) {
        let frame = Frame::Signal(u8::try_from(signal as i32).unwrap_or_default());
        // A monitor that listens no more has seen the container end.
        let stream = socket::connect(&self.directory, "control.sock").ok();
        if let Some(mut connection) = stream.and_then(Connection::new) {
            connection.queue(&frame);
            connection.send();
        }
    }

    fn read_input(&mut self, keys: Option<&mut DetachKeys>) -> Result<Input> {
        let mut piece = [0; PIECE];
        // Unbuffered: a buffer would hide bytes from poll.
        let length = match nix::unistd::read(io::stdin(), &mut piece) {
            Ok(length) => length,
            Err(nix::Error::EINTR | nix::Error::EAGAIN) => return Ok(Input::Some),
            // A terminal that hung up has nothing more to say.
            Err(nix::Error::EIO) => 0,
            Err(error) => return Err(error).system("read standard input"),
        };
        if length == 0 {
            self.connection.queue(&Frame::InputEnd);
            return Ok(Input::End);
        }
        let typed = &piece[..length];
        let (passed, out) = keys.map_or((typed.to_vec(), false), |keys| keys.filter(typed));
        self.connection.queue(&Frame::Input(passed));
        Ok(if out { Input::Detach } else { Input::Some })
    }

    fn wait(&self, input: bool, signals: &Signals) -> Result<Ready> {
        let stdin = io::stdin();
        let mut wanted = PollFlags::POLLIN;
        wanted.set(PollFlags::POLLOUT, self.connection.wants_to_send());
        let mut set = vec![
            PollFd::new(self.connection.fd(), wanted),
            PollFd::new(signals.fd(), PollFlags::POLLIN),
        ];
        if input {
            set.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut set, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).system("wait for the container"),
        }
        let hot = |index: usize| set.get(index).and_then(PollFd::any).unwrap_or(false);
        let readable = set[0].revents().is_some_and(|got| !(got - PollFlags::POLLOUT).is_empty());
        Ok(Ready { connection: readable, signal: hot(1), input: hot(2) })
    }
}

struct Ready {
    connection: bool,
    signal: bool,
    input: bool,
}

enum Input {
    Some,
    End,
    Detach,
}

fn show(to: &mut impl io::Write, bytes: &[u8]) -> Result<()> {
    to.write_all(bytes).and_then(|()| to.flush()).system("write the container's output")
}

fn unexpected(frame: &Frame) -> Error {
    Error::Usage(format!("the monitor said something out of turn: {frame:?}"))
}
