//! Runs a command that carries the network: it reads what it is told, all that it says is one answer,
//! and what it leaves running on purpose runs on. An [errand](crate::errand) is about the contrary.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;
use tokio::process::Child;
use tokio::time::timeout;

use crate::Error;

/// A command to run to its end.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// The program and its arguments.
    pub words: &'a [String],
    /// What its environment has besides ours.
    pub environment: &'a [(&'static str, String)],
    /// Variables of ours that it must not see begin with one of these.
    pub hidden: &'a [&'a str],
    /// What it reads on stdin.
    pub input: &'a str,
    /// How long it may take before it is killed, with everything that it started.
    pub deadline: Duration,
}

/// More than this nobody wants to read, or to keep in etcd.
const MOST: u64 = 64 * 1024;
/// What a child left behind that holds the pipe may still say.
const REST: Duration = Duration::from_millis(100);

impl Command<'_> {
    /// Runs it, and returns what it wrote to stdout and stderr, in that order in which it did.
    ///
    /// # Errors
    ///
    /// When it cannot be started, does not end in time, or does not end with status 0; the last
    /// carries what it wrote.
    pub async fn run(self) -> Result<String, Error> {
        let program = self.words.first().cloned().unwrap_or_default();
        let failed = |source| Error::StartProgram { program: program.clone(), source };
        let (reads, writes) = io::pipe().map_err(failed)?;
        let child = self.spawn(&program, writes).map_err(failed)?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let group = Group(pid.map(Pid::from_raw));
        let reads = Receiver::from_owned_fd(OwnedFd::from(reads)).map_err(failed)?;
        let done = timeout(self.deadline, converse(child, reads, self.input)).await;
        let done = done.map_err(|_elapsed| Error::Deadline {
            program: program.clone(),
            deadline: self.deadline,
        })?;
        let (status, said) = done.map_err(failed)?;
        // Whatever it left running on purpose runs on.
        group.spare();
        if status.success() {
            return Ok(said);
        }
        Err(Error::ProgramFailed { program, status: status.to_string(), complaint: said })
    }

    fn spawn(&self, program: &str, writes: io::PipeWriter) -> io::Result<Child> {
        let mut command = tokio::process::Command::new(program);
        command.args(self.words.iter().skip(1));
        for (name, _value) in std::env::vars_os() {
            let told = name.to_string_lossy();
            if self.hidden.iter().any(|prefix| told.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let errors = writes.try_clone()?;
        command.stdin(Stdio::piped()).stdout(writes).stderr(errors);
        command.process_group(0).kill_on_drop(true).spawn()
    }
}

/// Killed unless it is spared.
struct Group(Option<Pid>);

impl Group {
    fn spare(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Not waited for yet, so that the number is nobody else's.
            _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

async fn converse(
    mut child: Child,
    reads: Receiver,
    input: &str,
) -> io::Result<(std::process::ExitStatus, String)> {
    let stdin = child.stdin.take();
    let write = async move {
        if let Some(mut stdin) = stdin {
            // One that does not care for its input says so by its exit status.
            drop(stdin.write_all(input.as_bytes()).await);
        }
    };
    let (mut said, mut reads) = (Vec::new(), reads);
    let status = {
        let read = async {
            drop((&mut reads).take(MOST).read_to_end(&mut said).await);
            // It goes on as if somebody listened.
            drop(tokio::io::copy(&mut reads, &mut tokio::io::sink()).await);
        };
        tokio::pin!(read);
        let ends = async { tokio::join!(write, child.wait()).1 };
        tokio::pin!(ends);
        tokio::select! {
            status = &mut ends => {
                let status = status?;
                // A daemon of its own may hold the pipe for ever.
                drop(timeout(REST, read).await);
                status
            }
            () = &mut read => ends.await?,
        }
    };
    Ok((status, String::from_utf8_lossy(&said).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    async fn run(line: &[&str], input: &str) -> Result<String, Error> {
        let words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        let environment = [("SUBNET", "10.88.9.0/24".to_owned())];
        let hidden = &["CARGO_"];
        let deadline = Duration::from_secs(20);
        let command = Command { words: &words, environment: &environment, hidden, input, deadline };
        command.run().await
    }

    #[tokio::test]
    async fn what_it_says_comes_back_in_order() {
        let said = run(&["sh", "-c", "echo a; echo b >&2; cat; echo $SUBNET"], "in\n").await;
        assert_eq!(said.unwrap(), "a\nb\nin\n10.88.9.0/24");
        assert_eq!(run(&["printf", "%s", "$(id) *"], "").await.unwrap(), "$(id) *", "no shell");
        assert!(!run(&["env"], "").await.unwrap().contains("CARGO_"), "hidden");
        assert!(run(&["env"], "").await.unwrap().contains("PATH="), "not hidden");
    }

    #[tokio::test]
    async fn one_that_says_too_much_is_cut_short_and_not_stopped() {
        let said = run(&["sh", "-c", "yes | head -c 300000; exit 0"], "").await.unwrap();
        assert_eq!(said.len() + 1, 64 * 1024);
    }

    #[tokio::test]
    async fn failures_say_what_it_said() {
        let error = run(&["sh", "-c", "echo no >&2; exit 3"], "").await.unwrap_err();
        assert_eq!(error.to_string(), "sh failed (exit status: 3): no");
        let error = run(&["twill-no-such-program"], "").await.unwrap_err();
        assert_eq!(error.to_string(), "cannot run twill-no-such-program");
        assert!(run(&[], "").await.is_err(), "nothing to run");
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let words = ["sh".to_owned(), "-c".to_owned(), script];
        let deadline = Duration::from_millis(500);
        let command = Command { words: &words, environment: &[], hidden: &[], input: "", deadline };
        let error = command.run().await.unwrap_err();
        assert_eq!(error.to_string(), "sh did not end within 500ms");
        let pid = std::fs::read_to_string(&file).unwrap();
        let state = format!("/proc/{}/stat", pid.trim());
        let limit = Instant::now() + Duration::from_secs(10);
        let alive = || std::fs::read_to_string(&state).is_ok_and(|stat| !stat.contains(") Z "));
        while alive() {
            assert!(Instant::now() < limit, "its child lives on");
            tokio::task::yield_now().await;
        }
    }

    /// A script may start a daemon, and that holds whatever it was given.
    #[tokio::test]
    async fn a_daemon_that_it_leaves_is_not_waited_for() {
        let start = Instant::now();
        let said = run(&["sh", "-c", "sleep 3 & echo left"], "").await.unwrap();
        assert_eq!(said, "left");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}
