//! Moving a process into a cgroup without a wait.
//!
//! The kernel lets whoever moves another process wait for a grace period of RCU, some 8 ms, unless somebody has
//! waited for one just before. libcontainer moves the first process of a container. So the command that starts a
//! container has the wait behind it by then: it moves itself to where it is, while everything else goes on, and
//! again before the kernel forgets.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Less than a grace period.
const BEAT: Duration = Duration::from_millis(4);
/// Whatever takes longer than this does not mind the wait.
const LIMIT: Duration = Duration::from_secs(1);

/// Somebody is about to be moved, until it is dropped.
#[derive(Debug)]
#[must_use = "the kernel forgets at once when it is not kept"]
pub struct Expected(#[expect(dead_code, reason = "its end is noticed")] Sender<()>);

/// Begins the wait, beside the caller. Whoever blocks signals for itself has done so before.
pub fn expect_move() -> Expected {
    let (sender, receiver) = channel();
    // Without it everything takes a little longer.
    drop(Builder::new().name("twill-haste".into()).spawn(move || stay(&receiver)));
    Expected(sender)
}

fn stay(wanted: &Receiver<()>) {
    let own = std::process::id().to_string();
    let begun = Instant::now();
    // Somebody may move us meanwhile: not back again.
    while own_place(&own).is_some_and(|place| fs::write(place, &own).is_ok())
        && begun.elapsed() < LIMIT
        && wanted.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout)
    {}
}

/// Where paths are those of another namespace, writing there would be a move: so we have to be found in it.
fn own_place(own: &str) -> Option<PathBuf> {
    let places = fs::read_to_string("/proc/self/cgroup").ok()?;
    places.lines().filter_map(place).find(|place| {
        let members = fs::read_to_string(place).unwrap_or_default();
        members.lines().any(|member| member == own)
    })
}

/// Of a line of `/proc/self/cgroup`: who is in that group.
fn place(line: &str) -> Option<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    // systemd's own is left alone.
    if controllers.starts_with("name=") {
        return None;
    }
    let root = Path::new("/sys/fs/cgroup").join(controllers);
    Some(root.join(path.trim_start_matches('/')).join("cgroup.procs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (line, want) in [
            ("4:memory:/a/b", Some("/sys/fs/cgroup/memory/a/b/cgroup.procs")),
            ("2:cpu,cpuacct:/", Some("/sys/fs/cgroup/cpu,cpuacct/cgroup.procs")),
            ("0::/a:b", Some("/sys/fs/cgroup/a:b/cgroup.procs")),
            ("1:name=systemd:/a", None),
            ("", None),
        ] {
            assert_eq!(place(line).as_deref(), want.map(Path::new), "{line}");
        }
    }

    #[test]
    fn it_stays_where_it_is() {
        let before = fs::read_to_string("/proc/self/cgroup").unwrap();
        let (sender, receiver) = channel();
        drop(sender);
        stay(&receiver);
        assert_eq!(fs::read_to_string("/proc/self/cgroup").unwrap(), before);
    }
}
