//! One host of its own for a test: network, mounts, etcd, and the real `twilld`.

#![expect(clippy::disallowed_methods, reason = "the test starts programs and looks at the kernel")]

pub(crate) mod lease;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod several;

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

use process::{PATH, Process, TIED, run, tied, wait_for};

pub(crate) const PREFIX: &str = "/coreos.com/network";
pub(crate) const ENDPOINT: &str = "http://127.0.0.1:2379";

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
        connect("192.0.2.1/24");
        Some(Self { etcd: None, started: Cell::new(0) })
    }

    /// With an etcd that answers, and this configuration.
    pub(crate) fn with_config(text: &str) -> Option<Self> {
        let mut world = Self::new()?;
        world.start_etcd();
        world.configure(text);
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

    /// The kernel's, after a reboot.
    pub(crate) const BOOT_ID: &str = "/run/boot_id";

    /// What a reboot leaves: the disk. Devices, rules, everything under `/run` but the state directory
    /// and etcd's data are gone, and the kernel has another name for its run. Nothing may run in here.
    pub(crate) fn reboots(&mut self, address: &str) {
        assert!(self.etcd.is_none(), "it would live on in the network that is gone");
        unshare(CloneFlags::CLONE_NEWNET).expect("a network that nobody touched");
        for gone in ["/run/flannel", "/run/twill"] {
            fs::remove_dir_all(gone).expect("what the agent made");
        }
        fs::write(Self::BOOT_ID, "00000000-0000-0000-0000-000000000002\n").expect("a boot id");
        let (kernels, nothing) = ("/proc/sys/kernel/random/boot_id", None::<&str>);
        mount(Some(Self::BOOT_ID), kernels, nothing, MsFlags::MS_BIND, nothing).expect("mounted");
        connect(address);
    }

    /// `twilld` on a host that was started so long ago.
    pub(crate) fn twilld_up_for(&self, time: Duration, flags: &[&str]) -> Process {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).expect("a clock");
        let offset = i64::try_from(time.as_secs()).expect("short") - now.tv_sec();
        let twilld = Self::command(flags);
        let mut command = tied("/usr/bin/unshare");
        command.args(["--time", "--boottime", &offset.to_string(), "--", "/usr/bin/env"]);
        command.arg(env!("CARGO_BIN_EXE_twilld"));
        // Behind `setpriv` and the program itself.
        command.args(twilld.get_args().skip(TIED.len() + 1));
        self.start(command)
    }

    pub(crate) fn stop_etcd(&mut self) {
        self.etcd = None;
    }

    pub(crate) fn etcdctl(&self, words: &[&str]) -> String {
        assert!(self.etcd.is_some(), "no etcd to ask");
        Self::try_etcdctl(words).unwrap_or_else(|error| panic!("etcdctl {words:?}: {error}"))
    }

    /// Puts back a copy of etcd's data, which must be gone.
    pub(crate) fn restore(&self, copy: &str) {
        assert!(self.etcd.is_none(), "it would go on with what it knows");
        let words = ["snapshot", "restore", copy, "--data-dir", "/run/etcd", "--name", "default"];
        let peer = "http://127.0.0.1:2380";
        let cluster = format!("default={peer}");
        let more = ["--initial-cluster", &cluster, "--initial-advertise-peer-urls", peer];
        Self::try_etcdctl(&[&words[..], &more].concat()).expect("restored");
    }

    fn try_etcdctl(words: &[&str]) -> Result<String, String> {
        run(Command::new("etcdctl").env("ETCDCTL_API", "3").args(words))
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
        command.args(["--etcd-endpoints", ENDPOINT, "--state-dir", "/run/state"]);
        // Files of this machine's own containers are not hidden.
        command.args(["--subnet-hook", "none"]).args(flags);
        command
    }

    /// With these capabilities, in the form of `setpriv`, and without new privileges.
    pub(crate) fn bounded(bounds: &str, flags: &[&str]) -> Command {
        let plain = Self::command(flags);
        let mut command = Command::new(plain.get_program());
        command.args(["--no-new-privs", "--bounding-set", bounds]).args(plain.get_args());
        command.env("PATH", PATH);
        command
    }

    /// What `twilld` must not leave behind when its start was refused.
    pub(crate) fn assert_untouched(&self) {
        assert!(!Path::new("/run/flannel/subnet.env").exists(), "subnet.env");
        assert!(!Path::new("/run/flannel/docker").exists(), "docker options");
        assert!(!Path::new("/run/twill/agent.sock").exists(), "socket");
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

/// An empty file system over a directory.
pub(crate) fn hide(path: &str) {
    let flags = MsFlags::empty();
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some("mode=755")).expect("a tmpfs");
}

pub(crate) fn ip(words: &str) -> String {
    command("ip", words)
}

pub(crate) fn iptables(words: &str) -> String {
    command("iptables", words)
}

/// Runs a program to its good end.
pub(crate) fn command(program: &str, words: &str) -> String {
    run(Command::new(program).env("PATH", PATH).args(words.split(' ')))
        .unwrap_or_else(|error| panic!("{program} {words}: {error}"))
}

/// Somebody may be about to run the one that is there.
pub(crate) fn write_program(path: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let new = format!("{path}.new");
    fs::write(&new, text).expect("written");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("executable");
    fs::rename(new, path).expect("in place");
}

/// Types a line, as into a shell.
pub(crate) fn shell(line: &str) {
    let mut command = Command::new("sh");
    command.env("PATH", PATH).env("ETCDCTL_API", "3").args(["-c", line]);
    run(&mut command).unwrap_or_else(|error| panic!("{line}: {error}"));
}

/// Types a line of words.
pub(crate) fn try_command(line: &str) -> Result<String, String> {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    run(Command::new(program).env("PATH", PATH).args(words))
}

/// `GET path` on the agent's socket: status line and all.
pub(crate) fn get(path: &str) -> String {
    let mut stream = UnixStream::connect("/run/twill/agent.sock").expect("the socket");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("asked");
    std::io::read_to_string(stream).expect("answered")
}

/// Loopback, and an uplink with that address and the default route.
fn connect(address: &str) {
    ip("link set lo up");
    ip("link add u0 type veth peer name u1");
    ip(&format!("addr add {address} dev u0"));
    ip("link set u0 up");
    ip("link set u1 up");
    ip("route add default via 192.0.2.254");
}
