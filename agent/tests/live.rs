//! The configuration changes while the agent runs.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::net::UdpSocket;

use support::network::{
    HOST_GW, HOST_GW_PEER, UDP, UDP_PEER, VXLAN, VXLAN_PEER, status, subnet_env,
};
use support::process::wait_for;
use support::{PREFIX, World, get, ip};

#[test]
fn each_peer_is_reached_by_what_its_lease_says_until_all_have_moved() {
    let Some(world) = World::with_config(UDP) else { return };
    world.peer(UDP_PEER);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    let lease = world.lease_of_node();
    goes("the whole network", "dev flannel0");
    // Each row: the configuration, how the peer is reached while it has not moved, what it says when
    // it has, and how it is reached then.
    let rows = [
        (VXLAN, "dev flannel0", VXLAN_PEER, "via 10.88.9.0 dev flannel.1", "vxlan"),
        (HOST_GW, "via 10.88.9.0 dev flannel.1", HOST_GW_PEER, "via 192.0.2.9 dev u0", "host-gw"),
        (UDP, "via 192.0.2.9 dev u0", UDP_PEER, "dev flannel0", "udp"),
    ];
    for (config, before, says, after, name) in rows {
        world.configure(config);
        wait_for("its lease", || world.value_of_node().contains(&told(name)) && applied(name));
        goes(name, before);
        world.peer(says);
        goes(name, after);
        assert_eq!(world.lease_of_node(), lease, "the subnet stays");
        wait_for("an empty plan", || status("pending").starts_with("[]"));
    }
    wait_for("the end of the earlier ones", || {
        assert!(ip("route get 10.88.9.5").contains("dev flannel0"), "all the time");
        !ip("-o link show").contains("flannel.1") && status("earlier").starts_with("[]")
    });
    assert_eq!(twilld.count("bootstrap done"), 1, "one session: {}", twilld.said());
    assert!(get("/readyz").contains("200 OK"));
    twilld.stops();
}

/// Two ports look the same in a lease: its age tells.
#[test]
fn peers_move_to_another_port_when_they_write_their_lease_again() {
    let Some(world) = World::with_config(VXLAN) else { return };
    world.peer(VXLAN_PEER);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    let value = world.value_of_node();
    world.configure(r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan","Port":4789}}"#);
    twilld.says("Backend.Port from 8472 to 4789");
    twilld.says("lease renewed");
    goes("the peer listens on the old one", "dev flannel.1");
    assert_eq!(world.value_of_node(), value, "the lease says the same as before");
    // Whoever starts again in between knows what peers still use.
    twilld.stops();
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    goes("after a restart too", "dev flannel.1");
    world.peer(VXLAN_PEER);
    goes("the peer has moved", "dev twill1.1");
    assert!(ip("-d link show twill1.1").contains("dstport 4789"));
    wait_for("the end of the old one", || !ip("-o link show").contains("flannel.1:"));
    twilld.stops();
}

#[test]
fn options_change_in_place_and_are_published() {
    let Some(world) = World::with_config(VXLAN) else { return };
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    let index = ip("-o link show flannel.1");
    let revision = world.lease_revision();
    world.configure(
        r#"{"Network":"10.88.0.0/15","Backend":{"Type":"vxlan","MTU":1400,"Learning":true}}"#,
    );
    twilld.says("Backend.MTU from that of each host's interface to 1400");
    let env = || subnet_env();
    wait_for("subnet.env", || {
        env().contains("FLANNEL_MTU=1350") && env().contains("FLANNEL_NETWORK=10.88.0.0/15")
    });
    assert!(std::fs::read_to_string("/run/flannel/docker").unwrap().contains("--mtu=1350"));
    let link = ip("-o -d link show flannel.1");
    assert!(link.contains("mtu 1350") && !link.contains("nolearning"), "{link}");
    let number = |line: &str| line.split(':').next().map(str::to_owned);
    assert_eq!(number(&link), number(&index), "the same device");
    assert_eq!(world.lease_revision(), revision, "it concerns no other host");
    assert!(ip("-o addr show flannel.1").contains("10.88."), "{link}");
    wait_for("status", || status("mtu").starts_with("1350"));
    twilld.stops();
}

#[test]
fn what_cannot_be_applied_changes_nothing_and_is_said() {
    let Some(world) = World::with_config(VXLAN) else { return };
    world.peer(VXLAN_PEER);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    let value = world.value_of_node();
    // Somebody else has the port.
    let taken = UdpSocket::bind("192.0.2.1:7000").expect("a port");
    let rows = [
        ("not json", "is not a JSON object"),
        (r#"{"Network":"10.88.0.0/16","SubnetLen":31}"#, "SubnetLen is 31"),
        (
            r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"nosuch"}}"#,
            "nosuch",
        ),
        (
            r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"udp","Port":7000}}"#,
            "192.0.2.1:7000",
        ),
        (
            r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","EnableIPv6":true,"IPv6Network":"fd00:88::/48","Backend":{"Type":"vxlan"}}"#,
            "u0 has no usable IPv6 address",
        ),
    ];
    for (text, words) in rows {
        world.configure(text);
        wait_for(words, || status("config_error").contains(words));
        twilld.says(words);
        goes(text, "via 10.88.9.0 dev flannel.1");
        assert!(get("/readyz").contains("200 OK"), "{text}");
        assert_eq!(world.value_of_node(), value, "{text}");
    }
    world.etcdctl(&["del", &format!("{PREFIX}/config")]);
    wait_for("the loss", || status("config_error").contains("was deleted"));
    goes("without a configuration", "via 10.88.9.0 dev flannel.1");
    assert_eq!(twilld.count("ERROR"), 6, "each once: {}", twilld.said());
    world.configure(VXLAN);
    wait_for("peace", || status("config_error").starts_with("null"));
    drop(taken);
    assert_eq!(twilld.count("bootstrap done"), 1, "one session: {}", twilld.said());
    twilld.stops();
}

#[test]
fn a_subnet_that_is_not_admitted_any_more_is_given_up() {
    let Some(world) = World::with_config(HOST_GW) else { return };
    world.peer(HOST_GW_PEER);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    goes("at first", "via 192.0.2.9 dev u0");
    world.configure(r#"{"Network":"10.99.0.0/16","Backend":{"Type":"host-gw"}}"#);
    twilld
        .says("the network changes from 10.88.0.0/16 (10.88.100.0/24 to 10.88.255.0/24) to 10.99");
    wait_for("another subnet", || twilld.count("bootstrap done") == 2);
    wait_for("its only lease", || world.leases_of_node() == 1);
    assert!(world.lease_of_node().starts_with("10.99."), "{}", world.lease_of_node());
    wait_for("the end of the old rows", || !ip("route show proto 84").contains("10.88."));
    let env = subnet_env();
    assert!(env.contains("FLANNEL_NETWORK=10.99.0.0/16"), "{env}");
    twilld.stops();
}

#[test]
fn a_peer_behind_a_router_is_named() {
    let Some(world) = World::with_config(HOST_GW) else { return };
    let far = HOST_GW_PEER.replace("192.0.2.9", "198.51.100.9");
    world.peer(&far);
    let mut twilld = world.twilld(&[]);
    twilld.says("198.51.100.9 is behind a router");
    twilld.says("bootstrap done");
    assert!(status("ignored").contains("behind a router"), "{}", get("/status"));
    assert!(ip("route show proto 84").is_empty());
    let address = ["--public-ip=203.0.113.1", "--iface=u0"];
    twilld.stops();
    world.twilld(&address).refuses(1, &["host-gw", "192.0.2.1", "203.0.113.1"]);
}

#[test]
fn peers_of_another_backend_or_segment_are_named() {
    let Some(world) = World::with_config(VXLAN) else { return };
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    for (peer, reason, why) in [
        (VXLAN_PEER.replace("\"VNI\":1", "\"VNI\":7"), "other-vni", "its VNI is 7, ours is 1"),
        (HOST_GW_PEER.to_owned(), "other-backend", "its backend is host-gw, ours is vxlan"),
    ] {
        world.peer(&peer);
        twilld.says(why);
        wait_for(why, || {
            let ignored = status("ignored");
            ignored.contains(why) && ignored.contains(reason)
        });
        assert!(ip("route show proto 84").is_empty(), "{why}");
    }
    world.peer(VXLAN_PEER);
    wait_for("one of ours", || ip("route get 10.88.9.5").contains("via 10.88.9.0 dev flannel.1"));
    wait_for("nobody is ignored", || status("ignored").starts_with("[]"));
    twilld.stops();
}

/// Waits until packets for the peer go that way; until then they must not leave by the default route.
#[track_caller]
fn goes(name: &str, wanted: &str) {
    wait_for(&format!("{name}: {wanted}"), || {
        let route = ip("route get 10.88.9.5");
        assert!(!route.contains("192.0.2.254"), "{name}: into the world: {route}");
        route.contains(wanted)
    });
}

fn told(name: &str) -> String {
    match name {
        "udp" => r#""PublicIPv6":null,"TwillNodeID""#.to_owned(),
        named => format!(r#""BackendType":"{named}""#),
    }
}

fn applied(name: &str) -> bool {
    status("backend").starts_with(&format!("\"{name}\""))
}
