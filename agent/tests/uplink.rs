//! The interface to the other hosts changes under a running agent.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::time::Duration;

use support::network::{PICTURE, VXLAN, status, subnet_env};
use support::process::wait_for;
use support::{PREFIX, World, get, ip, iptables, try_command};

const DIRECT: &str = r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan","DirectRouting":true}}"#;
const DIRECT_UDP: &str = r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"udp","DirectRouting":true}}"#;
const SECOND: Duration = Duration::from_secs(1);

/// A peer of a block 10.88.n.0/24 at that address.
fn peer(world: &World, n: u8, address: &str) {
    let mac = format!("02:00:00:00:00:{n:02x}");
    let value = format!(
        r#"{{"PublicIP":"{address}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{mac}"}}}}"#
    );
    world.etcdctl(&["put", &format!("{PREFIX}/subnets/10.88.{n}.0-24"), &value]);
}

fn udp_peer(world: &World, n: u8, address: &str) {
    let value = format!(r#"{{"PublicIP":"{address}","PublicIPv6":null}}"#);
    world.etcdctl(&["put", &format!("{PREFIX}/subnets/10.88.{n}.0-24"), &value]);
}

#[track_caller]
fn type_in(line: &str) {
    try_command(line).unwrap_or_else(|error| panic!("{line}: {error}"));
}

/// Waits until packets for that block leave so. Unless their route is new or was deleted, they never leave by
/// the default route meanwhile.
#[track_caller]
#[expect(clippy::print_stderr, reason = "the times are part of the answer")]
fn goes(why: &str, n: u8, wanted: &str) {
    let took = wait_for(&format!("{why}: {wanted}"), || {
        let route = ip(&format!("route get 10.88.{n}.5"));
        let lost = route.contains("192.0.2.254");
        assert!(
            !lost || ["deleted", "comes"].iter().any(|word| why.contains(word)),
            "{why}: into the world: {route}"
        );
        route.contains(wanted)
    });
    eprintln!("| {why:60} | {:5} ms |", took.as_millis());
    assert!(took < SECOND, "{why}: {took:?}");
}

/// What is typed, and which way packets for the peer behind the router and for the one on the link go.
const TURNS: [(&str, &str, &str); 6] = [
    ("ip addr add 198.51.100.1/24 dev u0", "via 198.51.100.10 dev u0", "via 192.0.2.9 dev u0"),
    ("ip route add 192.0.2.9/32 via 192.0.2.253", "via 198.51.100.10 dev u0", "TUNNEL"),
    ("ip addr del 198.51.100.1/24 dev u0", "TUNNEL", "TUNNEL"),
    ("ip route del 192.0.2.9/32", "TUNNEL", "via 192.0.2.9 dev u0"),
    ("ip route add 198.51.100.10/32 dev u0", "via 198.51.100.10 dev u0", "via 192.0.2.9 dev u0"),
    ("ip route del 198.51.100.10/32", "TUNNEL", "via 192.0.2.9 dev u0"),
];

#[test]
fn who_is_on_the_link_is_decided_again_when_that_changes() {
    for (config, tunnel) in [(DIRECT, "dev flannel.1"), (DIRECT_UDP, "dev flannel0")] {
        let run = move || {
            let Some(world) = World::with_config(config) else { return };
            let put = if config == DIRECT { peer } else { udp_peer };
            put(&world, 9, "192.0.2.9");
            put(&world, 10, "198.51.100.10");
            let mut twilld = world.twilld(&["--resync=60"]);
            twilld.says("bootstrap done");
            goes("at first, on the link", 9, "via 192.0.2.9 dev u0");
            goes("at first, behind a router", 10, tunnel);
            for (typed, far, near) in TURNS {
                type_in(typed);
                goes(typed, 10, &far.replace("TUNNEL", tunnel));
                goes(typed, 9, &near.replace("TUNNEL", tunnel));
            }
            // And when the configuration does.
            world.configure(&config.replace("true", "false"));
            goes("it is switched off", 9, tunnel);
            world.configure(config);
            goes("it is switched on", 9, "via 192.0.2.9 dev u0");
            wait_for("an empty plan", || status("pending").starts_with("[]"));
            assert_eq!(twilld.count("bootstrap done"), 1, "one session: {}", twilld.said());
            twilld.stops();
        };
        std::thread::spawn(run).join().expect("the world");
    }
}

#[test]
fn another_name_of_the_uplink_disturbs_nothing() {
    let Some(world) = World::with_config(DIRECT) else { return };
    peer(&world, 9, "192.0.2.9");
    let mut twilld = world.twilld(&["--resync=60", "--iface=u0"]);
    twilld.says("bootstrap done");
    let before = ip("route show");
    type_in("ip link set u0 name lan0");
    twilld.says("the uplink has another name");
    assert_eq!(ip("route show"), before.replace("u0", "lan0"));
    type_in("ip route del 10.88.9.0/24");
    goes("a deleted route, by the new name", 9, "via 192.0.2.9 dev lan0");
    type_in("sysctl -q net/ipv4/conf/lan0/forwarding=0");
    let open = || std::fs::read_to_string("/proc/sys/net/ipv4/conf/lan0/forwarding");
    wait_for("a switch by the new name", || open().is_ok_and(|value| value == "1\n"));
    let rules = || iptables("-S TWILL-FWD") + &iptables("-t mangle -S TWILL-MSS");
    wait_for("rules by the new name", || rules().contains("-i lan0") && !rules().contains("u0"));
    assert!(get("/readyz").contains("200 OK"), "{}", get("/readyz"));
    assert_eq!(twilld.count("bootstrap done"), 1, "one session: {}", twilld.said());
    twilld.stops();
}

/// What etcd knows of the first move is not on disk when it is away at the second one.
#[test]
fn a_host_that_moves_twice_while_etcd_goes_away_stays_who_it_is() {
    let Some(mut world) = World::with_config(VXLAN) else { return };
    let mut twilld = world.twilld(&["--resync=60", "--iface=u0"]);
    twilld.says("bootstrap done");
    let (lease, picture) = (world.lease(), || std::fs::read(PICTURE).unwrap_or_default());
    wait_for("a picture", || !picture().is_empty());
    let before = picture();
    type_in("ip addr del 192.0.2.1/24 dev u0");
    type_in("ip addr add 192.0.2.77/24 dev u0");
    let key = format!("{PREFIX}/subnets/{lease}");
    wait_for("the move in etcd", || world.etcdctl(&["get", &key]).contains("192.0.2.77"));
    wait_for("the move on disk", || picture() != before);
    world.stop_etcd();
    std::fs::write(PICTURE, before).expect("as if it had not been written yet");
    type_in("ip addr del 192.0.2.77/24 dev u0");
    type_in("ip addr add 192.0.2.1/24 dev u0");
    twilld.says("takes its place from its own picture");
    world.start_etcd();
    wait_for("the way back", || world.etcdctl(&["get", &key]).contains(r#""192.0.2.1""#));
    assert_eq!(world.lease(), lease);
    assert_eq!(twilld.count("ANOTHER HOST"), 0, "{}", twilld.said());
    twilld.stops();
}

#[test]
fn another_mtu_of_the_uplink_is_the_devices_and_the_containers() {
    let Some(world) = World::with_config(VXLAN) else { return };
    peer(&world, 9, "192.0.2.9");
    let mut twilld = world.twilld(&["--resync=60"]);
    twilld.says("bootstrap done");
    let device = || ip("-o link show flannel.1").replace("mtu 1350", "mtu 1450");
    let (before, rows) = (device(), ip("route show"));
    for (outer, inner) in [(1400, 1350), (1500, 1450)] {
        type_in(&format!("ip link set u0 mtu {outer}"));
        let took = wait_for("the new MTU", || {
            ip("-o link show flannel.1").contains(&format!("mtu {inner}"))
                && subnet_env().contains(&format!("FLANNEL_MTU={inner}"))
        });
        eprintln!("| {:60} | {:5} ms |", format!("the uplink's MTU is {outer}"), took.as_millis());
        assert!(took < SECOND, "{took:?}");
        assert_eq!(device(), before, "the very same device");
        assert_eq!(ip("route show"), rows);
    }
    wait_for("readiness", || get("/readyz").contains("200 OK"));
    twilld.stops();
}

#[test]
fn a_row_that_is_refused_delays_no_other() {
    let Some(world) = World::with_config(VXLAN) else { return };
    peer(&world, 9, "192.0.2.9");
    peer(&world, 10, "192.0.2.10");
    let mut twilld = world.twilld(&["--resync=60"]);
    twilld.says("bootstrap done");
    // Somebody else's, which is never replaced.
    type_in("ip route replace 10.88.9.0/24 via 192.0.2.253 proto static");
    twilld.says("that is not ours leads through u0");
    for _time in 0..3 {
        type_in("ip route del 10.88.10.0/24");
        goes("the other one, deleted", 10, "dev flannel.1");
    }
    peer(&world, 11, "192.0.2.11");
    goes("one that comes", 11, "dev flannel.1");
    assert!(status("pending").starts_with(r#"["route 10.88.9.0/24"#), "{}", status("pending"));
    wait_for("unreadiness", || {
        let ready = get("/readyz");
        ready.contains("503 ") && ready.contains("10.88.9.0/24")
    });
    type_in("ip route del 10.88.9.0/24 proto static");
    goes("the refused one, when the other is deleted", 9, "dev flannel.1");
    wait_for("readiness", || get("/readyz").contains("200 OK"));
    twilld.stops();
}
