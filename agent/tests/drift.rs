//! Whatever somebody else does to what is ours in the kernel is undone within a second of the kernel's
//! word of it, and what is not ours stays as it is. The timer has no part in it: it is set to a minute.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::process::{Process, wait_for};
use support::{PREFIX, World, get, ip, try_command};
use twill_core::doctor::{Finding, Verdict};

const VXLAN: &str =
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan"}}"#;
const DIRECT: &str = r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan","DirectRouting":true}}"#;
const UDP: &str = r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0"}"#;
const VXLAN_PEERS: [(&str, &str); 2] = [
    (
        "10.88.9.0-24",
        r#"{"PublicIP":"192.0.2.9","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:09"}}"#,
    ),
    (
        "10.88.10.0-24",
        r#"{"PublicIP":"198.51.100.10","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:0a"}}"#,
    ),
];
const UDP_PEERS: [(&str, &str); 1] =
    [("10.88.9.0-24", r#"{"PublicIP":"192.0.2.9","PublicIPv6":null}"#)];

/// What somebody does, in words and as commands, and the counter that tells that it was undone.
struct Deed {
    says: &'static str,
    types: &'static [&'static str],
    kind: &'static str,
    /// The interface with which other people's rows go as well.
    destroys: &'static str,
}

const fn deed(says: &'static str, kind: &'static str, types: &'static [&'static str]) -> Deed {
    Deed { says, types, kind, destroys: "" }
}

const fn fatal(says: &'static str, types: &'static [&'static str], destroys: &'static str) -> Deed {
    Deed { says, types, kind: "device", destroys }
}

const ON_VXLAN: [Deed; 25] = [
    deed("deletes a route", "route", &["ip route del 10.88.10.0/24"]),
    deed(
        "sends a route to another gateway",
        "route",
        &["ip route change 10.88.10.0/24 via 10.88.11.0 dev flannel.1 onlink"],
    ),
    deed(
        "puts a second route in front of one",
        "route",
        &["ip route prepend 10.88.10.0/24 via 192.0.2.7 dev u0 proto 84"],
    ),
    deed(
        "puts a second route behind one, as flanneld would",
        "route",
        &["ip route append 10.88.10.0/24 via 10.88.12.0 dev flannel.1 onlink"],
    ),
    deed(
        "adds a route to a peer that there is not",
        "route",
        &["ip route add 10.88.77.0/24 via 10.88.77.0 dev flannel.1 onlink"],
    ),
    deed("deletes a neighbour", "neighbour", &["ip neigh del 10.88.10.0 dev flannel.1"]),
    deed(
        "gives a neighbour another hardware address",
        "neighbour",
        &["ip neigh replace 10.88.10.0 lladdr 02:00:00:00:00:0b dev flannel.1 nud permanent"],
    ),
    deed(
        "lets a neighbour age",
        "neighbour",
        &["ip neigh replace 10.88.10.0 lladdr 02:00:00:00:00:0a dev flannel.1 nud reachable"],
    ),
    deed(
        "adds a neighbour that there is not",
        "neighbour",
        &["ip neigh add 10.88.77.0 lladdr 02:00:00:00:00:4d dev flannel.1 nud permanent"],
    ),
    deed(
        "deletes a forwarding entry",
        "fdb",
        &["bridge fdb del 02:00:00:00:00:0a dev flannel.1 dst 198.51.100.10 self"],
    ),
    deed(
        "sends a forwarding entry to another host",
        "fdb",
        &["bridge fdb replace 02:00:00:00:00:0a dev flannel.1 dst 198.51.100.11 self permanent"],
    ),
    deed(
        "adds a forwarding entry for nobody",
        "fdb",
        &["bridge fdb add 02:00:00:00:00:4d dev flannel.1 dst 192.0.2.77 self permanent"],
    ),
    deed("deletes every address", "address", &["ip addr del OWN dev flannel.1"]),
    deed("adds an address", "address", &["ip addr add 10.88.77.0/32 dev flannel.1"]),
    deed("changes the MTU", "device", &["ip link set flannel.1 mtu 1300"]),
    deed("switches learning on", "device", &["ip link set flannel.1 type vxlan learning"]),
    deed("closes the device", "sysctl", &["sysctl -q net/ipv4/conf/flannel.1/forwarding=0"]),
    deed("checks sources", "sysctl", &["sysctl -q net/ipv4/conf/flannel.1/rp_filter=1"]),
    deed("closes the host", "sysctl", &["sysctl -q net/ipv4/ip_forward=0"]),
    fatal("takes the device down", &["ip link set flannel.1 down"], "flannel.1"),
    fatal(
        "gives the device another hardware address",
        &["ip link set flannel.1 address 02:00:00:00:00:aa"],
        "flannel.1",
    ),
    fatal("gives the device another name", &["ip link set flannel.1 name other"], "flannel.1"),
    fatal("deletes the device", &["ip link del flannel.1"], "flannel.1"),
    Deed {
        says: "takes the uplink down and up",
        types: &[
            "ip link set u0 down",
            "ip link set u0 up",
            "ip route replace default via 192.0.2.254",
        ],
        kind: "",
        destroys: "u0",
    },
    Deed {
        says: "deletes the uplink, and with it the device, and makes it again",
        types: &[
            "ip link del u0",
            "ip link add u0 type veth peer name u1",
            "ip addr add 192.0.2.1/24 dev u0",
            "ip link set u0 up",
            "ip link set u1 up",
            "ip route add default via 192.0.2.254",
        ],
        kind: "",
        destroys: "0",
    },
];

const ON_THE_UPLINK: [Deed; 7] = [
    deed("deletes a route to a peer on the link", "route", &["ip route del 10.88.9.0/24"]),
    deed(
        "sends it to another host on the link",
        "route",
        &["ip route change 10.88.9.0/24 via 192.0.2.8 dev u0 proto 84"],
    ),
    deed(
        "sends it into the tunnel",
        "route",
        &["ip route change 10.88.9.0/24 via 10.88.9.0 dev flannel.1 onlink"],
    ),
    deed(
        "adds one to a peer that there is not",
        "route",
        &["ip route add 10.88.77.0/24 via 192.0.2.77 dev u0 proto 84"],
    ),
    deed("closes the uplink", "sysctl", &["sysctl -q net/ipv4/conf/u0/forwarding=0"]),
    deed("checks sources on the uplink", "sysctl", &["sysctl -q net/ipv4/conf/u0/rp_filter=1"]),
    Deed {
        says: "takes the uplink down and up",
        types: &[
            "ip link set u0 down",
            "ip link set u0 up",
            "ip route replace default via 192.0.2.254",
        ],
        kind: "route",
        destroys: "u0",
    },
];

const ON_TUN: [Deed; 9] = [
    deed("deletes the route", "route", &["ip route del 10.88.0.0/16"]),
    deed(
        "puts a second route in front of it",
        "route",
        &["ip route prepend 10.88.0.0/16 via 192.0.2.7 dev u0 proto 84"],
    ),
    deed("adds a longer one", "route", &["ip route add 10.88.77.0/24 dev flannel0"]),
    deed("deletes the address", "address", &["ip addr del OWN dev flannel0"]),
    deed("changes the MTU", "device", &["ip link set flannel0 mtu 1300"]),
    deed("closes the device", "sysctl", &["sysctl -q net/ipv4/conf/flannel0/forwarding=0"]),
    fatal("takes the device down", &["ip link set flannel0 down"], "flannel0"),
    fatal("gives the device another name", &["ip link set flannel0 name other"], "flannel0"),
    fatal("deletes the device", &["ip link del flannel0"], "flannel0"),
];

/// Rows that are not ours, of each sort, as near to ours as can be.
const FOREIGN_ON_VXLAN: [&str; 8] = [
    "ip route add 10.99.1.0/24 dev flannel.1 proto static",
    "ip route add 10.88.9.0/24 dev flannel.1 metric 7",
    "ip route add 10.88.9.0/24 via 192.0.2.9 dev u0 table 99",
    "ip addr add 172.31.0.1/24 dev flannel.1",
    "bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.0.2.95 self permanent",
    "bridge fdb add 02:00:00:00:00:60 dev flannel.1 dst 192.0.2.96 port 4789 self permanent",
    "ip route add 10.99.2.0/24 via 192.0.2.9 dev u0 proto 84",
    "ip neigh replace 192.0.2.9 lladdr 02:00:00:00:00:62 dev u0 nud permanent",
];
const FOREIGN_ON_TUN: [&str; 4] = [
    "ip route add 10.99.1.0/24 dev flannel0 proto static",
    "ip route add 10.88.9.0/24 dev flannel0 metric 7",
    "ip addr add 172.31.0.1/24 dev flannel0",
    "ip route add 10.99.2.0/24 via 192.0.2.9 dev u0 proto 84",
];

#[test]
fn on_a_vxlan_device() {
    if let Some(mut host) = Host::new("flannel.1", (VXLAN, &VXLAN_PEERS), &FOREIGN_ON_VXLAN) {
        host.endures(&ON_VXLAN);
    }
}

#[test]
fn on_the_link_of_the_uplink() {
    if let Some(mut host) = Host::new("flannel.1", (DIRECT, &VXLAN_PEERS), &FOREIGN_ON_VXLAN) {
        assert!(ip("route show 10.88.9.0/24 proto 84").contains("via 192.0.2.9 dev u0"));
        host.endures(&ON_THE_UPLINK);
    }
}

#[test]
fn on_a_tun_device() {
    if let Some(mut host) = Host::new("flannel0", (UDP, &UDP_PEERS), &FOREIGN_ON_TUN) {
        host.endures(&ON_TUN);
    }
}

#[test]
fn each_deed_on_a_vxlan_device_is_named_while_the_agent_hangs() {
    if let Some(mut host) = Host::new("flannel.1", (VXLAN, &VXLAN_PEERS), &FOREIGN_ON_VXLAN) {
        host.names(&ON_VXLAN);
    }
}

#[test]
fn each_deed_on_the_link_of_the_uplink_is_named_while_the_agent_hangs() {
    if let Some(mut host) = Host::new("flannel.1", (DIRECT, &VXLAN_PEERS), &FOREIGN_ON_VXLAN) {
        host.names(&ON_THE_UPLINK);
    }
}

#[test]
fn each_deed_on_a_tun_device_is_named_while_the_agent_hangs() {
    if let Some(mut host) = Host::new("flannel0", (UDP, &UDP_PEERS), &FOREIGN_ON_TUN) {
        host.names(&ON_TUN);
    }
}

/// What the agent's program finds by itself and is not well, each as its check and its words.
fn found() -> BTreeSet<(String, String)> {
    let line = format!("{} doctor --state-dir /run/state", env!("CARGO_BIN_EXE_twilld"));
    let text = try_command(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let findings: Vec<Finding> = serde_json::from_str(&text).expect("findings");
    let bad = findings.into_iter().filter(|finding| finding.verdict != Verdict::Ok);
    bad.map(|finding| (finding.check, finding.what)).collect()
}

/// The checks that name a change of that kind; what is not counted goes with the uplink.
fn checks(kind: &str) -> &[&str] {
    match kind {
        "sysctl" => &["ip_forward", "forwarding", "rp_filter"],
        "" => &["uplink", "device"],
        "route" => &["route", "uplink"],
        "neighbour" => &["neighbour"],
        "fdb" => &["fdb"],
        "address" => &["address"],
        _device => &["device"],
    }
}

/// A host with its agent, and what is in its kernel.
struct Host {
    device: &'static str,
    foreign: &'static [&'static str],
    /// As it has to be, and of that what is not ours.
    whole: BTreeSet<String>,
    others: BTreeSet<String>,
    own: String,
    twilld: Process,
    /// What was undone so far.
    healed: BTreeMap<String, u64>,
    _world: World,
}

impl Host {
    fn new(
        device: &'static str,
        (config, peers): (&str, &[(&str, &str)]),
        foreign: &'static [&'static str],
    ) -> Option<Self> {
        let world = World::with_config(config)?;
        for (key, value) in peers {
            world.etcdctl(&["put", &format!("{PREFIX}/subnets/{key}"), value]);
        }
        // The value is somebody's: only what is in the way is changed.
        type_in("sysctl -q net/ipv4/conf/default/rp_filter=2 net/ipv4/conf/u0/rp_filter=2");
        let mut twilld = world.twilld(&["--resync=60", "--iptables-resync=60"]);
        twilld.says("bootstrap done");
        wait_for("an empty plan", || get("/status").contains(r#""pending":[]"#));
        let ours = kernel(device);
        for row in foreign {
            type_in(row);
        }
        let whole = kernel(device);
        let others: BTreeSet<String> = whole.difference(&ours).cloned().collect();
        assert!(others.len() >= foreign.len(), "each is a row of its own: {others:?}");
        let own = world.lease_of_node().replace('-', "/").replace("/24", "/32");
        let healed = BTreeMap::new();
        Some(Self { device, foreign, whole, others, own, twilld, healed, _world: world })
    }

    #[expect(clippy::print_stderr, reason = "the times are part of the answer")]
    fn endures(&mut self, deeds: &[Deed]) {
        for deed in deeds {
            let took = self.endure(deed);
            eprintln!("| {:60} | {:5} ms |", deed.says, took.as_millis());
            assert!(took < Duration::from_secs(1), "somebody {}: {took:?}", deed.says);
        }
    }

    /// Does each while the agent cannot heal it, and finds it named; then lets it be healed.
    fn names(&mut self, deeds: &[Deed]) {
        let picture = || std::fs::read_to_string("/run/state/picture").unwrap_or_default();
        wait_for("the peers in the picture", || picture().contains("10.88.9.0"));
        let before = found();
        for deed in deeds {
            self.twilld.signal(Signal::SIGSTOP);
            let checks = checks(deed.kind);
            let mut seen = BTreeSet::new();
            for line in deed.types {
                type_in(&line.replace("OWN", &self.own));
                seen.extend(found().difference(&before).cloned());
            }
            let named = seen.iter().any(|(check, _what)| checks.contains(&check.as_str()));
            assert!(named, "somebody {}: {seen:#?}", deed.says);
            self.twilld.signal(Signal::SIGCONT);
            // What went with a device comes back by itself, or not at all.
            let went = |row: &&String| !deed.destroys.is_empty() && row.contains(deed.destroys);
            let lost: BTreeSet<&String> = self.others.iter().filter(went).collect();
            let ours = || {
                let now = kernel(self.device);
                self.whole.iter().all(|row| lost.contains(row) || now.contains(row))
            };
            wait_for(deed.says, ours);
            for row in self.foreign.iter().filter(|_row| !lost.is_empty()) {
                drop(try_command(row));
            }
            wait_for(deed.says, || kernel(self.device) == self.whole);
        }
    }

    fn endure(&mut self, deed: &Deed) -> Duration {
        let destroyed = |row: &String| !deed.destroys.is_empty() && row.contains(deed.destroys);
        let lost: BTreeSet<&String> = self.others.iter().filter(|row| destroyed(row)).collect();
        let wanted: BTreeSet<String> =
            self.whole.iter().filter(|row| !lost.contains(row)).cloned().collect();
        for line in deed.types {
            type_in(&line.replace("OWN", &self.own));
        }
        let start = Instant::now();
        loop {
            let now = kernel(self.device);
            let missing: Vec<_> = wanted.difference(&now).collect();
            let added: Vec<_> = now.difference(&wanted).filter(|row| !lost.contains(row)).collect();
            if missing.is_empty() && added.is_empty() {
                break;
            }
            let said = || self.twilld.said();
            let late = start.elapsed() > Duration::from_secs(5);
            assert!(!late, "{}: {missing:#?}, not {added:#?}\n{}", deed.says, said());
        }
        let took = start.elapsed();
        let before = self.healed.get(deed.kind).copied().unwrap_or_default();
        let counts = || healed().get(deed.kind).is_some_and(|now| *now > before);
        wait_for(&format!("{} counted", deed.kind), || deed.kind.is_empty() || counts());
        // What went with a device, for the next one.
        for row in self.foreign.iter().filter(|_row| !lost.is_empty()) {
            drop(try_command(row));
        }
        assert_eq!(kernel(self.device), self.whole, "after: somebody {}", deed.says);
        self.healed = healed();
        took
    }
}

/// Everything about routes, neighbours, forwarding entries, addresses, the device and its switches,
/// one row a line.
fn kernel(device: &str) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    let listings = [
        "ip -4 route show table main".to_owned(),
        "ip -4 route show table 99".to_owned(),
        "ip -4 neigh show nud permanent".to_owned(),
        format!("bridge fdb show dev {device}"),
        format!("ip -4 -o addr show dev {device}"),
        format!("ip -d -o link show dev {device}"),
    ];
    for listing in listings {
        // A table that was never written to, a device that is away.
        let text = try_command(&listing).unwrap_or_default();
        let number = listing.contains(" -o ");
        let rest = |line: &str| match line.split_once(": ") {
            Some((_number, rest)) if number => rest.to_owned(),
            _other => line.to_owned(),
        };
        // Behind it an address has the name that its device had.
        let lines = text.lines().map(|line| line.split(" scope global ").next().unwrap_or(line));
        rows.extend(lines.map(|line| format!("{listing}: {}", rest(line).trim())));
    }
    let switches = [
        format!("conf/{device}/forwarding"),
        format!("conf/{device}/rp_filter"),
        "conf/u0/forwarding".to_owned(),
        "conf/u0/rp_filter".to_owned(),
        "ip_forward".to_owned(),
    ];
    for switch in switches {
        let value = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{switch}"));
        rows.insert(format!("{switch} is {}", value.unwrap_or_default().trim()));
    }
    rows
}

/// How often what was undone.
fn healed() -> BTreeMap<String, u64> {
    let text = get("/metrics");
    let lines =
        text.lines().filter_map(|line| line.strip_prefix("twill_drift_healed_total{kind=\""));
    let pairs = lines.filter_map(|line| line.split_once("\"} "));
    pairs.map(|(kind, count)| (kind.to_owned(), count.parse().expect("a number"))).collect()
}

#[track_caller]
fn type_in(line: &str) {
    try_command(line).unwrap_or_else(|error| panic!("{line}: {error}"));
}
