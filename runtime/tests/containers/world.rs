//! A host of its own for one test.

mod groups;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

/// Everything a test touches; cleared away with it.
pub(crate) struct World {
    directory: tempfile::TempDir,
    _cgroups: Vec<groups::Own>,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    /// `None`, said aloud, without root; a failure then if `REQUIRE_ROOT=1`.
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var("REQUIRE_ROOT").as_deref() != Ok("1"), "this test needs root");
            skip_aloud("SKIPPED: containers need root");
            return None;
        }
        let (cgroups, mounts) = groups::enter();
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWCGROUP)
            .unwrap();
        groups::remount(&mounts);
        let directory = tempfile::tempdir().unwrap();
        let world = Self { directory, _cgroups: cgroups };
        World::run(&["ip", "link", "set", "lo", "up"]);
        let archive = world.path("bb.tar");
        write_busybox_archive(&archive);
        world.twill(&["import", "-c", "CMD [\"sh\"]", archive.to_str().unwrap(), "bb"]).ok();
        Some(world)
    }

    /// A place for files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = start(env!("CARGO_BIN_EXE_twill"));
        command
            .args(arguments)
            .env("TWILL_ROOT", self.path("lib"))
            .env("TWILL_RUN_ROOT", self.path("run"))
            .env("TWILL_SUBNET_FILE", self.path("subnet.env"))
            .env_remove("TWILL_CGROUP_PARENT")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn twill(&self, arguments: &[&str]) -> Said {
        Said::new(self.command(arguments).output().unwrap())
    }

    /// The same with something to read.
    pub(crate) fn twill_fed(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut child = self.spawn(arguments, Stdio::piped());
        let mut stdin = child.stdin.take().unwrap();
        let bytes = input.to_vec();
        let feeder = std::thread::spawn(move || stdin.write_all(&bytes));
        let said = Said::new(child.wait_with_output().unwrap());
        // A container that does not read its input is no failure of the feeder.
        drop(feeder.join());
        said
    }

    /// Starts the program and leaves it running.
    pub(crate) fn spawn(&self, arguments: &[&str], stdin: Stdio) -> Child {
        let mut command = self.command(arguments);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// One value out of `inspect`.
    pub(crate) fn inspect(&self, container: &str, pointer: &str) -> Value {
        let said = self.twill(&["inspect", container]);
        let all: Value = serde_json::from_str(&said.out).unwrap();
        all[0].pointer(pointer).cloned().unwrap_or(Value::Null)
    }

    /// The first process of a container.
    pub(crate) fn pid(&self, container: &str) -> i32 {
        i32::try_from(self.inspect(container, "/State/Pid").as_i64().unwrap()).unwrap()
    }

    /// The monitor of a container: the parent of its first process.
    pub(crate) fn monitor(&self, container: &str) -> i32 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid(container))).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
        line.trim().parse().unwrap()
    }

    /// A program of the host, in this world.
    pub(crate) fn run(words: &[&str]) -> String {
        let output = start(words[0]).args(&words[1..]).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// No container, name, socket, cgroup, mount or interface is left.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        for place in ["lib/containers", "lib/names", "run/containers"] {
            assert_eq!(entries(&self.path(place)), [""; 0], "{place}");
        }
        for cgroup in fs::read_dir("/sys/fs/cgroup").unwrap() {
            let below = cgroup.unwrap().path().join("twill");
            let directories: Vec<String> =
                entries(&below).into_iter().filter(|name| below.join(name).is_dir()).collect();
            assert_eq!(directories, [""; 0], "{}", below.display());
        }
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert!(!mounts.contains(" overlay "), "{mounts}");
        let links = Self::run(&["ip", "-o", "link"]);
        assert!(
            links.lines().all(|link| link.contains(": lo:") || link.contains(": twill0:")),
            "{links}"
        );
        let pool = self.path("pool");
        assert!(!pool.exists() || entries(&pool).is_empty());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that failed may leave containers.
        let all = Said::new(self.command(&["ps", "-aq"]).output().unwrap());
        for container in all.out.lines() {
            drop(self.command(&["rm", "-f", container]).output());
        }
    }
}

fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

impl Said {
    pub(crate) fn new(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// The command was to succeed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        self.out.trim_end().to_owned()
    }

    /// The command was to fail so.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, text: &str) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.err.contains(text), "{:?} is not in {:?}", text, self.err);
    }
}

/// Waits for a condition, at most ten seconds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        _ = nix::poll::poll(&mut [], 5_u8);
    }
}

#[expect(clippy::disallowed_methods, reason = "tests start programs")]
fn start(program: &str) -> Command {
    Command::new(program)
}

/// Busybox and the two files about users: all that these tests need of an image.
fn write_busybox_archive(path: &Path) {
    let busybox = fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut archive = tar::Builder::new(File::create(path).unwrap());
    let mut add = |name: &str, mode: u32, bytes: &[u8]| {
        let mut header = header();
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes).unwrap();
    };
    add("bin/busybox", 0o755, &busybox);
    add("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/srv:/bin/sh\n");
    add("etc/group", 0o644, b"root:x:0:\nwww:x:33:\nadm:x:4:www\n");
    add("etc/plain", 0o644, b"not a program\n");
    let list = start("/bin/busybox").arg("--list").output().unwrap();
    for applet in String::from_utf8(list.stdout).unwrap().lines().filter(|name| *name != "busybox")
    {
        let mut header = header();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, format!("bin/{applet}"), "/bin/busybox").unwrap();
    }
    archive.finish().unwrap();
}

#[expect(clippy::print_stderr, reason = "a test that did not run must not look like one that did")]
fn skip_aloud(text: &str) {
    eprintln!("{text}");
}

/// An empty field would not be a number.
fn header() -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_mode(0o777);
    header
}

/// For `poll` on a child's output.
pub(crate) fn readable(child: &Child) -> bool {
    use nix::poll::{PollFd, PollFlags};
    let stdout = child.stdout.as_ref().unwrap().as_fd();
    matches!(nix::poll::poll(&mut [PollFd::new(stdout, PollFlags::POLLIN)], 10_000_u16), Ok(1..))
}

/// `kill -9`, and waits until it has struck.
pub(crate) fn strike(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
    eventually("it is dead", || is_dead(pid));
}

/// Gone, or waiting for its parent to notice.
pub(crate) fn is_dead(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}
