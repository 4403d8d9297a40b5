//! One host of a lab.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::Pid;

use crate::enter::{spawn_in, within};
use crate::join;
use crate::process::{Children, Daemon, Outcome, note, outcome};
use crate::programs::Programs;

/// What a command on a host may take unless its caller says otherwise.
const DEADLINE: Duration = Duration::from_mins(1);

/// A handle on a host; clones mean the same host.
#[derive(Clone, Debug)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    init: Pid,
    lab: PathBuf,
    dir: PathBuf,
    path: &'static str,
    programs: Programs,
    children: Children,
    runs: AtomicU32,
}

/// What the hosts of a lab have in common.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) lab: PathBuf,
    pub(crate) programs: Programs,
    pub(crate) children: Children,
}

impl Host {
    pub(crate) fn new(name: &str, init: Pid, of: &Owner) -> Self {
        let inner = Inner {
            name: name.to_owned(),
            init,
            lab: of.lab.clone(),
            dir: of.lab.join("hosts").join(name),
            path: join::PATH,
            programs: of.programs.clone(),
            children: of.children.clone(),
            runs: AtomicU32::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What runs inside of this host and has an `init` of its own; `dir` is where [`join`] finds it.
    pub(crate) fn inside(&self, init: Pid, dir: PathBuf) -> Self {
        let outer = &self.inner;
        let inner = Inner {
            name: outer.name.clone(),
            init,
            lab: outer.lab.clone(),
            dir,
            path: join::PATH_OF_A_MACHINE,
            programs: outer.programs.clone(),
            children: outer.children.clone(),
            // Of its own transcripts: those of the host outside have numbers too.
            runs: AtomicU32::new(init.as_raw().unsigned_abs() * 1000),
        };
        Self { inner: Arc::new(inner) }
    }

    /// `node1`, `node2`, …
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The host's process 1, by our own process numbers.
    pub fn init(&self) -> Pid {
        self.inner.init
    }

    /// Runs a command on the host to its end, whatever its exit code.
    ///
    /// # Errors
    /// When it cannot be started, or has not ended within a minute.
    pub fn run<S: AsRef<OsStr>>(&self, argv: impl IntoIterator<Item = S>) -> Result<Outcome> {
        self.run_with(argv, b"", DEADLINE)
    }

    /// Runs a command on the host and answers its standard output.
    ///
    /// # Errors
    /// Also when its exit code is not 0; the message carries what it said.
    pub fn ok<S: AsRef<OsStr>>(&self, argv: impl IntoIterator<Item = S>) -> Result<String> {
        let argv = words(argv);
        let outcome = self.run(&argv)?.success();
        let outcome = outcome.with_context(|| format!("{}: `{}`", self.name(), argv.join(" ")))?;
        Ok(outcome.stdout)
    }

    /// Runs one line of shell on the host and answers its standard output.
    ///
    /// # Errors
    /// As [`Host::ok`].
    pub fn sh(&self, script: &str) -> Result<String> {
        self.ok(["sh", "-c", script])
    }

    /// Runs a command on the host with `input` on its standard input, for no longer than `limit`.
    ///
    /// # Errors
    /// When it cannot be started, or has not ended by then (it is killed).
    pub fn run_with<S: AsRef<OsStr>>(
        &self,
        argv: impl IntoIterator<Item = S>,
        input: &[u8],
        limit: Duration,
    ) -> Result<Outcome> {
        let argv = words(argv);
        let what = argv.join(" ");
        let run = self.inner.runs.fetch_add(1, Ordering::Relaxed);
        let file =
            |end: &str| self.inner.lab.join("log").join(format!("{}.{run}.{end}", self.name()));
        let (out, err, typed) = (file("out"), file("err"), file("in"));
        fs::write(&typed, input)?;
        let mut command = self.command(&argv)?;
        // Files, not pipes: a monitor that a command leaves behind must not hold us up.
        command.stdin(fs::File::open(&typed)?);
        command.stdout(fs::File::create(&out)?).stderr(fs::File::create(&err)?);
        let child = spawn_in(&self.pid_namespace(), command)?;
        let ended = outcome(child, [&out, &err], &what, limit);
        fs::remove_file(&typed)?;
        let ended = ended.with_context(|| format!("{}: `{what}`", self.name()))?;
        let Outcome { code, stdout, stderr, took } = &ended;
        note(&self.log("commands"), &format!("$ {what}\n{stdout}{stderr}[{code}, {took:.1?}]\n"));
        Ok(ended)
    }

    /// Starts a daemon on the host; `name` is that of its transcript.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn<S: AsRef<OsStr>>(
        &self,
        name: &str,
        argv: impl IntoIterator<Item = S>,
    ) -> Result<Daemon> {
        let argv = words(argv);
        let log = self.log(name);
        let before = fs::read(&log).map_or(0, |said| said.len());
        note(&log, &format!("$ {}\n", argv.join(" ")));
        let output = OpenOptions::new().append(true).open(&log)?;
        let mut command = self.command(&argv)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = spawn_in(&self.pid_namespace(), command)?;
        Ok(Daemon::new(name, child, (log, before), &self.inner.children))
    }

    /// A file of the host, seen from here. Symbolic links in it are followed on our side.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.inner.init))
    }

    /// The network namespace of a process on the host, by the host's process numbers; 1 for the
    /// host's own.
    pub fn network_of(&self, pid: i32) -> PathBuf {
        self.path(&format!("/proc/{pid}/ns/net"))
    }

    /// Runs `work` in the host's network namespace; sockets made there may be carried out.
    ///
    /// # Errors
    /// Of entering, or whatever `work` answers.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.network_of(1), work)
    }

    /// A command that will run on the host once [`spawn_in`] has started it.
    pub(crate) fn command(&self, argv: &[String]) -> Result<Command> {
        let mut command = Command::new(self.inner.programs.path("twill-lab")?);
        command.arg("join").arg(self.dir()).arg("--").args(argv);
        join::environment(&mut command);
        command.env("PATH", self.inner.path);
        // Its own process group: Ctrl-C is for the owner of the lab, who then ends everything.
        command.process_group(0);
        Ok(command)
    }

    /// What is private to the host.
    pub(crate) fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// The children of its lab.
    pub(crate) fn children(&self) -> &Children {
        &self.inner.children
    }

    pub(crate) fn pid_namespace(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/pid", self.inner.init))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.inner.lab.join("log").join(format!("{}.{name}", self.name()))
    }
}

fn words<S: AsRef<OsStr>>(argv: impl IntoIterator<Item = S>) -> Vec<String> {
    argv.into_iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect()
}
