//! The owner's end of the conversation with the guardian (see [`crate::guard`]).

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::Children;
use crate::programs::Programs;
use crate::registry;
use crate::wait::wait_until;

/// How long a lab may take to disappear: its processes die at once, its cgroups soon after. What
/// machines have written goes to the disk first.
const TAKE_DOWN: Duration = Duration::from_mins(1);

/// A guardian started by this process. Dropping it takes the lab down.
#[derive(Debug)]
pub(crate) struct Guardian {
    child: Child,
    // `None` once the lab has been taken down or left standing.
    lines: Option<(ChildStdin, BufReader<ChildStdout>)>,
    dir: PathBuf,
}

/// Takes a lab down from anywhere, a signal handler's thread for one.
#[derive(Clone, Debug)]
pub struct Stop {
    guardian: Pid,
    dir: PathBuf,
    children: Children,
}

impl Guardian {
    /// Starts one, with a lab that has no hosts yet. Its name is unique on this machine.
    pub(crate) fn start(programs: &Programs) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let mut child = Command::new(programs.path("twill-lab")?)
            .arg("guard")
            .arg(format!("{}-{count}", std::process::id()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the guardian of the lab")?;
        let input = child.stdin.take().context("a guardian without input")?;
        let output = BufReader::new(child.stdout.take().context("a guardian without output")?);
        let mut guardian = Self { child, lines: Some((input, output)), dir: PathBuf::new() };
        match guardian.listen()?.split_once(' ') {
            Some(("ready", dir)) => guardian.dir = dir.into(),
            _ => bail!("the guardian of the lab did not come up"),
        }
        Ok(guardian)
    }

    /// The directory of the lab.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a host and answers its init, by our own process numbers.
    pub(crate) fn host(&mut self, name: &str) -> Result<Pid> {
        let answer = self.ask(&format!("host {name}"))?;
        Ok(Pid::from_raw(answer.parse().context("the guardian gave no process number")?))
    }

    /// Leaves the lab standing when this process goes.
    pub(crate) fn keep(&mut self) -> Result<()> {
        self.ask("keep")?;
        self.lines = None;
        Ok(())
    }

    /// A handle with which another thread can end the lab.
    pub(crate) fn stop(&self, children: &Children) -> Result<Stop> {
        let guardian = Pid::from_raw(self.child.id().try_into()?);
        Ok(Stop { guardian, dir: self.dir.clone(), children: children.clone() })
    }

    /// Takes the lab down and waits for the guardian's own end.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.lines.take().is_none() {
            return Ok(());
        }
        let mut ended = None;
        wait_until("the lab is gone", TAKE_DOWN, || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some()
        })?;
        let status = ended.context("the guardian ended without a status")?;
        if !status.success() {
            bail!("the guardian could not take the lab down: {status}");
        }
        Ok(())
    }

    fn ask(&mut self, line: &str) -> Result<String> {
        let (input, _) = self.lines.as_mut().context("the lab is no longer ours")?;
        writeln!(input, "{line}").context("the guardian is gone")?;
        let answer = self.listen()?;
        match answer.split_once(' ') {
            Some(("ok", rest)) => Ok(rest.to_owned()),
            None if answer == "ok" => Ok(String::new()),
            _ => bail!("{}", answer.trim_start_matches("error ")),
        }
    }

    fn listen(&mut self) -> Result<String> {
        let (_, output) = self.lines.as_mut().context("the lab is no longer ours")?;
        let mut line = String::new();
        output.read_line(&mut line).context("the guardian is gone")?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // An owner that cares has called `finish` and seen the error.
        drop(self.finish());
    }
}

impl Stop {
    /// A handle on a lab that another process made.
    pub fn of(lab: &registry::Standing) -> Self {
        Self { guardian: lab.guardian, dir: lab.dir.clone(), children: Children::default() }
    }

    /// Takes the lab down and waits until it is gone.
    ///
    /// # Errors
    /// When it is still there after a while.
    pub fn stop(&self) -> Result<()> {
        self.children.end();
        // A lab that is gone is what we want, and its guardian's number may be another's by now.
        if !registry::is_dead(&self.dir) {
            kill(self.guardian, Signal::SIGTERM).ok();
        }
        let what = format!("the lab in {} is gone", self.dir.display());
        wait_until(&what, TAKE_DOWN, || registry::is_dead(&self.dir) && !self.dir.exists())?;
        Ok(())
    }
}
