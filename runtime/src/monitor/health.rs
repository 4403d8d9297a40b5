//! Asks a container, from time to time, whether it does its work: by `exec`, as a person would.

use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::cgroup::Hierarchies;
use crate::container::health::{Answer, Check, Health, OUTPUT};
use crate::container::{Record, halts};
use crate::error::{Result, SystemContext as _};
use crate::{Paths, events};

/// One container's questions and answers during one run.
#[derive(Debug)]
pub(super) struct Physician {
    paths: Paths,
    record: Record,
    check: Check,
    health: Health,
    begun: Instant,
    next: Instant,
    question: Option<Question>,
}

/// One that was asked and has not been answered.
#[derive(Debug)]
struct Question {
    child: Child,
    output: PipeReader,
    said: Vec<u8>,
    asked: Timestamp,
    deadline: Instant,
}

impl Physician {
    /// `None` if there is nothing to be asked.
    pub(super) fn new(paths: &Paths, record: &Record) -> Option<Self> {
        let check = record.health.clone()?;
        let (health, begun) = (Health::default(), Instant::now());
        // Who looks before the first answer finds that there is none yet.
        drop(health.write(paths, &record.id));
        let next = begun + check.pause(begun.elapsed(), health.status);
        let (paths, record) = (paths.clone(), record.clone());
        Some(Self { paths, record, check, health, begun, next, question: None })
    }

    /// When something is to be done though nothing has happened.
    pub(super) fn deadline(&self) -> Instant {
        self.question.as_ref().map_or(self.next, |question| question.deadline)
    }

    /// What is readable when something has happened. It closes with the last process that has it.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.question.as_ref().map(|question| question.output.as_fd())
    }

    /// Looks after the question in hand, or asks the next. What fails here is an answer, too.
    pub(super) fn turn(&mut self) {
        let now = Instant::now();
        self.postpone(now);
        if let Some(question) = &mut self.question {
            let in_time = now < question.deadline;
            if let Some(answer) = question.answer(now, &self.check) {
                self.question = None;
                if answer.exit_code != 0 && in_time && self.was_halted(answer.start) {
                    // It may have been the pause that it met. It is asked again.
                    self.next = self.then();
                } else {
                    self.note(answer);
                }
            }
        } else if now >= self.next {
            if self.is_halted() {
                // Nobody would answer; Docker does not ask then either.
                self.next = self.then();
                return;
            }
            let asked = Timestamp::now();
            match self.ask(asked) {
                Ok(question) => self.question = Some(question),
                Err(error) => {
                    let output = error.chain();
                    self.note(Answer { start: asked, end: asked, exit_code: -1, output });
                }
            }
        }
    }

    /// Whoever is halted has time: all of it from the moment on when the container goes on.
    fn postpone(&mut self, now: Instant) {
        let patience = self.check.patience();
        let is_late = self.question.as_ref().is_some_and(|question| now >= question.deadline);
        if !is_late {
            return;
        }
        let since = halts::last_end(&self.paths, &self.record.id)
            .map(|end| Timestamp::now().duration_since(end).unsigned_abs());
        let left = time_left(patience, self.is_halted(), since);
        if let (Some(question), Some(left)) = (&mut self.question, left) {
            question.deadline = now + left;
        }
    }

    fn was_halted(&self, since: Timestamp) -> bool {
        let end = halts::last_end(&self.paths, &self.record.id);
        self.is_halted() || end.is_some_and(|end| end >= since)
    }

    /// When the next question is due if there was none before this moment.
    fn then(&self) -> Instant {
        Instant::now() + self.check.pause(self.begun.elapsed(), self.health.status)
    }

    fn is_halted(&self) -> bool {
        Hierarchies::here().is_ok_and(|here| here.cgroup(&self.record.cgroup()).is_frozen())
    }

    fn note(&mut self, answer: Answer) {
        let (ran, before) = (self.begun.elapsed(), self.health.status);
        self.health = std::mem::take(&mut self.health).after(answer, &self.check, ran);
        // A full disk makes nobody ill.
        drop(self.health.write(&self.paths, &self.record.id));
        let status = self.health.status;
        if status != before {
            let action = format!("health_status: {}", status.as_str());
            events::container(&self.paths, &self.record, &action, &[]);
        }
        self.next = self.then();
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the monitor starts this program, sealed as itself"
    )]
    fn ask(&self, asked: Timestamp) -> Result<Question> {
        let (output, theirs) = io::pipe().system("make a pipe")?;
        let flags = FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
        fcntl(&output, flags).system("prepare a pipe")?;
        let child = Command::new("/proc/self/exe")
            .arg("--root")
            .arg(self.paths.root())
            .arg("--run-root")
            .arg(self.paths.run_root())
            .args(["exec", self.record.id.as_str()])
            .args(self.check.command().unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(theirs.try_clone().system("copy a pipe")?)
            .stderr(theirs)
            .spawn()
            .system("ask the container for its health")?;
        let deadline = Instant::now() + self.check.patience();
        Ok(Question { child, output, said: Vec::new(), asked, deadline })
    }
}

impl Question {
    fn answer(&mut self, now: Instant, check: &Check) -> Option<Answer> {
        let closed = self.listen();
        let exit_code = match self.child.try_wait() {
            // Something that it left behind may keep the pipe open; that is no answer.
            Ok(Some(status)) => {
                self.listen();
                status.code().unwrap_or(-1)
            }
            Ok(None) if now >= self.deadline => {
                self.end();
                self.said =
                    format!("Health check exceeded timeout ({:?})", check.patience()).into();
                -1
            }
            // It ends presently.
            Ok(None) if closed => {
                self.child.wait().ok().and_then(|status| status.code()).unwrap_or(-1)
            }
            Ok(None) => return None,
            Err(_) => -1,
        };
        let output = String::from_utf8_lossy(&self.said).into_owned();
        Some(Answer { start: self.asked, end: Timestamp::now(), exit_code, output })
    }

    /// Takes what is there; true at the end.
    fn listen(&mut self) -> bool {
        let mut piece = [0; OUTPUT];
        loop {
            match self.output.read(&mut piece) {
                Ok(0) => return true,
                Ok(length) => {
                    let room = OUTPUT.saturating_sub(self.said.len()).min(length);
                    self.said.extend_from_slice(&piece[..room]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_nothing_now) => return false,
            }
        }
    }

    fn end(&mut self) {
        // What it started in the container ends with it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.end();
    }
}

/// How much longer a question has whose time is up, if its container is halted or was let go on so long ago.
fn time_left(patience: Duration, is_halted: bool, since_end: Option<Duration>) -> Option<Duration> {
    if is_halted {
        return Some(patience);
    }
    patience.checked_sub(since_end?).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_halted_has_all_of_its_time_from_then_on() {
        let seconds = Duration::from_secs;
        for (what, is_halted, since_end, left) in [
            ("was never halted", false, None, None),
            ("is halted", true, None, Some(4)),
            ("is halted again", true, Some(9), Some(4)),
            ("goes on just now", false, Some(0), Some(4)),
            ("has gone on for a while", false, Some(3), Some(1)),
            ("has had its time", false, Some(4), None),
            ("went on long ago", false, Some(90), None),
        ] {
            let found = time_left(seconds(4), is_halted, since_end.map(seconds));
            assert_eq!(found, left.map(seconds), "{what}");
        }
    }
}
