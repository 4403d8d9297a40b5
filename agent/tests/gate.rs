//! The agent lets its peers in and nobody else, whatever becomes of the table or of itself.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

#[path = "../../integration/src/deeds.rs"]
#[expect(dead_code, reason = "each test file uses its part of the deeds")]
mod deeds;

use std::time::{Duration, Instant};

use deeds::ipv6::in_ipv6;
use deeds::{Deed, ON_THE_GATE};
use support::network::{
    HOST_GW, HOST_GW_PEER, OF_BOTH, OF_IPV6, PEER_OF_BOTH, PEER_OF_IPV6, UDP, UDP_PEER, VXLAN,
    VXLAN_PEER, give_ipv6,
};
use support::process::wait_for;
use support::{PREFIX, World, command, get, try_command};

const SECOND: &str = r#"{"PublicIP":"192.0.2.10","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:0a"}}"#;

#[test]
fn peers_are_let_in_as_they_come_and_shut_out_as_they_go() {
    let Some(world) = World::with_config(VXLAN) else { return };
    let (twilld, _env) = world.joined(VXLAN_PEER);
    assert!(table().contains("192.0.2.9 . 0xa580900-0xa5809ff"), "{}", table());
    let rules = || command("nft", "-a -t list table ip twill-peers");
    let before = rules();
    world.etcdctl(&["put", &format!("{PREFIX}/subnets/10.88.10.0-24"), SECOND]);
    wait_for("the second peer", || table().contains("192.0.2.10 . 0xa580a00-0xa580aff"));
    world.peer_goes();
    wait_for("the first to go", || !table().contains("192.0.2.9"));
    assert_eq!(rules(), before, "elements alone were written");

    // Nobody is there, and the table stands; another agent finds it good.
    twilld.dies();
    let left = command("nft", "-a list table ip twill-peers");
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    assert_eq!(command("nft", "-a list table ip twill-peers"), left);
    assert_eq!(twilld.count("put back"), 0, "{}", twilld.said());
}

/// Each family has a table of its own, and a peer of both is let in by both.
#[test]
fn peers_of_ipv6_are_let_in_as_they_come_and_shut_out_as_they_go() {
    let Some(world) = World::with_config(OF_BOTH) else { return };
    give_ipv6();
    world.peer_of(PEER_OF_BOTH);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    let ipv6 =
        "2001:db8::9 . 0xfd000088000000090000000000000000-0xfd00008800000009ffffffffffffffff";
    wait_for("the peer", || table().contains("192.0.2.9 . 0xa580900-0xa5809ff"));
    wait_for("the peer of IPv6", || table_of_ipv6().contains(ipv6));
    assert!(!table().contains("2001:db8") && !table_of_ipv6().contains("192.0.2"), "apart");
    let rules = || command("nft", "-a -t list table ip6 twill-peers");
    let before = rules();
    world.peer_of_goes(PEER_OF_BOTH);
    world.peer_of(PEER_OF_IPV6);
    wait_for("another key, and IPv6 alone", || {
        !table().contains("192.0.2.9") && table_of_ipv6().contains(ipv6)
    });
    world.peer_of_goes(PEER_OF_IPV6);
    wait_for("the peer to go", || !table_of_ipv6().contains("2001:db8::9"));
    assert_eq!(rules(), before, "elements alone were written");
}

#[test]
fn a_table_of_ipv6_that_somebody_spoils_is_back_within_a_second() {
    let Some(world) = World::with_config(OF_IPV6) else { return };
    give_ipv6();
    world.peer_of(PEER_OF_IPV6);
    for engine in ["--firewall=iptables", "--firewall=none", "--firewall=nftables"] {
        let mut twilld = world.twilld(&["--resync=60", "--iptables-resync=60", engine]);
        twilld.says("bootstrap done");
        wait_for("the peer", || table_of_ipv6().contains("2001:db8::9"));
        let good = table_of_ipv6();
        for (number, Deed { says, types, .. }) in ON_THE_GATE.iter().enumerate() {
            for line in *types {
                try_command(&in_ipv6(line)).expect(says);
            }
            let start = Instant::now();
            wait_for(says, || table_of_ipv6() == good);
            assert!(start.elapsed() < Duration::from_secs(1), "{says}: {:?}", start.elapsed());
            let healed = format!("twill_drift_healed_total{{kind=\"rule\"}} {}", number + 1);
            wait_for(&healed, || get("/metrics").contains(&healed));
        }
        twilld.stops();
        assert_eq!(table_of_ipv6(), good, "an agent that stops leaves it");
        assert_eq!(table(), "", "nobody is there by IPv4");
    }
}

#[test]
fn a_table_that_somebody_spoils_is_back_within_a_second() {
    let Some(world) = World::with_config(VXLAN) else { return };
    world.peer(VXLAN_PEER);
    // With an engine of its own, and with none.
    for engine in ["--firewall=iptables", "--firewall=none", "--firewall=nftables"] {
        let mut twilld = world.twilld(&["--resync=60", "--iptables-resync=60", engine]);
        twilld.says("bootstrap done");
        let good = table();
        for (number, Deed { says, types, .. }) in ON_THE_GATE.iter().enumerate() {
            for line in *types {
                try_command(line).expect(says);
            }
            let start = Instant::now();
            wait_for(says, || table() == good);
            assert!(start.elapsed() < Duration::from_secs(1), "{says}: {:?}", start.elapsed());
            let healed = format!("twill_drift_healed_total{{kind=\"rule\"}} {}", number + 1);
            wait_for(&healed, || get("/metrics").contains(&healed));
        }
        twilld.stops();
        assert_eq!(table(), good, "an agent that stops leaves it");
    }
}

#[test]
fn news_of_others_do_not_keep_the_agent_from_the_table() {
    let Some(world) = World::with_config(VXLAN) else { return };
    world.peer(VXLAN_PEER);
    let mut twilld = world.twilld(&["--resync=60", "--iptables-resync=60"]);
    twilld.says("bootstrap done");
    let good = table();
    try_command("nft delete table ip twill-peers").expect("deleted");
    let start = Instant::now();
    // Each is an event of the kernel that is no reason to look at rows.
    let mut number = 0_u8;
    wait_for("the table", || {
        number = number.wrapping_add(1);
        let line =
            format!("ip neigh replace 203.0.113.9 lladdr 02:00:00:00:00:{number:02x} dev u1");
        try_command(&line).expect("a neighbour of nobody's");
        table() == good
    });
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    twilld.stops();
}

#[test]
fn every_way_has_the_table_that_it_needs() {
    for (config, peer, has, lacks) in [
        (UDP, UDP_PEER, "udp dport 8285 ip saddr @hosts", "chain encapsulated"),
        (HOST_GW, HOST_GW_PEER, "iifname \"u0\" ip saddr 10.88.1", "chain encapsulated"),
    ] {
        let config = config.to_owned();
        let world = std::thread::spawn(move || {
            let Some(world) = World::with_config(&config) else { return };
            let (_twilld, _env) = world.joined(peer);
            let table = table();
            assert!(table.contains(has) && !table.contains(lacks), "{table}");
            assert!(table.contains("192.0.2.9"), "{table}");
        });
        world.join().expect("a host of its own");
    }
}

#[test]
fn whoever_takes_packets_of_anyone_has_no_table() {
    let Some(world) = World::with_config(VXLAN) else { return };
    world.peer(VXLAN_PEER);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    assert!(table().contains("192.0.2.9"));
    twilld.stops();
    let mut twilld = world.twilld(&["--accept-from=anyone"]);
    twilld.says("bootstrap done");
    assert_eq!(command("nft", "list tables").matches("twill-peers").count(), 0);
}

#[test]
fn a_host_without_nft_runs_and_says_what_it_lacks() {
    let Some(world) = World::with_config(VXLAN) else { return };
    world.peer(VXLAN_PEER);
    std::fs::create_dir("/run/bin").expect("a directory");
    for name in ["iptables", "iptables-save", "iptables-restore"] {
        std::os::unix::fs::symlink(format!("/usr/sbin/{name}"), format!("/run/bin/{name}"))
            .expect("a link");
    }
    let mut command = World::command(&[]);
    command.env("PATH", "/run/bin");
    let mut twilld = world.start(command);
    twilld.says("bootstrap done");
    twilld.says("strangers may send packets to containers: nft is not installed");
    twilld.says("install the package nftables");
    let ready = get("/readyz");
    assert!(ready.contains("200 OK") && ready.contains("degraded: strangers may"), "{ready}");
    let doctor = get("/doctor");
    assert!(doctor.contains("nft is not installed"), "{doctor}");
}

fn table() -> String {
    try_command("nft -s -n list table ip twill-peers").unwrap_or_default()
}

fn table_of_ipv6() -> String {
    try_command("nft -s -n list table ip6 twill-peers").unwrap_or_default()
}
