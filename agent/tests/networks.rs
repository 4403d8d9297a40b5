//! One agent in several networks.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::fs;
use std::path::Path;

use support::process::wait_for;
use support::several::{env, is_ready, rules, stand};
use support::{World, get, ip, try_command, write_program};

const BLUE: &str =
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan"}}"#;
const GREEN: &str = r#"{"Network":"10.89.0.0/16","SubnetMin":"10.89.100.0"}"#;
/// A segment that blue has.
const CLASH: &str = r#"{"Network":"10.89.0.0/16","Backend":{"Type":"vxlan","MTU":1400}}"#;

const BLUE_PEER: &str = r#"{"PublicIP":"192.0.2.9","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:09"}}"#;
const GREEN_PEER: &str = r#"{"PublicIP":"192.0.2.8","PublicIPv6":null}"#;

const BOTH: &str = "--networks=blue,green";

/// Everything that flows depend on; counters and times left out.
fn plane() -> (usize, String, String) {
    let links = ip("-o -4 addr show").lines().filter(|line| line.contains("flannel")).count();
    (links, ip("route show proto 84").replace(" linkdown", ""), ip("neigh show nud permanent"))
}

/// The numbers of the two devices.
fn index() -> [String; 2] {
    ["flannel.1", "flannel8285"].map(|name| {
        let link = ip(&format!("-o link show {name}"));
        link.split(':').next().unwrap_or_default().to_owned()
    })
}

/// In rules and in words.
fn is_told() {
    let rules = rules();
    for rule in [
        "-A TWILL-APART -s 10.88.0.0/16 -d 10.89.0.0/16 ",
        "-A TWILL-APART-IN -s 10.89.0.0/16 -d 10.88.0.0/16 ",
        "-A FLANNEL-FWD -s 10.88.0.0/16 ",
        "-A FLANNEL-FWD -s 10.89.0.0/16 ",
        "table ip twill-peers-blue",
        "table ip twill-peers-green",
    ] {
        assert!(rules.contains(rule), "{rule}\n{rules}");
    }
    wait_for("readiness", || is_ready(""));
    let status = get("/status");
    assert!(status.contains(r#""networks":[{"name":"blue","ready":true"#), "{status}");
    assert!(get("/status?network=green").contains(r#""device":"flannel8285""#));
    let metrics = get("/metrics");
    for line in ["twill_peers{network=\"blue\"} 1", "twill_ready{network=\"green\"} 1"] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[test]
fn two_networks_stand_side_by_side_and_after_a_kill_again() {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    world.network("blue", BLUE);
    world.network("green", GREEN);
    world.peer_in("blue", "10.88.9.0-24", BLUE_PEER);
    world.peer_in("green", "10.89.9.0-24", GREEN_PEER);
    let flags = [BOTH, "--ip-masq", "--firewall=iptables"];
    let mut twilld = world.twilld(&flags);
    stand(&mut twilld, &["blue", "green"]);
    let leases = ["blue", "green"].map(|name| world.lease_in(name));
    for (name, lease) in ["blue", "green"].iter().zip(&leases) {
        assert!(env(name).contains(&lease.replace(".0-", ".1/")), "{name}: {}", env(name));
    }
    assert!(env("blue").contains("FLANNEL_MTU=1450") && env("green").contains("FLANNEL_MTU=1472"));
    assert!(fs::read_to_string("/run/twill/networks/green.docker").unwrap().contains("--mtu=1472"));
    wait_for("routes", || plane().1.lines().count() == 2);
    let before = plane();
    assert_eq!(before.0, 2);
    assert!(before.1.contains("10.88.9.0/24 via 10.88.9.0 dev flannel.1 "), "{}", before.1);
    assert!(before.1.contains("10.89.0.0/16 dev flannel8285 "), "{}", before.1);
    is_told();
    let numbers = index();
    twilld.dies();
    assert_eq!(plane(), before, "left standing by kill -9");
    let mut twilld = world.twilld(&flags);
    stand(&mut twilld, &["blue", "green"]);
    assert_eq!(["blue", "green"].map(|name| world.lease_in(name)), leases);
    assert_eq!((plane(), index()), (before, numbers), "the very same devices and rows");
    twilld.stops();
}

#[test]
fn one_network_without_a_configuration_or_with_a_broken_one_holds_nobody_up() {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    world.network("blue", r#"{"Network":"10.88.0.0/16","SubnetLen":31}"#);
    world.network("green", GREEN);
    let mut twilld = world.twilld(&["--networks=red,blue,green"]);
    stand(&mut twilld, &["green"]);
    twilld.says("has no network configuration under /coreos.com/network/red/config");
    twilld.says("cannot use /coreos.com/network/blue/config@");
    assert!(is_ready("?network=green") && !is_ready(""), "{}", get("/readyz"));
    let text = get("/readyz");
    assert!(text.contains("network red: etcd at ") && text.contains("network blue: "), "{text}");
    assert!(get("/healthz").contains("200 OK"));
    world.network("blue", BLUE);
    world.network("red", r#"{"Network":"10.90.0.0/16","Backend":{"Type":"host-gw"}}"#);
    stand(&mut twilld, &["blue", "red"]);
    wait_for("readiness", || is_ready(""));
    twilld.stops();
}

#[test]
fn of_two_that_clash_the_first_goes_on_and_the_second_comes_when_it_can() {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    world.network("blue", BLUE);
    world.network("green", CLASH);
    // Whichever etcd answers first.
    let mut twilld = world.twilld(&[BOTH]);
    stand(&mut twilld, &["blue"]);
    let why = "network green cannot be served beside network blue: both use vxlan 1 on port 8472";
    twilld.says(why);
    twilld.says("hint=\"change one of them");
    wait_for("the reason", || get("/readyz").contains(why));
    assert_eq!(env("green"), "");
    let blue = world.lease_in("blue");
    // Its own configuration changes, and it comes.
    world.network("green", GREEN);
    stand(&mut twilld, &["green"]);
    // A change that clashes is not applied, and nobody is disturbed.
    world.network("blue", r#"{"Network":"10.89.0.0/16","Backend":{"Type":"host-gw"}}"#);
    let why = "network blue cannot be served beside network green: 10.89.0.0/16 overlaps";
    twilld.says(why);
    wait_for("the reason", || {
        get("/readyz").contains(&format!(
            "degraded: network blue: the newest configuration is not applied: {why}"
        ))
    });
    assert!(is_ready("?network=green") && get("/readyz").contains("200 OK"));
    assert_eq!(world.lease_in("blue"), blue);
    twilld.stops();
}

#[test]
fn who_was_there_before_keeps_what_it_has_over_a_restart() {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    world.network("green", GREEN);
    let mut twilld = world.twilld(&[BOTH]);
    stand(&mut twilld, &["green"]);
    let lease = world.lease_in("green");
    wait_for("its picture", || Path::new("/run/state/networks/green/picture").exists());
    twilld.stops();
    // Named first, and wants what green has.
    world.network("blue", GREEN);
    let mut twilld = world.twilld(&[BOTH]);
    stand(&mut twilld, &["green"]);
    twilld.says("network blue cannot be served beside network green: 10.89.0.0/16 overlaps");
    assert_eq!(world.lease_in("green"), lease);
    world.network("green", r#"{"Network":"10.89.0.0/16","Backend":{"Type":"udp","Port":8286}}"#);
    twilld.stops();
}

#[test]
fn what_one_network_gives_up_another_can_have_at_once() {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    world.network("blue", BLUE);
    world.network("green", CLASH);
    let mut twilld = world.twilld(&[BOTH]);
    stand(&mut twilld, &["blue"]);
    twilld.says("network green cannot be served beside network blue");
    world.network("blue", r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan","VNI":7}}"#);
    // For ten seconds somebody may still send the old way.
    stand(&mut twilld, &["green"]);
    assert!(ip("-d link show flannel.1").contains("vxlan id 1 "));
    assert!(env("green").contains("FLANNEL_MTU=1350"), "{}", env("green"));
    wait_for("readiness", || is_ready(""));
    twilld.stops();
}

#[test]
fn the_hook_is_told_which_network_it_is_about() {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    world.network("blue", BLUE);
    world.network("green", GREEN);
    write_program(
        "/run/hook",
        "#!/bin/sh\necho $TWILL_NETWORK $TWILL_SUBNET_FILE $FLANNEL_MTU >&2\n",
    );
    let mut twilld = world.twilld(&[BOTH, "--subnet-hook=/run/hook"]);
    twilld.says("subnet hook: blue /run/twill/networks/blue.env 1450");
    twilld.says("subnet hook: green /run/twill/networks/green.env 1472");
    twilld.stops();
}

#[test]
fn a_network_that_is_taken_out_leaves_nothing_behind() {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    world.network("blue", BLUE);
    world.network("green", r#"{"Network":"10.89.0.0/16","Backend":{"Type":"host-gw"}}"#);
    world.network("red", r#"{"Network":"10.90.0.0/16","SubnetMin":"10.90.100.0"}"#);
    world.peer_in(
        "green",
        "10.89.9.0-24",
        r#"{"PublicIP":"192.0.2.9","PublicIPv6":null,"BackendType":"host-gw"}"#,
    );
    ip("route add 10.99.0.0/24 via 192.0.2.254 proto static");
    let flags = |networks: &'static str| [networks, "--firewall=nftables", "--ip-masq"];
    let mut twilld = world.twilld(&flags("--networks=blue,green,red"));
    stand(&mut twilld, &["blue", "green", "red"]);
    wait_for("a route", || ip("route show 10.89.9.0/24").contains("via 192.0.2.9"));
    for name in ["blue", "green", "red"] {
        let picture = format!("/run/state/networks/{name}/picture");
        wait_for("its picture", || Path::new(&picture).exists());
    }
    let red = world.lease_in("red");
    twilld.stops();
    let mut twilld = world.twilld(&flags("--networks=red"));
    stand(&mut twilld, &["red"]);
    let links = ip("-o link show");
    assert!(!links.contains("flannel.1") && links.contains("flannel8285"), "{links}");
    let routes = ip("route show");
    assert!(!routes.contains("10.89.") && routes.contains("10.99.0.0/24"), "{routes}");
    let tables = try_command("nft list ruleset").unwrap();
    assert!(!tables.contains("10.88.") && !tables.contains("10.89."), "{tables}");
    assert!(!tables.contains("twill-peers-blue") && tables.contains("twill-peers-red"), "{tables}");
    assert_eq!(fs::read_dir("/run/twill/networks").unwrap().count(), 2, "red.env and red.docker");
    assert_eq!(fs::read_dir("/run/state/networks").unwrap().count(), 1, "red");
    assert_eq!(world.lease_in("red"), red);
    twilld.stops();
    // Back to one network, which has no name.
    world.configure(r#"{"Network":"10.90.0.0/16","Backend":{"Type":"host-gw"}}"#);
    let mut twilld = world.twilld(&["--firewall=nftables"]);
    twilld.says("bootstrap done");
    assert!(!ip("-o link show").contains("flannel8285"));
    assert!(!try_command("nft list tables").unwrap().contains("twill-peers-red"));
    assert!(!Path::new("/run/twill/networks/red.env").exists());
    twilld.stops();
    // And to two others, neither of which is that one.
    let mut twilld = world.twilld(&[BOTH]);
    stand(&mut twilld, &["blue", "green"]);
    assert!(!Path::new("/run/flannel/subnet.env").exists());
    assert!(!Path::new("/run/state/picture").exists());
    twilld.stops();
}

#[test]
fn a_clean_up_is_one_of_all_networks() {
    let Some(mut world) = World::new() else { return };
    // The uplink's own state may still change.
    let look = || {
        let links = ip("-o link show");
        let names: Vec<_> = links.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        (names.join(" "), ip("route show").replace(" linkdown", ""))
    };
    let before = look();
    world.start_etcd();
    world.network("blue", BLUE);
    world.network("green", GREEN);
    let mut twilld = world.twilld(&[BOTH, "--firewall=iptables", "--ip-masq"]);
    stand(&mut twilld, &["blue", "green"]);
    twilld.stops();
    let cleanup = "cleanup --yes --state-dir=/run/state";
    let said = try_command(&format!("{} {cleanup}", env!("CARGO_BIN_EXE_twilld"))).expect("clean");
    for name in ["flannel.1", "flannel8285", "networks/blue.env", "twill-peers-green"] {
        assert!(said.contains(name), "{name}: {said}");
    }
    let after = rules();
    assert!(!after.contains("TWILL") && !after.contains("twill"), "{after}");
    assert_eq!(look(), before);
    assert!(!Path::new("/run/twill").exists() && !Path::new("/run/state").exists());
}
