//! Children of a test: what they said, how they end.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// No test waits longer for anything.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A child that does not outlive the test.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(super) fn start(mut command: Command, log: &str) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Self { child: command.spawn().expect("started"), log: log.into() }
    }

    /// What it said on stderr.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).expect("the log")
    }

    /// Waits until it said that.
    pub(crate) fn says(&mut self, words: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.said().contains(words) {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "ended without saying `{words}`:\n{}", self.said());
            assert!(Instant::now() < deadline, "did not say `{words}`:\n{}", self.said());
            pause();
        }
    }

    pub(crate) fn count(&self, words: &str) -> usize {
        self.said().matches(words).count()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "still runs:\n{}", self.said());
            pause();
        }
    }

    /// Waits for its end with that code and one line that holds these words, then a hint.
    pub(crate) fn refuses(&mut self, code: i32, words: &[&str]) {
        let status = self.ends();
        let said = self.said();
        assert_eq!(status.code(), Some(code), "{said}");
        let lines: Vec<&str> = said.lines().collect();
        let complaints: Vec<&&str> =
            lines.iter().filter(|line| line.starts_with("twilld: ")).collect();
        assert_eq!(complaints.len(), 1, "{said}");
        assert!(words.iter().all(|word| complaints[0].contains(word)), "{words:?}:\n{said}");
        assert!(lines.last().is_some_and(|line| line.starts_with("hint: ")), "{said}");
        let noise = lines.iter().any(|line| line.contains("ERROR") || line.contains("WARN"));
        assert!(!noise && !said.contains("panicked"), "{said}");
    }

    /// Back from SIGSTOP when every thread has stopped: each notices for itself.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        kill(pid, signal).expect("signalled");
        if signal == Signal::SIGSTOP {
            let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            let state = waitid(Id::Pid(pid), flags).expect("a child");
            assert!(matches!(state, WaitStatus::Stopped(..)), "{state:?}: {}", self.said());
        }
    }

    /// SIGTERM, and a good end.
    pub(crate) fn stops(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.ends();
        assert_eq!(status.code(), Some(0), "{}", self.said());
    }

    /// `kill -9`.
    pub(crate) fn dies(mut self) {
        self.signal(Signal::SIGKILL);
        self.ends();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut so: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < LIMIT, "no {what} in {LIMIT:?}");
        pause();
    }
    start.elapsed()
}

/// Only between two looks at a condition that has a limit.
fn pause() {
    std::thread::park_timeout(Duration::from_millis(5));
}

pub(super) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

pub(super) const TIED: [&str; 3] = ["--pdeathsig", "KILL", "--"];

/// Killed by the kernel when the test is.
pub(super) fn tied(program: &str) -> Command {
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(TIED).arg(program).env("PATH", PATH);
    command
}
