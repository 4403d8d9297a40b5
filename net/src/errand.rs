//! Runs a program of the administrator's choice: each line that it says is heard at once, and nothing
//! that it starts in its process group outlives it.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Error;

/// Longer lines are cut.
const LONGEST_LINE: usize = 400;
/// More lines than that are counted only, on each of the two outputs.
const MOST_LINES: usize = 200;
/// How long the outputs are listened to after the end: whoever has left the group can hold them open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A program to run to its end, in a process group of its own, with nothing on stdin.
#[derive(Clone, Copy, Debug)]
pub struct Errand<'a> {
    /// Its path, or its name, looked up in `PATH`.
    pub program: &'a Path,
    /// Its arguments, each passed as it is.
    pub arguments: &'a [&'a str],
    /// Variables that it gets besides our own.
    pub variables: &'a [(&'a str, &'a str)],
    /// Those of our own variables that it does not get.
    pub keeps_back: fn(&str) -> bool,
    /// How long it may take before its group is killed.
    pub deadline: Duration,
}

/// One line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Said {
    /// On stdout.
    Out(String),
    /// On stderr.
    Err(String),
}

impl Errand<'_> {
    /// Runs it, and hands each line that it says to `hear`. Its group is killed at its end, at the
    /// deadline, and when the future is dropped.
    ///
    /// # Errors
    ///
    /// When it cannot be started, does not end in time, or does not end with status 0; the last
    /// carries the first line that it wrote to stderr.
    pub async fn run(self, mut hear: impl FnMut(Said)) -> Result<(), Error> {
        let program = || self.program.display().to_string();
        let not_started = |source| Error::StartProgram { program: program(), source };
        let mut group = Group::start(&self).map_err(not_started)?;
        let mut complaint = None;
        let hear = |said: Said| {
            if let (Said::Err(line), None) = (&said, &complaint) {
                complaint = Some(line.clone());
            }
            hear(said);
        };
        let in_time = timeout(self.deadline, group.listen(hear)).await;
        group.kill();
        let status = group.child.wait().await.map_err(not_started)?;
        match in_time {
            Err(_elapsed) => Err(Error::Deadline { program: program(), deadline: self.deadline }),
            Ok(listened) => {
                listened.map_err(not_started)?;
                if status.success() {
                    return Ok(());
                }
                let complaint = complaint.unwrap_or_else(|| "it did not say why".to_owned());
                let status = status.to_string();
                Err(Error::ProgramFailed { program: program(), status, complaint })
            }
        }
    }
}

/// A child and all that it starts and leaves in its group.
#[derive(Debug)]
struct Group {
    child: Child,
}

impl Group {
    fn start(errand: &Errand<'_>) -> io::Result<Self> {
        let mut command = Command::new(errand.program);
        command.args(errand.arguments).current_dir("/").process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ours = std::env::vars_os().map(|(name, _value)| name);
        ours.filter(|name| name.to_str().is_some_and(errand.keeps_back)).for_each(|name| {
            command.env_remove(name);
        });
        command.envs(errand.variables.iter().copied());
        Ok(Self { child: command.spawn()? })
    }

    /// Until both outputs are at their ends.
    async fn listen(&mut self, mut hear: impl FnMut(Said)) -> io::Result<()> {
        let leader = self.leader();
        let mut dead = std::pin::pin!(dead(leader));
        let mut out = Lines::new(self.child.stdout.take());
        let mut err = Lines::new(self.child.stderr.take());
        let mut ended = None;
        while ended.is_none() || out.is_open() || err.is_open() {
            tokio::select! {
                line = out.next(), if out.is_open() => {
                    line?.into_iter().for_each(|line| hear(Said::Out(line)));
                }
                line = err.next(), if err.is_open() => {
                    line?.into_iter().for_each(|line| hear(Said::Err(line)));
                }
                died = &mut dead, if ended.is_none() => {
                    died?;
                    ended = Some(Instant::now());
                    self.kill();
                }
                () = last_words(ended), if ended.is_some() => break,
            }
        }
        Ok(())
    }

    /// The first of the group, until it is reaped.
    fn leader(&self) -> Option<Pid> {
        self.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
    }

    /// Nobody but us reaps the first of the group, so that its number is nobody else's until then.
    fn kill(&self) {
        if let Some(leader) = self.leader() {
            // There may be nobody left in it but the dead.
            _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for the end of a child, and leaves it to be reaped.
async fn dead(child: Option<Pid>) -> io::Result<()> {
    let Some(child) = child else { return Ok(()) };
    // From before the first look, so that no end is missed.
    let mut ends = signal(SignalKind::child())?;
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    while waitid(Id::Pid(child), flags)? == WaitStatus::StillAlive {
        ends.recv().await;
    }
    Ok(())
}

async fn last_words(ended: Option<Instant>) {
    if let Some(ended) = ended {
        sleep_until(ended + LAST_WORDS).await;
    }
}

/// The lines of an output, each of bounded length, and of bounded number.
struct Lines<R> {
    source: Option<BufReader<R>>,
    line: Vec<u8>,
    number: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(source: Option<R>) -> Self {
        Self { source: source.map(BufReader::new), line: Vec::new(), number: 0 }
    }

    fn is_open(&self) -> bool {
        self.source.is_some()
    }

    /// The next line that is to be heard; `None` at the end, and for one that is not. Nothing is lost
    /// if the future is dropped.
    async fn next(&mut self) -> io::Result<Option<String>> {
        let Some(source) = &mut self.source else { return Ok(None) };
        let bytes = source.fill_buf().await?;
        if bytes.is_empty() {
            self.source = None;
            let rest = (!self.line.is_empty()).then(|| self.take()).flatten();
            let passed_over = self.number.saturating_sub(MOST_LINES);
            return Ok(rest
                .or_else(|| (passed_over > 0).then(|| format!("… and {passed_over} lines more"))));
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let piece = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        let room = LONGEST_LINE.saturating_sub(self.line.len());
        self.line.extend(piece.iter().take(room));
        let read = piece.len() + usize::from(end.is_some());
        source.consume(read);
        Ok(end.and_then(|_end| self.take()))
    }

    /// What was read is a line; `None` if there were too many. What a terminal would obey is not in it.
    fn take(&mut self) -> Option<String> {
        self.number += 1;
        let line = String::from_utf8_lossy(&self.line);
        let harmless = |c: char| if c.is_control() { ' ' } else { c };
        let line: String = line.trim_end().chars().map(harmless).collect();
        self.line.clear();
        (self.number <= MOST_LINES).then_some(line)
    }
}

#[cfg(test)]
mod tests;
