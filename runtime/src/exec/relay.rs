//! Moves bytes between the caller's terminal and a process in a container.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Result, SystemContext as _};
use crate::process::Handle;
use crate::terminal::{self, Raw};

/// From here to there.
#[derive(Debug)]
pub(super) struct Route {
    from: File,
    to: File,
    is_output: bool,
}

impl Route {
    /// The caller's input.
    pub(super) fn new(from: File, to: File) -> Self {
        Self { from, to, is_output: false }
    }

    /// The process's output: what is in it when the process ends still arrives.
    pub(super) fn output(from: File, to: File) -> Self {
        Self { from, to, is_output: true }
    }

    /// Moves one piece; false if this route has ended.
    fn pass(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match self.from.read(&mut piece) {
            Ok(0) => false,
            Ok(length) => self.to.write_all(&piece[..length]).is_ok(),
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
        }
    }

    fn is_ready(&self) -> bool {
        let mut set = [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut set, PollTimeout::ZERO), Ok(1..))
    }
}

/// All routes of one process.
#[derive(Debug)]
pub(super) struct Relay {
    routes: Vec<Route>,
    terminal: Option<(File, SignalFd)>,
}

impl Relay {
    /// Without a terminal of its own.
    pub(super) fn pipes(routes: Vec<Route>) -> Self {
        Self { routes, terminal: None }
    }

    /// With the master of one.
    pub(super) fn terminal(master: File, interactive: bool) -> Result<Self> {
        let copy = || master.try_clone().system("copy the terminal");
        let own = |stream: &dyn std::os::fd::AsFd| {
            stream.as_fd().try_clone_to_owned().map(File::from).system("copy a stream")
        };
        let mut routes = vec![Route::output(copy()?, own(&io::stdout())?)];
        if interactive {
            routes.push(Route::new(own(&io::stdin())?, copy()?));
        }
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGWINCH);
        mask.thread_block().system("block a signal")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).system("listen to a signal")?;
        fit(&master);
        Ok(Self { routes, terminal: Some((master, signals)) })
    }

    /// Until the process has ended and its output is through.
    pub(super) fn run(mut self, process: &Handle) -> Result<()> {
        let typing = self.terminal.is_some()
            && self.routes.iter().any(|route| !route.is_output)
            && terminal::is_terminal(io::stdin());
        let _raw = typing.then(|| Raw::enter(io::stdin())).transpose()?;
        while !self.step(process)? {}
        for route in self.routes.iter_mut().filter(|route| route.is_output) {
            while route.is_ready() && route.pass() {}
        }
        Ok(())
    }

    fn step(&mut self, process: &Handle) -> Result<bool> {
        let mut set = vec![PollFd::new(process.fd().as_fd(), PollFlags::POLLIN)];
        set.extend(
            self.routes.iter().map(|route| PollFd::new(route.from.as_fd(), PollFlags::POLLIN)),
        );
        set.extend(
            self.terminal
                .iter()
                .map(|(_, signals)| PollFd::new(signals.as_fd(), PollFlags::POLLIN)),
        );
        match poll(&mut set, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::Error::EINTR) => return Ok(false),
            Err(error) => return Err(error).system("wait for the process"),
        }
        let hot: Vec<bool> = set.iter().map(|entry| entry.any().unwrap_or(false)).collect();
        drop(set);
        if let Some((master, signals)) = &self.terminal
            && hot.last() == Some(&true)
            && signals.read_signal().system("read a signal")?.is_some()
        {
            fit(master);
        }
        let mut index = 0;
        self.routes.retain_mut(|route| {
            index += 1;
            !hot[index] || route.pass()
        });
        Ok(hot[0])
    }
}

/// Gives the container's terminal the size of ours.
fn fit(master: &File) {
    if let Some((rows, columns)) = terminal::size(io::stdout()) {
        let size =
            rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // A terminal that is going away needs no size.
        _ = rustix::termios::tcsetwinsize(master, size);
    }
}
