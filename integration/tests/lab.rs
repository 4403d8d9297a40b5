//! The lab itself, without any program under test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use twill_integration::registry::traces;
use twill_integration::{Lab, Snapshot, may_build_labs, wait_until};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn hosts_reach_each_other_by_name_and_nothing_is_left() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let lab = Lab::new(3)?;
    for from in lab.hosts() {
        for to in ["node1", "node2", "node3"] {
            from.ok(["ping", "-c", "1", "-W", "2", to])?;
        }
        assert_eq!(from.ok(["hostname"])?.trim(), from.name());
        // Process 1 sits in the root of its groups; on cgroup2 one below, where systemd's would.
        assert_eq!(
            from.sh("cat /proc/self/cgroup | cut -d: -f3 | sort -u")?.trim(),
            "/\n/init.scope"
        );
    }
    let daemon = lab.node(1).spawn("sleeper", ["sleep", "1000"])?;
    wait_until("it runs", Duration::from_secs(1), || daemon.is_running())?;
    drop(daemon);
    lab.finish()
}

#[test]
fn a_host_is_seen_whole_and_what_appears_on_it_is_found() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let lab = Lab::new(1)?;
    let host = lab.node(1);
    let before = Snapshot::take(host)?;
    before.assert_same(host)?;
    host.sh("ip link add twprobe type bridge && ip route add 10.9.0.0/16 via 192.168.140.1")?;
    host.sh("iptables -A FORWARD -j ACCEPT && mkdir /sys/fs/cgroup/memory/x && touch /run/left")?;
    let sleeper = host.spawn("sleeper", ["sleep", "1000"])?;
    host.sh("mkdir /run/m && mount -t tmpfs tmpfs /run/m")?;
    let changes = || -> Result<_> { Ok(before.changes(&Snapshot::take(host)?).join("\n")) };
    let started = || changes().is_ok_and(|changes| changes.contains("+ process sleep 1000"));
    wait_until("the sleeper sleeps", LIMIT, started)?;
    let changes = changes()?;
    for wanted in [
        "+ link twprobe",
        "+ route 10.9.0.0/16",
        "+ firewall rule -A FORWARD -j ACCEPT",
        "+ file /sys/fs/cgroup/memory/x",
        "+ file /run/left",
        "+ mount /run/m",
    ] {
        assert!(changes.contains(wanted), "{wanted} is not in\n{changes}");
    }
    drop(sleeper);
    lab.finish()
}

#[test]
fn a_killed_owner_leaves_nothing_and_a_killed_guardian_nothing_that_is_not_swept() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut owner = Owner::start()?;
    owner.0.kill()?;
    owner.0.wait()?;
    let dir = &owner.1;
    wait_until("its lab goes", LIMIT, || traces(dir).is_ok_and(|left| left.is_empty()))?;

    let owner = Owner::start()?;
    let dir = &owner.1;
    let guardian: i32 = fs::read_to_string(dir.join("guardian.pid"))?.parse()?;
    let init: i32 = fs::read_to_string(dir.join("hosts/node1/pid"))?.parse()?;
    kill(Pid::from_raw(guardian), Signal::SIGKILL)?;
    let init = Pid::from_raw(init);
    wait_until("its hosts die with it", LIMIT, || kill(init, None).is_err())?;
    Lab::new(0)?.finish()?;
    assert_eq!(traces(dir)?, [""; 0], "the next lab sweeps it");
    Ok(())
}

#[test]
fn an_interrupted_owner_takes_its_lab_down() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut owner = Owner::start()?;
    kill(Pid::from_raw(owner.0.id().try_into()?), Signal::SIGINT)?;
    assert_eq!(owner.0.wait()?.code(), Some(0));
    assert_eq!(traces(&owner.1)?, [""; 0]);
    Ok(())
}

/// Another process that owns a lab, and the lab's directory.
struct Owner(Child, PathBuf);

impl Owner {
    fn start() -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_twill-lab"))
            .args(["up", "--bare", "--hosts", "1", "--foreground"])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let said = child.stdout.take().context("it has no output")?;
        BufReader::new(said).read_line(&mut line)?;
        let dir = line.split(' ').next().unwrap_or_default();
        assert!(dir.starts_with('/'), "{line}");
        Ok(Self(child, dir.into()))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // It may have ended; either way it is reaped.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
