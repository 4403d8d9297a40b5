//! Ctrl-C and its kin, as something that can be waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{SigSet, Signal};

use crate::by_hand::complain;
use crate::guardian::Stop;

/// SIGINT, SIGTERM and SIGHUP, which no longer end this process by themselves.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    signals: SigSet,
    came: Arc<AtomicBool>,
}

impl Interrupt {
    /// From now on they are held back. Must be called before the process has other threads.
    pub(crate) fn expect() -> Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block().context("cannot hold signals back")?;
        Ok(Self { signals, came: Arc::default() })
    }

    /// From now on one of them takes the lab down and ends this process, with the code that
    /// shells use, whatever its other threads do.
    pub(crate) fn ends(&self, lab: Stop) -> Result<()> {
        let interrupt = self.clone();
        let watch = move || {
            let Ok(signal) = interrupt.wait() else { return };
            interrupt.came.store(true, Ordering::SeqCst);
            complain(&anyhow!("interrupted, taking the lab down"));
            if let Err(error) = lab.stop() {
                complain(&error);
            }
            leave(128 + signal as i32);
        };
        thread::Builder::new().spawn(watch).context("cannot watch for Ctrl-C")?;
        Ok(())
    }

    /// For a thread whose work failed: if that is so because the lab is being taken down, there is
    /// nothing to say, and this never returns.
    pub(crate) fn explains_failure(&self) {
        while self.came.load(Ordering::SeqCst) {
            thread::park();
        }
    }

    /// Waits for one of them.
    pub(crate) fn wait(&self) -> Result<Signal> {
        self.signals.wait().context("cannot wait for a signal")
    }
}

#[expect(clippy::exit, reason = "the main thread may be anywhere, and has nothing left to do")]
fn leave(code: i32) {
    std::process::exit(code);
}
