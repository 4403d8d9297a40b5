//! What the agent may do is what it needs, on each of its threads.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use support::World;
use support::network::{HOST_GW, HOST_GW_PEER, UDP, UDP_PEER, VXLAN, VXLAN_PEER};
use support::process::{Process, wait_for};

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/twilld.service");
const ALLOC: &str =
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"alloc"}}"#;
const EXTENSION: &str = r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"extension","SubnetAddCommand":"/run/look"}}"#;
const EXTENSION_PEER: &str =
    r#"{"PublicIP":"192.0.2.9","PublicIPv6":null,"BackendType":"extension","BackendData":""}"#;

/// `CAP_NET_ADMIN`, `CAP_NET_RAW` and `CAP_NET_BIND_SERVICE`.
const LEAST: u64 = 1 << 12 | 1 << 13 | 1 << 10;
/// `CAP_BPF`, which the shortcut takes.
const PROGRAMS: u64 = 1 << 39;
/// The same: nothing more is kept where more is given.
const BY_HAND: u64 = LEAST;

#[test]
fn udp_runs_with_little() {
    little(UDP, UDP_PEER);
}

#[test]
fn the_shortcut_of_udp_takes_one_right_more_and_has_it_where_it_is_given() {
    let Some(world) = World::with_config(UDP) else { return };
    world.peer(UDP_PEER);
    let auto = ["--udp-shortcut=auto"];
    let given = [(World::command(&auto), LEAST | PROGRAMS), (as_the_unit(&auto), LEAST)];
    for (command, want) in given {
        let mut twilld = world.start(command);
        twilld.says("bootstrap done");
        check(&twilld, want);
        twilld.stops();
    }
}

#[test]
fn vxlan_runs_with_little() {
    little(VXLAN, VXLAN_PEER);
}

#[test]
fn host_gw_runs_with_little() {
    little(HOST_GW, HOST_GW_PEER);
}

#[test]
fn alloc_runs_with_little() {
    little(ALLOC, UDP_PEER);
}

#[test]
fn extension_runs_with_little_and_so_do_its_commands() {
    little(EXTENSION, EXTENSION_PEER);
}

#[test]
fn the_hook_has_the_rights_that_the_agent_was_given() {
    let Some(world) = World::with_config(VXLAN) else { return };
    let hook = "#!/bin/sh\ngrep -E '^(Cap|NoNew)' /proc/self/status >/run/hooking\n\
                mv /run/hooking /run/hooked\n";
    support::write_program("/run/hook", hook);
    let mine = rights("/proc/self/status");
    let mut twilld = world.twilld(&["--subnet-hook", "/run/hook"]);
    twilld.says("bootstrap done");
    wait_for("the hook", || fs::exists("/run/hooked").unwrap_or_default());
    let its = rights("/run/hooked");
    assert_eq!((its["CapBnd"], its["NoNewPrivs"]), (mine["CapBnd"], 0));
    check(&twilld, BY_HAND);
    // Nobody is left to run it when the agent has gone, whatever became of that.
    // Programs of the firewall come and go.
    wait_for("one child", || children(&twilld).len() == 1);
    let runner = children(&twilld);
    twilld.dies();
    wait_for("the end of the runner", || !fs::exists(format!("/proc/{}", runner[0])).unwrap());

    fs::remove_file("/run/hooked").expect("removed");
    let mut twilld = world.start(as_the_unit(&["--subnet-hook", "/run/hook"]));
    twilld.says("bootstrap done");
    wait_for("the hook", || fs::exists("/run/hooked").unwrap_or_default());
    let its = rights("/run/hooked");
    assert_eq!((its["CapBnd"], its["NoNewPrivs"]), (LEAST, 1), "no more than the unit gives");
    wait_for("no child: nobody has more to give", || children(&twilld).is_empty());
    twilld.stops();
}

fn little(config: &str, peer: &str) {
    let Some(world) = World::with_config(config) else { return };
    world.peer(peer);
    support::write_program("/run/look", "#!/bin/sh\ncp /proc/self/status /run/command\n");
    let starts = [("by hand", World::command(&[]), BY_HAND), ("unit", as_the_unit(&[]), LEAST)];
    for (name, command, want) in starts {
        let mut twilld = world.start(command);
        twilld.says("bootstrap done");
        wait_for(name, || support::get("/readyz").contains("200 OK"));
        // Those of the doctor and of the firewall have come too.
        assert!(support::get("/doctor").contains("200 OK"), "{name}");
        check(&twilld, want);
        if config == EXTENSION {
            wait_for("the command", || {
                fs::read_to_string("/run/command").is_ok_and(|text| text.contains("NoNewPrivs"))
            });
            let its = rights("/run/command");
            assert_eq!((its["CapEff"], its["CapBnd"], its["NoNewPrivs"]), (want, want, 1));
            fs::remove_file("/run/command").expect("removed");
            fs::remove_file("/run/state/extension").expect("told of nobody");
        }
        twilld.stops();
    }
}

/// Every thread has these and cannot have others, now or after running a program.
fn check(twilld: &Process, want: u64) {
    let tasks = fs::read_dir(format!("/proc/{}/task", twilld.pid())).expect("threads");
    for task in tasks {
        let task = task.expect("a thread").path().join("status");
        let found = rights(task.to_str().expect("a path"));
        let sets = ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb", "NoNewPrivs"];
        let found = sets.map(|set| found[set]);
        assert_eq!(found, [want, want, want, 0, 0, 1], "{}", task.display());
    }
}

fn rights(status: &str) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(status).expect("a status");
    let fields = text.lines().filter_map(|line| line.split_once(":\t"));
    let ours = fields.filter(|(name, _)| name.starts_with("Cap") || *name == "NoNewPrivs");
    ours.map(|(name, set)| (name.to_owned(), u64::from_str_radix(set.trim(), 16).expect("a set")))
        .collect()
}

fn children(twilld: &Process) -> Vec<u32> {
    let pid = twilld.pid();
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("children");
    text.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect()
}

/// Started with the bounding set of the unit file and without new privileges, as by systemd.
fn as_the_unit(flags: &[&str]) -> Command {
    let unit = fs::read_to_string(UNIT).expect("the unit");
    assert!(unit.contains("\nNoNewPrivileges=yes\n"));
    let bounds = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let bounds = bounds.expect("a set").to_lowercase().replace("cap_", "+").replace(' ', ",");
    World::bounded(&format!("-all,{bounds}"), flags)
}
