//! One host of its own for a test: network, mounts, etcd, and the real `twilld`.

#![expect(clippy::disallowed_methods, reason = "the test starts programs and looks at the kernel")]

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

pub(crate) const PREFIX: &str = "/coreos.com/network";
pub(crate) const ENDPOINT: &str = "http://127.0.0.1:2379";
/// No test waits longer for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// A private `/run`, loopback, and an uplink `u0` with 192.0.2.1/24 and the default route.
///
/// Made of the calling thread: whatever it starts lives in here. Nothing of it outlives the thread
/// and what it started.
pub(crate) struct World {
    etcd: Option<Process>,
    /// How many programs were started: each has a log of its own.
    started: Cell<usize>,
}

impl World {
    /// `None`, loudly, without root.
    #[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
    pub(crate) fn new() -> Option<Self> {
        if !geteuid().is_root() {
            let required = std::env::var_os("REQUIRE_ROOT").is_some_and(|value| value == "1");
            assert!(!required, "REQUIRE_ROOT=1, and this is not root");
            eprintln!("SKIPPED: needs root");
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces");
        let nothing = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(nothing, "/", nothing, private, nothing).expect("mounts of our own");
        hide("/run");
        ip("link set lo up");
        ip("link add u0 type veth peer name u1");
        ip("addr add 192.0.2.1/24 dev u0");
        ip("link set u0 up");
        ip("link set u1 up");
        ip("route add default via 192.0.2.254");
        Some(Self { etcd: None, started: Cell::new(0) })
    }

    /// With an etcd that answers, and this configuration.
    pub(crate) fn with_config(text: &str) -> Option<Self> {
        let mut world = Self::new()?;
        world.start_etcd();
        world.etcdctl(&["put", &format!("{PREFIX}/config"), text]);
        Some(world)
    }

    pub(crate) fn start_etcd(&mut self) {
        let peer = "http://127.0.0.1:2380";
        let mut command = tied("etcd");
        command.args(["--data-dir", "/run/etcd", "--listen-client-urls", ENDPOINT]);
        command.args(["--advertise-client-urls", ENDPOINT, "--listen-peer-urls", peer]);
        command.args(["--initial-advertise-peer-urls", peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        self.etcd = Some(Process::start(command, "/run/etcd.log"));
        wait_for("etcd", || Self::try_etcdctl(&["endpoint", "health"]).is_ok());
    }

    pub(crate) fn stop_etcd(&mut self) {
        self.etcd = None;
    }

    pub(crate) fn etcdctl(&self, words: &[&str]) -> String {
        assert!(self.etcd.is_some(), "no etcd to ask");
        Self::try_etcdctl(words).unwrap_or_else(|error| panic!("etcdctl {words:?}: {error}"))
    }

    fn try_etcdctl(words: &[&str]) -> Result<String, String> {
        run(Command::new("etcdctl").env("ETCDCTL_API", "3").args(words))
    }

    /// The only lease: the last part of its key.
    pub(crate) fn lease(&self) -> String {
        let keys = self.etcdctl(&["get", "--prefix", "--keys-only", &format!("{PREFIX}/subnets/")]);
        let keys: Vec<&str> = keys.split_whitespace().collect();
        assert_eq!(keys.len(), 1, "{keys:?}");
        keys[0].rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// `twilld` with the usual flags and these.
    pub(crate) fn twilld(&self, flags: &[&str]) -> Process {
        self.start(Self::command(flags))
    }

    pub(crate) fn start(&self, command: Command) -> Process {
        self.started.set(self.started.get() + 1);
        Process::start(command, &format!("/run/{}.log", self.started.get()))
    }

    /// To be changed before it is started.
    pub(crate) fn command(flags: &[&str]) -> Command {
        let mut command = tied(env!("CARGO_BIN_EXE_twilld"));
        command.args(["--etcd-endpoints", ENDPOINT, "--state-dir", "/run/state"]).args(flags);
        command
    }

    /// What `twilld` must not leave behind when its start was refused.
    pub(crate) fn assert_untouched(&self) {
        assert!(!Path::new("/run/flannel/subnet.env").exists(), "subnet.env");
        assert!(!Path::new("/run/flannel/docker").exists(), "docker options");
        assert!(!Path::new("/run/twill/twilld.sock").exists(), "socket");
        let links = ip("-o link show");
        assert!(!links.contains("flannel"), "{links}");
        let rules = run(Command::new("iptables-save").env("PATH", PATH)).expect("iptables-save");
        assert!(!rules.contains("FLANNEL"), "{rules}");
        if self.etcd.is_some() {
            let leases = self.etcdctl(&["get", "--prefix", &format!("{PREFIX}/subnets")]);
            assert_eq!(leases, "", "leases");
        }
    }
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A child that does not outlive the test.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(mut command: Command, log: &str) -> Self {
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

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("signalled");
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

/// An empty file system over a directory.
pub(crate) fn hide(path: &str) {
    let flags = MsFlags::empty();
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some("mode=755")).expect("a tmpfs");
}

pub(crate) fn ip(words: &str) -> String {
    run(Command::new("ip").args(words.split(' ')))
        .unwrap_or_else(|error| panic!("ip {words}: {error}"))
}

/// `GET path` on the agent's socket: status line and all.
pub(crate) fn get(path: &str) -> String {
    let mut stream = UnixStream::connect("/run/twill/twilld.sock").expect("the socket");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("asked");
    std::io::read_to_string(stream).expect("answered")
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Killed by the kernel when the test is.
fn tied(program: &str) -> Command {
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]).env("PATH", PATH);
    command
}
