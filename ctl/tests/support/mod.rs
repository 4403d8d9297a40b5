//! A throwaway etcd, the real programs, and what they answered.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

/// How long a program may take to do what takes it a moment.
const PATIENCE: Duration = Duration::from_secs(30);

static NEXT_PORT: AtomicU16 = AtomicU16::new(2379);

/// An etcd of one test, gone with it.
pub(crate) struct Etcd {
    child: Child,
    endpoint: String,
    peer: String,
    data: TempDir,
}

impl Etcd {
    /// Returns when it serves.
    ///
    /// The address is the test process's own, made from its number: all of 127.0.0.0/8 is this
    /// machine, so that no two tests meet on a port.
    pub(crate) fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let [client, peer] = [(); 2].map(|()| {
            let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
            format!("http://{}:{port}", own_address())
        });
        let child = serve(data.path(), &client, &peer);
        Self { child, endpoint: client, peer, data }
    }

    /// Pulls the plug.
    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Comes back with the same data at the same place.
    pub(crate) fn start_again(&mut self) {
        self.child = serve(self.data.path(), &self.endpoint, &self.peer);
    }

    /// Where it answers.
    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// Runs twillctl against it.
    pub(crate) fn twillctl(&self, arguments: &[&str]) -> Answer {
        let endpoint = self.endpoint();
        twillctl(&[&["--etcd-endpoints", &endpoint][..], arguments].concat())
    }

    /// Writes a key as another program would.
    pub(crate) fn put(&self, key: &str, value: &str) {
        self.etcdctl(&["put", key, value]);
    }

    /// Writes a key that ends after `seconds`.
    pub(crate) fn put_for(&self, key: &str, value: &str, seconds: u32) {
        let id = self.grant(seconds);
        self.put_under(&id, key, value);
    }

    /// An etcd lease of `seconds`.
    pub(crate) fn grant(&self, seconds: u32) -> String {
        let granted = self.etcdctl(&["lease", "grant", &seconds.to_string()]);
        granted.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// Writes a key that ends with that etcd lease.
    pub(crate) fn put_under(&self, id: &str, key: &str, value: &str) {
        self.etcdctl(&["put", key, value, &format!("--lease={id}")]);
    }

    /// Writes what a key holds again, whatever it ends with.
    pub(crate) fn put_again(&self, key: &str) {
        self.etcdctl(&["put", key, "--ignore-value", "--ignore-lease"]);
    }

    /// The time of an etcd lease is over.
    pub(crate) fn end(&self, id: &str) {
        self.etcdctl(&["lease", "revoke", id]);
    }

    /// The etcd lease that a key ends with, as twillctl writes it.
    pub(crate) fn lease_of(&self, key: &str) -> Option<String> {
        let text = self.etcdctl(&["get", key, "-w", "json"]);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["kvs"][0]["lease"].as_i64().map(|id| format!("{id:x}"))
    }

    /// What a key holds; empty when it is not there.
    pub(crate) fn value(&self, key: &str) -> String {
        self.etcdctl(&["get", key, "--print-value-only"]).trim_end().to_owned()
    }

    fn etcdctl(&self, arguments: &[&str]) -> String {
        let output = command("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.endpoint()])
            .args(arguments)
            .output()
            .expect("etcdctl is installed by `make deps`");
        assert!(output.status.success(), "etcdctl {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn serve(data: &Path, client: &str, peer: &str) -> Child {
    // Dies with us, also when the test is killed.
    let mut child = command("setpriv")
        .args(["--pdeathsig", "KILL", "etcd", "--data-dir"])
        .arg(data)
        .args(["--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("etcd is installed by `make deps`");
    let (tell, told) = mpsc::channel();
    let log = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || {
        let mut transcript = String::new();
        for line in log.lines().map_while(Result::ok) {
            transcript += &line;
            transcript.push('\n');
            if line.contains("ready to serve client requests") {
                // The test may have given up.
                _ = tell.send(Ok(()));
            }
        }
        _ = tell.send(Err(transcript));
    });
    let served = told.recv_timeout(PATIENCE).expect("etcd serves within its time");
    served.unwrap_or_else(|transcript: String| panic!("etcd ended:\n{transcript}"));
    child
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended on its own; then there is nothing to do.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// What twillctl said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) data: String,
    pub(crate) words: String,
}

impl Answer {
    /// The data, after checking that the command did what it was told.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.data
    }

    /// Checks a refusal: the code, one line that holds `message`, a hint, and no data.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, message: &str) {
        let lines: Vec<&str> = self.words.lines().collect();
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.data, "", "{self:?}");
        assert!(lines[0].starts_with("twillctl: ") && lines[0].contains(message), "{self:?}");
        assert!(lines.len() == 2 && lines[1].starts_with("hint: "), "{self:?}");
    }
}

/// Runs twillctl with nothing in its environment.
pub(crate) fn twillctl(arguments: &[&str]) -> Answer {
    twillctl_in(&[], arguments)
}

/// Runs twillctl with this environment.
pub(crate) fn twillctl_in(environment: &[(&str, &str)], arguments: &[&str]) -> Answer {
    let mut command = command(env!("CARGO_BIN_EXE_twillctl"));
    command.env_clear().envs(environment.iter().copied()).args(arguments).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().unwrap();
    Answer {
        code: status.code().expect("twillctl ends by itself"),
        data: String::from_utf8(stdout).unwrap(),
        words: String::from_utf8(stderr).unwrap(),
    }
}

/// Starts a twillctl that goes on for as long as the test likes.
pub(crate) fn start(arguments: &[&str]) -> Child {
    let mut command = command("setpriv");
    command
        .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_twillctl")])
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Sends a signal to a program that this test started.
pub(crate) fn signal(name: &str, id: u32) {
    let status = command("kill").args(["-s", name, &id.to_string()]).status().unwrap();
    assert!(status.success());
}

/// A loopback address that belongs to this process.
pub(crate) fn own_address() -> Ipv4Addr {
    // Process numbers end at 2^22. Not 127.0.x.y, where others may listen.
    let [_, a, b, c] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 0x40 + a, b, c)
}

#[expect(clippy::disallowed_methods, reason = "a test starts the programs that it tests")]
fn command(program: &str) -> Command {
    Command::new(program)
}
