//! The program that is run when the subnet or the MTU changes.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::process::wait_for;
use support::{PREFIX, World};

const CONFIG: &str =
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan"}}"#;
const SMALLER: &str =
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan","MTU":1400}}"#;
const OTHER_PORT: &str = r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan","MTU":1400,"Port":4789}}"#;
const OTHER: &str = r#"{"PublicIP":"192.0.2.9","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:09"}}"#;
const HOOK: &str = "/run/hook";
/// Appends what the hook was told, a line a run.
const NOTE: &str =
    "echo $FLANNEL_NETWORK $FLANNEL_SUBNET $FLANNEL_MTU $FLANNEL_IPMASQ >>/run/told\n";

#[test]
fn it_is_run_at_the_start_and_at_each_change_of_subnet_or_mtu() {
    let Some(world) = World::with_config(CONFIG) else { return };
    // Whoever is run finds everything in place.
    hook(&format!("{NOTE}cat $TWILL_SUBNET_FILE; echo careful >&2"));
    let mut twilld = world.twilld(&["--subnet-hook", HOOK]);
    twilld.says("subnet hook: FLANNEL_IPMASQ=false");
    twilld.says("WARN subnet hook: careful");
    let first = bridge(&world);
    assert_eq!(told(), [format!("10.88.0.0/16 {first} 1450 false")]);

    configure(&world, SMALLER);
    wait_for("the run for the MTU", || told().len() == 2);
    assert_eq!(told()[1], format!("10.88.0.0/16 {first} 1350 false"));

    // Nothing that containers would notice.
    configure(&world, OTHER_PORT);
    twilld.says("Backend.Port");
    let key = format!("{PREFIX}/subnets/{}", world.lease_of_node());
    world.etcdctl(&["del", &key]);
    twilld.says("the subnet is ours again");
    assert_eq!(told().len(), 2);

    world.etcdctl(&["put", &key, OTHER]);
    twilld.says("ANOTHER HOST OWNS OUR SUBNET");
    wait_for("the run for the subnet", || told().len() == 3);
    let second = bridge(&world);
    assert_ne!(second, first);
    assert_eq!(told()[2], format!("10.88.0.0/16 {second} 1350 false"));
    twilld.stops();
}

#[test]
fn one_that_fails_is_tried_again_and_told_of_once() {
    let Some(world) = World::with_config(CONFIG) else { return };
    hook(&format!("{NOTE}echo left behind: one >&2; exit 1"));
    let mut twilld = world.twilld(&["--subnet-hook", HOOK]);
    wait_for("three tries", || told().len() >= 3);
    let said = "the subnet hook has failed, trying again: /run/hook failed (exit status: 1): \
                left behind: one";
    assert_eq!(twilld.count(said), 1, "{}", twilld.said());
    assert_eq!(twilld.count("WARN subnet hook: left behind: one"), 1);
    assert_eq!(twilld.count("`/run/hook` runs it by hand"), 1);
    // A hook that cannot even be started is another failure.
    fs::remove_file(HOOK).expect("removed");
    twilld.says("trying again: cannot run /run/hook: No such file");
    hook("");
    twilld.says("the subnet hook has succeeded");
    twilld.stops();
}

/// Neither readiness nor changes nor the end wait for it; what came meanwhile is one run.
#[test]
fn one_that_hangs_holds_nobody_up() {
    let Some(world) = World::with_config(CONFIG) else { return };
    hook(&format!("{NOTE}sleep 1000 & echo $! >/run/sleeper; test -e /run/go || wait"));
    let mut twilld = world.twilld(&["--subnet-hook", HOOK]);
    twilld.says("bootstrap done");
    wait_for("its start", || fs::read_to_string("/run/sleeper").is_ok_and(|pid| pid.len() > 1));
    for mtu in [1400, 1300, 1200] {
        configure(&world, &SMALLER.replace("1400", &mtu.to_string()));
        twilld.says(&format!("published network=10.88.0.0/16 mtu={}", mtu - 50));
    }
    assert_eq!(told().len(), 1, "one at a time");
    fs::write("/run/go", "").expect("written");
    kill(sleeper(), Signal::SIGKILL).expect("the first run");
    wait_for("a run for the newest", || told().len() == 2);
    assert!(told()[1].contains(" 1150 "), "{:?}", told());
    twilld.stops();

    fs::remove_file("/run/go").expect("removed");
    fs::remove_file("/run/sleeper").expect("removed");
    let mut twilld = world.twilld(&["--subnet-hook", HOOK]);
    twilld.says("bootstrap done");
    wait_for("its start", || fs::read_to_string("/run/sleeper").is_ok_and(|pid| pid.len() > 1));
    let pid = sleeper();
    assert!(lives(pid));
    let start = Instant::now();
    twilld.stops();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    wait_for("the end of its children", || !lives(pid));
}

fn hook(body: &str) {
    support::write_program(HOOK, &format!("#!/bin/sh\n{body}\n"));
}

fn told() -> Vec<String> {
    let told = fs::read_to_string("/run/told").unwrap_or_default();
    told.lines().map(str::to_owned).collect()
}

fn bridge(world: &World) -> String {
    let lease = world.lease_of_node();
    let (base, length) = lease.split_once('-').expect("a subnet");
    let (block, _zero) = base.rsplit_once('.').expect("an address");
    format!("{block}.1/{length}")
}

fn configure(world: &World, text: &str) {
    world.etcdctl(&["put", &format!("{PREFIX}/config"), text]);
}

fn sleeper() -> Pid {
    let pid = fs::read_to_string("/run/sleeper").expect("a number");
    Pid::from_raw(pid.trim().parse().expect("a number"))
}

/// Or waits to be reaped by whoever inherited it.
fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}
