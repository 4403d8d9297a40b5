//! Networks that go while nobody looks: the agent is dead, or etcd is away, or etcd is another one.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use support::process::{Process, wait_for};
use support::several::{env, is_ready, rules, stand};
use support::{World, get, ip, shell};

const BLUE: &str =
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan"}}"#;
const GREEN: &str = r#"{"Network":"10.89.0.0/16","SubnetMin":"10.89.100.0"}"#;
const FLAGS: [&str; 2] = ["--watch-networks", "--ip-masq"];

/// Both networks stand, and their pictures are on disk.
fn both(world: &World) -> Process {
    world.network("blue", BLUE);
    world.network("green", GREEN);
    let mut twilld = world.twilld(&FLAGS);
    stand(&mut twilld, &["blue", "green"]);
    for name in ["blue", "green"] {
        let picture = format!("/run/state/networks/{name}/picture");
        wait_for("its picture", || Path::new(&picture).exists());
    }
    twilld
}

fn index(device: &str) -> String {
    let link = ip(&format!("-o link show {device}"));
    link.split(':').next().unwrap_or_default().to_owned()
}

/// Nothing of green is left, and blue is as it was.
fn green_is_gone(twilld: &mut Process, blue: &str) {
    twilld.says("network{name=green}: this host is in that network no more");
    assert!(!ip("-o link show").contains("flannel8285"), "{}", ip("-o link show"));
    let rules = rules();
    assert!(!rules.contains("10.89.") && !rules.contains("twill-peers-green"), "{rules}");
    assert!(env("green").is_empty() && !Path::new("/run/state/networks/green").exists());
    stand(twilld, &["blue"]);
    assert_eq!(index("flannel.1"), blue, "the very same device");
    wait_for("readiness", || is_ready(""));
}

/// What a kill in the middle of leaving has left to do, in the order in which things go.
const STEPS: [&str; 8] = [
    // A write was cut off as well.
    "touch /run/state/networks/green/.picture.twilld /run/twill/networks/.green.env.twilld",
    "ip link del flannel8285",
    "rm -f /run/twill/flannel8285-*.lock",
    "nft delete table ip twill-peers-green",
    "etcdctl del --prefix /coreos.com/network/green/subnets/",
    "rm -f /run/state/networks/green/picture",
    "rm -f /run/twill/networks/green.env /run/twill/networks/green.docker",
    "rm -f /run/state/networks/green/mac /run/state/networks/green/backends",
];

#[test]
fn what_a_kill_cut_off_is_done_at_the_next_start() {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    for steps in 1..=STEPS.len() {
        let twilld = both(&world);
        let blue = index("flannel.1");
        twilld.dies();
        world.no_network("green");
        for step in &STEPS[..steps] {
            shell(step);
        }
        let mut twilld = world.twilld(&FLAGS);
        green_is_gone(&mut twilld, &blue);
        assert!(!world.keys_of("green").contains("subnets"), "after {steps} steps");
        twilld.stops();
    }
}

#[test]
fn without_etcd_a_host_is_where_it_was_and_leaves_when_it_is_told() {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    let twilld = both(&world);
    let blue = index("flannel.1");
    twilld.dies();
    world.no_network("green");
    world.stop_etcd();
    let mut twilld = world.twilld(&FLAGS);
    stand(&mut twilld, &["blue", "green"]);
    twilld.says("networks that come or go are not noticed");
    assert_eq!(twilld.count("takes its place from its own picture"), 2, "{}", twilld.said());
    assert!(!env("green").is_empty() && ip("-o link show").contains("flannel8285"));
    let text = get("/readyz");
    assert!(text.contains("200 OK") && text.contains("that come or go are not noticed"), "{text}");
    // Also without a picture of that one it is nobody's word that it is gone.
    twilld.dies();
    fs::remove_file("/run/state/networks/green/picture").expect("a picture");
    let mut twilld = world.twilld(&FLAGS);
    stand(&mut twilld, &["blue"]);
    assert!(ip("-o link show").contains("flannel8285"));
    world.start_etcd();
    green_is_gone(&mut twilld, &blue);
    twilld.stops();
}

#[test]
fn what_changed_while_the_watch_was_cut_is_found() {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    let mut twilld = both(&world);
    let blue = index("flannel.1");
    twilld.signal(Signal::SIGSTOP);
    world.stop_etcd();
    world.start_etcd();
    world.no_network("green");
    world.network("red", r#"{"Network":"10.90.0.0/16","Backend":{"Type":"host-gw"}}"#);
    twilld.signal(Signal::SIGCONT);
    green_is_gone(&mut twilld, &blue);
    stand(&mut twilld, &["red"]);
    twilld.signal(Signal::SIGSTOP);
    world.stop_etcd();
    world.start_etcd();
    world.no_network("red");
    world.network("grey", r#"{"Network":"10.91.0.0/16","Backend":{"Type":"alloc"}}"#);
    // Nobody can tell any more what happened in between: what came is found, and what went may never
    // have been there.
    let revision = world.revision();
    world.etcdctl(&["compact", &revision]);
    twilld.signal(Signal::SIGCONT);
    stand(&mut twilld, &["grey"]);
    twilld.says("this host stays in it");
    assert!(!env("red").is_empty());
    assert_eq!(twilld.count("network{name=blue}: bootstrap done"), 1);
    twilld.stops();
}

#[test]
fn an_etcd_that_was_put_back_from_a_copy_takes_no_network_away() {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    world.network("blue", BLUE);
    world.etcdctl(&["snapshot", "save", "/run/copy"]);
    let mut twilld = both(&world);
    let numbers = ["flannel.1", "flannel8285"].map(index);
    let stays = |twilld: &mut Process| {
        twilld.says("this host stays in it");
        stand(twilld, &["blue"]);
        assert_eq!(["flannel.1", "flannel8285"].map(index), numbers);
        assert!(!env("green").is_empty());
    };
    put_back(&mut world);
    stays(&mut twilld);
    twilld.dies();
    put_back(&mut world);
    let revision = world.revision();
    world.etcdctl(&["compact", &revision]);
    let mut twilld = world.twilld(&FLAGS);
    stays(&mut twilld);
    // The way out.
    world.network("green", GREEN);
    stand(&mut twilld, &["green"]);
    wait_for("readiness", || is_ready(""));
    world.no_network("green");
    green_is_gone(&mut twilld, &numbers[0]);
    twilld.stops();
}

/// etcd as it was when the copy was made, and already further than it had come by then.
fn put_back(world: &mut World) {
    world.stop_etcd();
    fs::remove_dir_all("/run/etcd").expect("etcd's data");
    world.restore("/run/copy");
    world.start_etcd();
    for number in 0..50 {
        world.etcdctl(&["put", "/elsewhere", &number.to_string()]);
    }
}
