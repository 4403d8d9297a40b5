//! The two system calls that Rust cannot vouch for, fenced.

#![expect(unsafe_code, reason = "fork and signal dispositions have no safe wrapper")]

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::unistd::{ForkResult, Pid};

/// A process with one thread: what may be forked. Whoever has it starts no thread.
#[derive(Debug)]
pub(crate) struct SingleThread(());

impl SingleThread {
    /// Refused in a process with more than one thread: its copy would hold locks whose owners do not
    /// exist.
    pub(crate) fn check() -> nix::Result<Self> {
        let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
        if threads == 1 { Ok(Self(())) } else { Err(nix::Error::EDEADLK) }
    }

    /// Splits this process in two, running `child` in the copy, which ends with the code it returns.
    pub(crate) fn fork(&self, child: impl FnOnce(&Self) -> i32) -> nix::Result<Pid> {
        // SAFETY: there is one thread, so the child inherits no lock that somebody else holds, and
        // all of Rust and libc may be used in it.
        match unsafe { nix::unistd::fork() }? {
            ForkResult::Parent { child } => Ok(child),
            ForkResult::Child => {
                let code = child(self);
                // SAFETY: `_exit` takes no pointers. The buffers of the parent must not be flushed a
                // second time, so `exit` is no choice.
                unsafe { nix::libc::_exit(code) }
            }
        }
    }
}

/// Gives the program that is about to be executed the signals that every program expects: none
/// blocked, none ignored. Rust ignores a closed pipe for itself, and whoever started us may have
/// ignored others, as shells do for what they run in the background; children would inherit it.
pub(crate) fn reset_signals() -> nix::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    for one in Signal::iterator() {
        if !matches!(one, Signal::SIGKILL | Signal::SIGSTOP) {
            // SAFETY: SIG_DFL is no function, so there is no handler that could be unsound.
            unsafe { signal(one, SigHandler::SigDfl) }?;
        }
    }
    Ok(())
}
