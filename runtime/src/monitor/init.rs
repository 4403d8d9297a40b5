//! `--init`: the first process of a container reaps orphans and hands signals on, and its child is the
//! container's program.
//!
//! It is this program, which is here anyway, sealed and with the container's own powers; an image need not
//! have anything for it, and it executes nothing.

use std::fs;

use libcontainer::workload::ExecutorError;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, close, setpgid};

use crate::raw::SingleThread;
use crate::signals::Signal;

/// Never returns if all is well. `become_program` runs in the child and returns its exit code if the
/// program could not be executed.
pub(super) fn run(become_program: impl FnOnce() -> i32) -> ExecutorError {
    match prepare(become_program) {
        Ok((child, signals)) => exit(reap(child, &signals)),
        Err(error) => ExecutorError::Other(format!("cannot begin as the first process: {error}")),
    }
}

fn prepare(become_program: impl FnOnce() -> i32) -> nix::Result<(Pid, SignalFd)> {
    // Before there is a child that could end unnoticed.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    prctl::set_name(c"twill-init")?;
    prctl::set_dumpable(false)?;
    let single = SingleThread::check()?;
    let child = single.fork(|_| {
        // A session has one group in the foreground: the program's, not ours.
        _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
        _ = rustix::termios::tcsetpgrp(std::io::stdin(), rustix::process::getpid());
        become_program()
    })?;
    // What the monitor and libcontainer have open must neither stay open nor be within reach.
    for number in open_files() {
        _ = close(number);
    }
    Ok((child, SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC)?))
}

fn open_files() -> Vec<i32> {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number: &i32| *number > 2).collect()
}

/// Until the child has ended; returns its code, 128+n for signal n.
fn reap(child: Pid, signals: &SignalFd) -> i32 {
    loop {
        if let Some(code) = collect(child) {
            return code;
        }
        let Ok(Some(got)) = signals.read_signal() else { continue };
        let number = i32::try_from(got.ssi_signo).unwrap_or(0);
        if number == NixSignal::SIGCHLD as i32 {
            continue;
        }
        let receiver = rustix::process::Pid::from_raw(child.as_raw());
        if let (Some(signal), Some(receiver)) = (Signal::from_number(number), receiver) {
            // It may have ended just now.
            _ = rustix::process::kill_process(receiver, signal.to_rustix());
        }
    }
}

/// Buries everybody who has ended; the code of the child, if it was among them.
fn collect(child: Pid) -> Option<i32> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Some(128 + signal as i32);
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
            Ok(_) | Err(_) => {}
        }
    }
}

#[expect(clippy::exit, reason = "a copy of the monitor must not go on as the monitor")]
fn exit(code: i32) -> ExecutorError {
    std::process::exit(code)
}
