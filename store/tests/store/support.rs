//! A real etcd that lives as long as the test, in a directory of its own, on ports of the kernel's
//! choice.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::time::timeout;

/// Longer than any start on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running etcd; it ends with the value, or with this process.
pub(crate) struct Throwaway {
    child: Child,
    dir: TempDir,
    scheme: &'static str,
    extra: Vec<String>,
    port: u16,
}

impl Throwaway {
    /// Plain HTTP.
    pub(crate) fn start() -> Self {
        Self::with("http", &[])
    }

    /// With more options of etcd.
    pub(crate) fn with(scheme: &'static str, extra: &[&str]) -> Self {
        Self::with_options(scheme, extra.iter().map(ToString::to_string).collect())
    }

    /// The same.
    pub(crate) fn with_options(scheme: &'static str, extra: Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (child, port) = spawn(dir.path(), scheme, 0, &extra);
        Self { child, dir, scheme, extra, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Pulls the plug.
    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Comes back with the same data at the same place.
    pub(crate) fn start_again(&mut self) {
        let (child, port) = spawn(self.dir.path(), self.scheme, self.port, &self.extra);
        assert_eq!(port, self.port);
        self.child = child;
    }

    /// Comes back empty at the same place, as after a restore that went wrong.
    pub(crate) fn start_empty(&mut self) {
        std::fs::remove_dir_all(self.dir.path().join("data")).unwrap();
        self.start_again();
    }

    /// Stops answering without closing anything, like a host whose cable is pulled; or goes on.
    pub(crate) fn freeze(&self, frozen: bool) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, if frozen { Signal::SIGSTOP } else { Signal::SIGCONT }).unwrap();
        if frozen {
            // The signal is sent at once, but threads answer on until each has noticed.
            let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            let state = waitid(Id::Pid(pid), flags).unwrap();
            assert!(matches!(state, WaitStatus::Stopped(..)), "{state:?}");
        }
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "store cannot use net, which is where children start"
)]
pub(crate) fn command(program: &str) -> Command {
    Command::new(program)
}

/// Waits until it is so, with a limit.
pub(crate) async fn eventually<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    let checked = async { while !holds().await {} };
    timeout(PATIENCE, checked).await.expect("it becomes true");
}

fn spawn(dir: &Path, scheme: &str, port: u16, extra: &[String]) -> (Child, u16) {
    let client = format!("{scheme}://127.0.0.1:{port}");
    let peer = "http://127.0.0.1:0";
    // A test that is killed takes its etcd along.
    let mut child = command("setpriv")
        .args(["--pdeathsig", "KILL", "etcd", "--name", "throwaway"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("throwaway={peer}")])
        .args(["--heartbeat-interval", "50", "--election-timeout", "250"])
        .args(extra)
        .arg("--data-dir")
        .arg(dir.join("data"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("etcd and setpriv are installed (apt install etcd-server util-linux)");
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (tell, told) = mpsc::channel();
    // Reads on for as long as etcd lives, so that it never blocks on a full pipe.
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let served = line.split_once("client requests on 127.0.0.1:");
            let port = served.and_then(|(_log, rest)| rest.split(',').next()?.trim().parse().ok());
            _ = tell.send(port.ok_or(line));
        }
    });
    let mut transcript = Vec::new();
    loop {
        match told.recv_timeout(PATIENCE) {
            Ok(Ok(port)) => return (child, port),
            Ok(Err(line)) => transcript.push(line),
            Err(silence) => panic!("etcd did not start: {silence}\n{}", transcript.join("\n")),
        }
    }
}
