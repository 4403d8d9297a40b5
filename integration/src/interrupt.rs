//! Ctrl-C and its kin, as something that can be waited for.

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

/// SIGINT, SIGTERM and SIGHUP, which no longer end this process by themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupt {
    signals: SigSet,
}

impl Interrupt {
    /// From now on they are held back. Must be called before the process has other threads.
    pub(crate) fn expect() -> Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block().context("cannot hold signals back")?;
        Ok(Self { signals })
    }

    /// Waits for one of them.
    pub(crate) fn wait(self) -> Result<Signal> {
        self.signals.wait().context("cannot wait for a signal")
    }
}
