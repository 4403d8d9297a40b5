//! What an earlier run left, or a flanneld, is found: adopted or removed.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use support::network::{
    HOST_GW, HOST_GW_PEER, OF_BOTH, OF_IPV6, PEER_OF_BOTH, PEER_OF_IPV6, SUBNET_FILE, VXLAN,
    VXLAN_PEER, give_ipv6, status,
};
use support::process::wait_for;
use support::{PREFIX, World, ip, try_command};

#[track_caller]
fn type_in(line: &str) {
    try_command(line).unwrap_or_else(|error| panic!("{line}: {error}"));
}

/// As flanneld writes it: no mark, and rows of a host that is long gone among it.
const FLANNELDS: [&str; 9] = [
    "ip link add flannel.1 address 02:00:00:00:00:aa type vxlan id 1 local 192.0.2.1 dev u0 dstport 8472 nolearning",
    "ip link set flannel.1 mtu 1450 up",
    "ip addr add 10.88.5.0/32 dev flannel.1",
    "ip route add 10.88.9.0/24 via 10.88.9.0 dev flannel.1 onlink",
    "ip neigh add 10.88.9.0 lladdr 02:00:00:00:00:09 dev flannel.1 nud permanent",
    "bridge fdb add 02:00:00:00:00:09 dev flannel.1 dst 192.0.2.9 self permanent",
    "ip route add 10.88.66.0/24 via 10.88.66.0 dev flannel.1 onlink",
    "ip neigh add 10.88.66.0 lladdr 02:00:00:00:00:42 dev flannel.1 nud permanent",
    "bridge fdb add 02:00:00:00:00:42 dev flannel.1 dst 192.0.2.66 self permanent",
];
/// Of an agent that was killed under another uplink, with direct routes.
const OURS: [&str; 6] = [
    "ip link add old0 type veth peer name old1",
    "ip addr add 192.0.3.1/24 dev old0",
    "ip link set old0 up",
    "ip link set old1 up",
    "ip route add 10.88.67.0/24 via 192.0.3.67 dev old0 proto 84",
    "ip route add 10.88.68.0/24 via 192.0.2.68 dev u0 proto 84",
];

#[test]
fn rows_of_an_earlier_run_and_of_flanneld_are_adopted_or_removed() {
    let Some(world) = World::with_config(VXLAN) else { return };
    world.peer(VXLAN_PEER);
    for line in FLANNELDS.iter().chain(&OURS) {
        type_in(line);
    }
    let foreign = "ip route add 10.99.0.0/24 via 192.0.2.9 dev u0 proto 84";
    type_in(foreign);
    let number = || ip("-o link show flannel.1").split(':').next().map(str::to_owned);
    let (before, kept) = (number(), ip("neigh show 10.88.9.0 dev flannel.1"));
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    wait_for("an empty plan", || status("pending").starts_with("[]"));
    assert_eq!(number(), before, "the very same device");
    assert!(ip("-o link show flannel.1").contains("02:00:00:00:00:aa"), "peers know it");
    assert!(world.value_of_node().contains("02:00:00:00:00:aa"));
    let rows = ip("route show") + &ip("neigh show nud permanent") + &fdb("flannel.1");
    for gone in ["10.88.66.0", "00:42", "192.0.2.66", "10.88.67.0", "10.88.68.0"] {
        assert!(!rows.contains(gone), "{gone}: {rows}");
    }
    assert_eq!(ip("neigh show 10.88.9.0 dev flannel.1"), kept);
    assert!(rows.contains("10.88.9.0/24 via 10.88.9.0 dev flannel.1"), "{rows}");
    assert!(fdb("flannel.1").contains("02:00:00:00:00:09 dst 192.0.2.9"), "{rows}");
    assert!(rows.contains("10.99.0.0/24 via 192.0.2.9 dev u0"), "not of this network: {rows}");
    assert!(!ip("-4 addr show dev flannel.1").contains("10.88.5.0"), "another host's perhaps");
    twilld.stops();
}

/// As a flanneld of IPv6 writes it.
const FLANNELDS_OF_IPV6: [&str; 9] = [
    "ip link add flannel-v6.1 address 02:00:00:00:00:bb type vxlan id 1 local 2001:db8::1 dev u0 dstport 8472 nolearning",
    "ip link set flannel-v6.1 mtu 1430 up",
    "ip -6 addr add fd00:88:0:5::/128 dev flannel-v6.1",
    "ip -6 route add fd00:88:0:9::/64 via fd00:88:0:9:: dev flannel-v6.1 onlink",
    "ip -6 neigh add fd00:88:0:9:: lladdr 02:00:00:00:00:19 dev flannel-v6.1 nud permanent",
    "bridge fdb add 02:00:00:00:00:19 dev flannel-v6.1 dst 2001:db8::9 self permanent",
    "ip -6 route add fd00:88:0:66::/64 via fd00:88:0:66:: dev flannel-v6.1 onlink",
    "ip -6 neigh add fd00:88:0:66:: lladdr 02:00:00:00:00:52 dev flannel-v6.1 nud permanent",
    "bridge fdb add 02:00:00:00:00:52 dev flannel-v6.1 dst 2001:db8::66 self permanent",
];

#[test]
fn rows_of_a_flanneld_of_ipv6_are_adopted_or_removed() {
    rows_of_ipv6_are_adopted_or_removed((OF_IPV6, PEER_OF_IPV6), (&[], "02:00:00:00:00:bb"));
}

#[test]
fn rows_of_a_flanneld_of_both_families_are_adopted_or_removed() {
    // Both devices have the address of that of IPv4.
    let ipv4 = (&FLANNELDS[..], "02:00:00:00:00:aa");
    rows_of_ipv6_are_adopted_or_removed((OF_BOTH, PEER_OF_BOTH), ipv4);
    let rows = ip("route show") + &ip("neigh show nud permanent") + &fdb("flannel.1");
    assert!(rows.contains("10.88.9.0/24 via 10.88.9.0 dev flannel.1"), "{rows}");
    assert!(rows.contains("02:00:00:00:00:09 dst 192.0.2.9"), "{rows}");
    let stale = ["10.88.66.0", "00:42", "192.0.2.66"].iter().any(|gone| rows.contains(gone));
    assert!(!stale, "{rows}");
}

/// `mac` is what peers know its devices by.
fn rows_of_ipv6_are_adopted_or_removed(
    (config, peer): (&str, (&str, &str)),
    (and_of_ipv4, mac): (&[&str], &str),
) {
    let Some(world) = World::with_config(config) else { return };
    give_ipv6();
    world.peer_of(peer);
    for line in FLANNELDS_OF_IPV6.iter().chain(and_of_ipv4) {
        type_in(line);
    }
    type_in("ip -6 route add fd00:99::/64 via 2001:db8::9 dev u0 proto 84");
    let device = || ip("-o link show flannel-v6.1");
    let number = || device().split(':').next().map(str::to_owned);
    let neighbour = || ip("-6 neigh show fd00:88:0:9:: dev flannel-v6.1");
    let (before, kept) = (number(), neighbour());
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    wait_for("an empty plan", || status("pending").starts_with("[]"));
    assert_eq!(number(), before, "the very same device");
    assert!(device().contains(mac), "peers know it: {}", device());
    assert!(device().contains("mtu 1430"), "{}", device());
    let told = format!(r#""BackendV6Data":{{"VNI":1,"VtepMAC":"{mac}"}}"#);
    assert!(world.value_of_node().contains(&told), "{}", world.value_of_node());
    let rows = ip("-6 route show") + &ip("-6 neigh show nud permanent") + &fdb("flannel-v6.1");
    for gone in ["fd00:88:0:66::", "00:52", "2001:db8::66"] {
        assert!(!rows.contains(gone), "{gone}: {rows}");
    }
    assert_eq!(neighbour(), kept);
    for there in [
        "fd00:88:0:9::/64 via fd00:88:0:9:: dev flannel-v6.1",
        "02:00:00:00:00:19 dst 2001:db8::9",
        "fd00:99::/64 via 2001:db8::9 dev u0 proto 84",
    ] {
        assert!(rows.contains(there), "{there}: {rows}");
    }
    let addresses = ip("-6 addr show dev flannel-v6.1");
    assert!(!addresses.contains("fd00:88:0:5::"), "another host's perhaps: {addresses}");
    twilld.stops();
}

/// Of a flanneld without a tunnel: to a peer, to one that has another address by now, and to a host that is
/// long gone.
const WITHOUT_A_TUNNEL: [&str; 3] = [
    "ip route add 10.88.9.0/24 via 192.0.2.9 dev u0",
    "ip route add 10.88.8.0/24 via 192.0.2.80 dev u0",
    "ip route add 10.88.66.0/24 via 192.0.2.66 dev u0",
];
/// What is no flanneld's: outside of the network, and in another table.
const OTHERS: [&str; 3] = [
    "ip route add 10.99.1.0/24 via 192.0.2.9 dev u0",
    "ip route add 10.88.70.0/24 via 192.0.2.9 dev u0 table 99",
    "ip route add 10.98.0.0/16 via 192.0.2.9 dev u0 proto static",
];
const MOVED: &str = r#"{"PublicIP":"192.0.2.8","PublicIPv6":null,"BackendType":"TYPE"}"#;
const DIRECT: &str = r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan","DirectRouting":true}}"#;
const TOLD: &str = "FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET=10.88.100.1/24\n\
                    FLANNEL_MTU=1500\nFLANNEL_IPMASQ=false\n";

/// The lease of the flanneld that was on this host.
fn flannels_lease(world: &World) {
    let lease = world.etcdctl(&["lease", "grant", "600"]);
    let id = lease.split(' ').nth(1).expect("its number");
    let key = format!("{PREFIX}/subnets/10.88.100.0-24");
    let value = HOST_GW_PEER.replace("192.0.2.9", "192.0.2.1");
    world.etcdctl(&["put", &format!("--lease={id}"), &key, &value]);
}

fn flannels_subnet_env(_world: &World) {
    std::fs::create_dir_all("/run/flannel").expect("a directory");
    std::fs::write(SUBNET_FILE, TOLD).expect("a file");
}

#[test]
fn routes_of_a_flanneld_with_host_gw_are_adopted_or_removed() {
    routes_are_adopted_or_removed(HOST_GW, HOST_GW_PEER, flannels_lease);
}

#[test]
fn routes_of_a_flanneld_with_direct_routing_are_adopted_or_removed() {
    routes_are_adopted_or_removed(DIRECT, VXLAN_PEER, flannels_subnet_env);
}

/// The network has tunnels by now: its peers too are reached another way.
#[test]
fn routes_of_a_flanneld_give_way_to_tunnels() {
    let Some(world) = World::with_config(VXLAN) else { return };
    world.peer(VXLAN_PEER);
    flannels_lease(&world);
    for line in WITHOUT_A_TUNNEL {
        type_in(line);
    }
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    wait_for("an empty plan", || status("pending").starts_with("[]"));
    let routes = ip("route show");
    assert!(routes.contains("10.88.9.0/24 via 10.88.9.0 dev flannel.1 proto 84"), "{routes}");
    assert!(!routes.contains("10.88.8.0") && !routes.contains("10.88.66.0"), "{routes}");
    twilld.stops();
}

/// Somebody else's route is in the way: what a flanneld left is not marked as ours meanwhile.
#[test]
fn a_start_that_is_refused_takes_nothing_over() {
    let Some(world) = World::with_config(HOST_GW) else { return };
    world.peer(HOST_GW_PEER);
    flannels_lease(&world);
    for line in WITHOUT_A_TUNNEL {
        type_in(line);
    }
    type_in("ip route add 10.88.128.0/17 via 192.0.2.253 dev u0 proto static");
    let before = ip("route show table all");
    world.twilld(&[]).refuses(1, &["10.88.128.0/17"]);
    assert_eq!(ip("route show table all"), before);
}

fn routes_are_adopted_or_removed(config: &str, peer: &str, flanneld: fn(&World)) {
    let Some(world) = World::with_config(config) else { return };
    world.peer(peer);
    let moved = match peer {
        HOST_GW_PEER => MOVED.replace("TYPE", "host-gw"),
        vxlan => vxlan.replace("192.0.2.9", "192.0.2.8").replace(":09", ":08"),
    };
    world.etcdctl(&["put", &format!("{PREFIX}/subnets/10.88.8.0-24"), &moved]);
    flanneld(&world);
    for line in WITHOUT_A_TUNNEL.iter().chain(&OTHERS) {
        type_in(line);
    }
    let of_others = || {
        let all = ip("route show table all");
        let mut rows: Vec<String> = all.lines().map(str::to_owned).collect();
        rows.retain(|row| ["10.99.1", "10.88.70", "10.98."].iter().any(|it| row.contains(it)));
        rows
    };
    let before = of_others();
    assert_eq!(before.len(), OTHERS.len());
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    wait_for("an empty plan", || status("pending").starts_with("[]"));
    let routes = ip("route show");
    for wanted in
        ["10.88.9.0/24 via 192.0.2.9 dev u0 proto 84", "10.88.8.0/24 via 192.0.2.8 dev u0 proto 84"]
    {
        assert!(routes.contains(wanted), "{wanted}: {routes}");
    }
    let stale = ["10.88.66.0", "192.0.2.80"].iter().any(|gone| routes.contains(gone));
    assert!(!stale && routes.matches("10.88.").count() <= 3, "{routes}");
    assert_eq!(of_others(), before);
    twilld.stops();
}

/// Without a sign of a flanneld it may be anybody's.
#[test]
fn a_route_into_the_network_that_looks_like_a_flannelds_is_told_where_none_was() {
    let Some(world) = World::with_config(HOST_GW) else { return };
    type_in(WITHOUT_A_TUNNEL[2]);
    let mut twilld = world.twilld(&[]);
    twilld.refuses(1, &["10.88.66.0/24", "u0"]);
    assert!(twilld.said().contains("ip route del 10.88.66.0/24"), "{}", twilld.said());
    assert!(ip("route show").contains("10.88.66.0/24 via 192.0.2.66 dev u0"));
}

fn fdb(device: &str) -> String {
    try_command(&format!("bridge fdb show dev {device}")).expect("the device")
}
