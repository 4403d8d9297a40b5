//! Processes that cannot be mistaken for others: a pid with the moment it was given out.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::error::{Result, SystemContext as _};
use crate::signals::Signal;

/// One process, ever: the kernel hands a pid out again, but not at the same clock tick of one boot.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Process {
    /// Its number in our pid namespace.
    pub pid: i32,
    /// Clock ticks from boot to its start, field 22 of `/proc/<pid>/stat`.
    pub started: u64,
}

impl Process {
    /// `None` if there is no such process.
    #[must_use]
    pub fn of_pid(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, started: start_time(&stat)? })
    }

    /// A handle on it, `None` if it is gone. What the handle names stays what it is.
    #[must_use]
    pub fn open(self) -> Option<Handle> {
        if self.pid <= 0 {
            return None;
        }
        let pid = Pid::from_raw(self.pid)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at after the handle is there: a stranger with this pid has another start time.
        (Self::of_pid(self.pid) == Some(self)).then_some(Handle(pidfd))
    }

    /// Is it there, and more than a zombie?
    #[must_use]
    pub fn is_alive(self) -> bool {
        self.open().is_some_and(|handle| !handle.has_ended())
    }
}

/// A process that will not be mistaken for another, alive or dead.
#[derive(Debug)]
pub struct Handle(OwnedFd);

impl Handle {
    /// A handle on a child of ours, whose pid cannot have been given to anybody else.
    pub fn of_child(pid: i32) -> Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(nix::Error::ESRCH).system("find the container")?;
        pidfd_open(pid, PidfdFlags::empty()).system("open the container's process").map(Self)
    }

    /// A handle on this very process, for the children that it is about to have.
    pub fn of_self() -> Result<Self> {
        let own = rustix::process::getpid();
        pidfd_open(own, PidfdFlags::empty()).system("open this process").map(Self)
    }

    /// Sends a signal; a process that is gone already is no failure.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.0, signal.to_rustix()) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).system("send the signal"),
        }
    }

    /// Waits for its end. `None` waits for ever. True if it has ended.
    pub fn wait(&self, limit: Option<Duration>) -> Result<bool> {
        let deadline = limit.map(|limit| std::time::Instant::now() + limit);
        loop {
            let left = deadline.map(|end| end.saturating_duration_since(std::time::Instant::now()));
            let timeout = left.map_or(PollTimeout::NONE, |left| {
                PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX)
            });
            match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) if left.is_none_or(|left| !left.is_zero()) => {}
                Ok(ready) => return Ok(ready > 0),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error).system("wait for the process"),
            }
        }
    }

    /// Has it ended by now?
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.wait(Some(Duration::ZERO)).unwrap_or(true)
    }

    /// For `poll` (readable once the process has ended) and `setns`.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }
}

/// As many open files as this process may have: an image has many layers, and a tree may be deep. What
/// containers may have is set for each by itself.
pub fn allow_many_files() {
    let (kind, most) = (Resource::RLIMIT_NOFILE, getrlimit(Resource::RLIMIT_NOFILE));
    if let Ok((soft, hard)) = most
        && soft < hard
    {
        // With fewer most things can be done all the same.
        _ = setrlimit(kind, hard, hard);
    }
}

/// The name in the second field may hold spaces and parentheses.
fn start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_times_survive_odd_process_names() {
        let tail = "S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        for name in ["(sh)", "(a b)", "(a) b)", "(x) S 1 (y)"] {
            assert_eq!(start_time(&format!("42 {name} {tail}")), Some(777), "{name}");
        }
        assert_eq!(start_time("42 (sh) S 1"), None);
        assert_eq!(start_time(""), None);
    }

    #[test]
    fn a_recycled_pid_is_another_process() {
        let own = Process::of_pid(std::process::id().cast_signed()).unwrap();
        assert!(own.is_alive());
        assert!(!Process { started: own.started + 1, ..own }.is_alive());
        assert!(!Process { pid: -1, ..own }.is_alive());
    }
}
