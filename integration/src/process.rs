//! Commands and daemons on a host: deadlines, transcripts, ends.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::wait::wait_until;

/// How a command ended and what it said.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its exit code, or 128 + the number of the signal that ended it.
    pub code: i32,
    /// Standard output, with bytes that are not UTF-8 replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

/// A long-lived program on a host. Dropping it kills it, and so does the end of its lab.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    pid: Pid,
    child: Arc<Mutex<Child>>,
    log: PathBuf,
    // How much earlier runs had said.
    before: usize,
}

/// The daemons of a lab.
///
/// They are children of this process, and the kernel takes a PID namespace down only once all in
/// it have been reaped: whoever ends a lab has to do that first, whoever else holds them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children {
    all: Arc<Mutex<Vec<Arc<Mutex<Child>>>>>,
    ended: Arc<AtomicBool>,
}

impl Children {
    /// Whether the lab was ended on purpose; what fails afterwards fails because of that.
    pub(crate) fn have_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Kills and reaps all of them.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        for child in std::mem::take(&mut *locked(&self.all)) {
            end(&child);
        }
    }

    /// Reaps those that have ended by themselves.
    pub(crate) fn reap(&self) {
        for child in locked(&self.all).iter() {
            // Fails only for one that has been reaped already.
            drop(locked(child).try_wait());
        }
    }

    fn add(&self, child: Child) -> Arc<Mutex<Child>> {
        let child = Arc::new(Mutex::new(child));
        locked(&self.all).push(child.clone());
        child
    }
}

impl Outcome {
    /// The outcome itself, if the command succeeded.
    ///
    /// # Errors
    /// When it did not; the message carries what it said.
    pub fn success(self) -> Result<Self> {
        if self.code != 0 {
            bail!("exit code {}: {}{}", self.code, self.stdout, self.stderr);
        }
        Ok(self)
    }
}

impl Daemon {
    pub(crate) fn new(
        name: &str,
        child: Child,
        (log, before): (PathBuf, usize),
        lab: &Children,
    ) -> Self {
        let pid = Pid::from_raw(child.id().cast_signed());
        Self { name: name.to_owned(), pid, child: lab.add(child), log, before }
    }

    /// Its process, by our own numbers.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Everything that this run of it has said so far, on both outputs.
    pub fn transcript(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let said = bytes.get(self.before..).unwrap_or_default();
        String::from_utf8_lossy(said).into_owned()
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        matches!(locked(&self.child).try_wait(), Ok(None))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_running() {
            bail!("{} has ended: {}", self.name, self.transcript());
        }
        kill(self.pid, signal).with_context(|| format!("cannot signal {}", self.name))?;
        if signal == Signal::SIGSTOP {
            let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            match waitid(Id::Pid(self.pid), flags).context("cannot wait for a stop")? {
                WaitStatus::Stopped(..) => (),
                state => bail!("{} did not stop: {state:?}: {}", self.name, self.transcript()),
            }
        }
        Ok(())
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// When it had ended already.
    pub fn kill(self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        locked(&self.child).wait().context("cannot reap it")?;
        Ok(())
    }

    /// Ends it with SIGTERM and answers its exit code.
    ///
    /// # Errors
    /// When it had ended already, or ignores the signal for `limit`.
    pub fn terminate(self, limit: Duration) -> Result<i32> {
        self.signal(Signal::SIGTERM)?;
        self.wait(limit)
    }

    /// Lets it run on after this process.
    pub fn leave(self) {
        // Forgotten, so that its end here kills nothing; it is the lab's now.
        std::mem::forget(self);
    }

    /// Waits for it to end by itself and answers its exit code.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait(self, limit: Duration) -> Result<i32> {
        let status = end_of(&self.child, &self.name, limit)?;
        Ok(code(status))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        end(&self.child);
    }
}

/// Waits for a child whose outputs go to `out` and `err`; kills it at the deadline.
pub(crate) fn outcome(
    child: Child,
    files: [&Path; 2],
    what: &str,
    limit: Duration,
) -> Result<Outcome> {
    let start = Instant::now();
    let child = Mutex::new(child);
    let ended = end_of(&child, what, limit);
    let took = start.elapsed();
    let [stdout, stderr] = files.map(read);
    for file in files {
        fs::remove_file(file)?;
    }
    match ended {
        Ok(status) => Ok(Outcome { code: code(status), stdout, stderr, took }),
        Err(error) => {
            end(&child);
            Err(error.context(format!("it said: {stdout}{stderr}")))
        }
    }
}

/// Appends to a transcript. A transcript that cannot be written must not fail what it tells of.
pub(crate) fn note(log: &Path, text: &str) {
    let file = OpenOptions::new().create(true).append(true).open(log);
    drop(file.and_then(|mut file: File| file.write_all(text.as_bytes())));
}

fn end(child: &Mutex<Child>) {
    let mut child = locked(child);
    // Both fail only for a child that has been reaped already.
    child.kill().ok();
    child.wait().ok();
}

// A panic elsewhere is reported there; here its children still have to be ended.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end_of(child: &Mutex<Child>, what: &str, limit: Duration) -> Result<ExitStatus> {
    let mut ended = None;
    wait_until(&format!("`{what}` ends"), limit, || {
        ended = locked(child).try_wait().ok().flatten();
        ended.is_some()
    })?;
    ended.context("it ended without a status")
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
