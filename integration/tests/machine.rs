//! Hosts with a systemd of their own: they boot, end in every way, and leave nothing behind.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use twill_integration::registry::traces;
use twill_integration::{Lab, Machine, machine, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn machines_boot_reach_each_other_and_come_back() -> Result<()> {
    if !machine::may_boot() {
        return Ok(());
    }
    let mut lab = Lab::new(1)?;
    let mut machine = lab.add_machine()?;
    fs::write(machine.path("/etc/motd"), "written while it was off\n")?;
    machine.start()?;
    let own = machine.host();
    assert_eq!(own.ok(["cat", "/etc/motd"])?, "written while it was off\n");
    assert_eq!(own.ok(["cat", "/proc/1/comm"])?, "systemd\n");
    assert_eq!(own.ok(["hostname"])?, "node2\n");
    own.ok(["ping", "-c1", "-W3", "node1"])?;
    lab.node(1).ok(["ping", "-c1", "-W3", "192.168.140.23"])?;

    // What lasts, and what goes with the power.
    own.sh("echo kept >/var/lib/kept && touch /run/gone /usr/local/installed")?;
    own.ok(["ip", "link", "add", "gone", "type", "bridge"])?;
    let sleeper = own.spawn("sleeper", ["sleep", "100000"])?;
    let first = boot_id(&machine)?;
    machine.reboot()?;
    ensure!(!sleeper.is_running(), "what ran before still runs");
    let second = after_a_boot(&machine, &first)?;
    let sleeper = machine.host().spawn("sleeper", ["sleep", "100000"])?;
    machine.cut()?;
    ensure!(!sleeper.is_running(), "what ran before still runs");
    machine.start()?;
    after_a_boot(&machine, &second)?;
    let boots = machine.host().ok(["journalctl", "--list-boots", "--quiet", "--no-pager"])?;
    assert_eq!(boots.lines().count(), 3, "{boots}");

    machine.off()?;
    ensure!(fs::read_to_string(machine.path("/var/lib/kept"))? == "kept\n");
    machine.start()?;
    let leader = machine.host().init();
    lab.finish()?;
    wait_until("its systemd has gone", LIMIT, || kill(leader, None).is_err()).map(drop)
}

/// A unit of a machine is what systemd makes of it.
#[test]
fn units_start_and_are_watched_over() -> Result<()> {
    if !machine::may_boot() {
        return Ok(());
    }
    let mut lab = Lab::new(0)?;
    let mut machine = lab.add_machine()?;
    let unit = "[Service]\nExecStart=/bin/sleep 100000\nRestart=always\nRestartSec=0\n\
                [Install]\nWantedBy=multi-user.target\n";
    fs::write(machine.path("/etc/systemd/system/sleeper.service"), unit)?;
    let own = machine.start()?;
    own.ok(["systemctl", "enable", "--now", "sleeper"])?;
    let main = || own.ok(["systemctl", "show", "-P", "MainPID", "sleeper"]);
    let first = main()?;
    own.ok(["kill", "-9", first.trim()])?;
    wait_until("it runs again", Duration::from_secs(20), || {
        main().is_ok_and(|pid| pid != first && pid.trim() != "0")
    })?;
    let own = machine.reboot()?;
    own.ok(["systemctl", "is-active", "sleeper"])?;
    lab.finish()
}

fn after_a_boot(machine: &Machine, before: &str) -> Result<String> {
    let own = machine.host();
    own.sh("test \"$(cat /var/lib/kept)\" = kept && test -e /usr/local/installed && ! test -e /run/gone")?;
    ensure!(own.run(["ip", "link", "show", "gone"])?.code != 0, "a link has survived");
    own.ok(["ping", "-c1", "-W3", "node1"])?;
    let id = boot_id(machine)?;
    ensure!(id != before, "the boot is the same");
    Ok(id)
}

fn boot_id(machine: &Machine) -> Result<String> {
    machine.host().ok(["cat", "/proc/sys/kernel/random/boot_id"])
}

/// However its lab ends, a machine ends with it.
#[test]
fn nothing_is_left_of_a_machine_whose_lab_is_dropped_or_whose_guardian_is_killed() -> Result<()> {
    if !machine::may_boot() {
        return Ok(());
    }
    let (dropped, dir) = booted()?;
    let init = dropped.1.host().init();
    drop(dropped);
    wait_until("its systemd has gone", LIMIT, || kill(init, None).is_err())?;
    wait_until("its lab goes", LIMIT, || traces(&dir).is_ok_and(|left| left.is_empty()))?;

    let (killed, dir) = booted()?;
    let init = killed.1.host().init();
    let guardian: i32 = fs::read_to_string(dir.join("guardian.pid"))?.parse()?;
    kill(Pid::from_raw(guardian), Signal::SIGKILL)?;
    wait_until("its systemd has gone", LIMIT, || kill(init, None).is_err())?;
    drop(killed);
    Lab::new(0)?.finish()?;
    assert_eq!(traces(&dir)?, [""; 0], "the next lab sweeps it");
    Ok(())
}

fn booted() -> Result<((Lab, Machine), PathBuf)> {
    let mut lab = Lab::new(0)?;
    let mut machine = lab.add_machine()?;
    machine.start()?;
    let dir = lab.dir().to_owned();
    Ok(((lab, machine), dir))
}
