//! The signals that a client in the foreground hands on to its container.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Result, SystemContext as _};

/// Signals that are handed on to the container.
const FORWARDED: [NixSignal; 6] = [
    NixSignal::SIGHUP,
    NixSignal::SIGINT,
    NixSignal::SIGQUIT,
    NixSignal::SIGTERM,
    NixSignal::SIGUSR1,
    NixSignal::SIGUSR2,
];

/// The signals that a session hands on, blocked for this process and read from a descriptor.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// From now on they do not end this process. Call it before the container is started.
    pub fn take() -> Result<Self> {
        let mut mask = SigSet::empty();
        FORWARDED.iter().chain(&[NixSignal::SIGWINCH]).for_each(|signal| mask.add(*signal));
        mask.thread_block().system("block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&mask, flags).system("listen to signals").map(Self)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(super) fn read(&self) -> Result<Option<NixSignal>> {
        let got = self.0.read_signal().system("read a signal")?;
        Ok(got.and_then(|got| NixSignal::try_from(got.ssi_signo.cast_signed()).ok()))
    }
}
