//! Whatever somebody else does to what is ours in the kernel is undone within a second of the kernel's
//! word of it, and what is not ours stays as it is. The timer has no part in it: it is set to a minute.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

#[path = "../../integration/src/deeds.rs"]
#[expect(dead_code, reason = "each test file uses its part of the deeds")]
mod deeds;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use deeds::{
    Deed, FLAP, FOREIGN_ON_TUN, FOREIGN_ON_VXLAN, Hurts, ON_THE_UPLINK, ON_TUN, ON_VXLAN, fill,
    rows,
};
use nix::sys::signal::Signal;
use support::process::{Process, wait_for};
use support::{PREFIX, World, get, ip, try_command};
use twill_core::doctor::{Finding, Verdict};

/// A network, what this host has in it, and whom deeds are about.
#[derive(Clone, Copy)]
struct Setting {
    device: &'static str,
    config: &'static str,
    peers: &'static [(&'static str, &'static str)],
    /// The words for the peer.
    peer: [(&'static str, &'static str); 3],
    foreign: &'static [&'static str],
}

const VXLAN: Setting = Setting {
    device: "flannel.1",
    config: r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan"}}"#,
    peers: &[
        (
            "10.88.9.0-24",
            r#"{"PublicIP":"192.0.2.9","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:09"}}"#,
        ),
        (
            "10.88.10.0-24",
            r#"{"PublicIP":"198.51.100.10","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:0a"}}"#,
        ),
    ],
    peer: [("PEER", "10.88.10.0"), ("MAC", "02:00:00:00:00:0a"), ("HOST", "198.51.100.10")],
    foreign: &FOREIGN_ON_VXLAN,
};
const DIRECT: Setting = Setting {
    config: r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan","DirectRouting":true}}"#,
    peer: [("PEER", "10.88.9.0"), ("MAC", "02:00:00:00:00:09"), ("HOST", "192.0.2.9")],
    ..VXLAN
};
const UDP: Setting = Setting {
    device: "flannel0",
    config: r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0"}"#,
    peers: &[("10.88.9.0-24", r#"{"PublicIP":"192.0.2.9","PublicIPv6":null}"#)],
    foreign: &FOREIGN_ON_TUN,
    ..DIRECT
};

/// On a vxlan device, and to the uplink.
const TO_THE_UPLINK: [Deed; 2] = [
    FLAP,
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
        hurts: Hurts::Everybody,
    },
];

/// Where a peer on the link has a route without a tunnel, and would have one.
const BESIDE_A_TUNNEL: [Deed; 2] = [
    Deed {
        says: "sends a route to a peer on the link into the tunnel",
        types: &["ip route change PEER/24 via PEER dev DEVICE onlink"],
        kind: "route",
        destroys: "",
        hurts: Hurts::Peer,
    },
    Deed { kind: "route", ..FLAP },
];

#[test]
fn on_a_vxlan_device() {
    if let Some(mut host) = Host::new(VXLAN) {
        host.endures(ON_VXLAN.iter().chain(&TO_THE_UPLINK));
    }
}

#[test]
fn on_the_link_of_the_uplink() {
    if let Some(mut host) = Host::new(DIRECT) {
        assert!(ip("route show 10.88.9.0/24 proto 84").contains("via 192.0.2.9 dev u0"));
        host.endures(ON_THE_UPLINK.iter().chain(&BESIDE_A_TUNNEL));
    }
}

#[test]
fn on_a_tun_device() {
    if let Some(mut host) = Host::new(UDP) {
        host.endures(&ON_TUN);
    }
}

#[test]
fn each_deed_on_a_vxlan_device_is_named_while_the_agent_hangs() {
    if let Some(mut host) = Host::new(VXLAN) {
        host.names(ON_VXLAN.iter().chain(&TO_THE_UPLINK));
    }
}

#[test]
fn each_deed_on_the_link_of_the_uplink_is_named_while_the_agent_hangs() {
    if let Some(mut host) = Host::new(DIRECT) {
        host.names(ON_THE_UPLINK.iter().chain(&BESIDE_A_TUNNEL));
    }
}

#[test]
fn each_deed_on_a_tun_device_is_named_while_the_agent_hangs() {
    if let Some(mut host) = Host::new(UDP) {
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
    setting: Setting,
    /// As it has to be, and of that what is not ours.
    whole: BTreeSet<String>,
    others: BTreeSet<String>,
    words: Vec<(&'static str, String)>,
    twilld: Process,
    /// What was undone so far.
    healed: BTreeMap<String, u64>,
    _world: World,
}

impl Host {
    fn new(setting: Setting) -> Option<Self> {
        let Setting { device, config, peers, peer, foreign } = setting;
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
        let own = world.lease_of_node().replace('-', "/").replace("/24", "/32");
        let mut words: Vec<(&str, String)> = vec![
            ("DEVICE", device.to_owned()),
            ("UPLINK", "u0".to_owned()),
            ("OWN", own),
            ("NETWORK", "10.88.0.0/16".to_owned()),
            ("STRANGER", "192.0.2.7".to_owned()),
            ("ROUTER", "192.0.2.254".to_owned()),
        ];
        words.extend(peer.map(|(word, is)| (word, is.to_owned())));
        let mut host = Self {
            setting,
            whole: BTreeSet::new(),
            others: BTreeSet::new(),
            words,
            twilld,
            healed: BTreeMap::new(),
            _world: world,
        };
        host.plant().expect("each row");
        host.whole = kernel(device);
        host.others = host.whole.difference(&ours).cloned().collect();
        assert!(host.others.len() >= foreign.len(), "each is a row of its own: {:?}", host.others);
        Some(host)
    }

    fn fill(&self, line: &str) -> String {
        let words: Vec<(&str, &str)> =
            self.words.iter().map(|(word, is)| (*word, is.as_str())).collect();
        fill(line, &words)
    }

    fn does(&self, line: &str) {
        type_in(&self.fill(line));
    }

    /// The rows of others, all about the peer on the link; what is there stays.
    fn plant(&self) -> Result<(), String> {
        let near = [("PEER", "10.88.9.0"), ("STRANGER", "192.0.2.9")];
        let planted = self
            .setting
            .foreign
            .iter()
            .map(|row| try_command(&self.fill(&fill(row, &near))).map(drop));
        planted.fold(Ok(()), Result::and)
    }

    /// Which rows of others go with what is done.
    fn lost(&self, deed: &Deed) -> BTreeSet<&String> {
        let with = self.fill(deed.destroys);
        self.others.iter().filter(|row| !with.is_empty() && row.contains(&with)).collect()
    }

    #[expect(clippy::print_stderr, reason = "the times are part of the answer")]
    fn endures(&mut self, deeds: impl IntoIterator<Item = &'static Deed>) {
        for deed in deeds {
            let took = self.endure(deed);
            eprintln!("| {:60} | {:5} ms |", deed.says, took.as_millis());
            assert!(took < Duration::from_secs(1), "somebody {}: {took:?}", deed.says);
        }
        assert_eq!(
            self.twilld.count("ERROR"),
            0,
            "nothing that it could not do: {}",
            self.twilld.said()
        );
    }

    /// Does each while the agent cannot heal it, and finds it named; then lets it be healed.
    fn names(&mut self, deeds: impl IntoIterator<Item = &'static Deed>) {
        let picture = || std::fs::read_to_string("/run/state/picture").unwrap_or_default();
        wait_for("the peers in the picture", || picture().contains("10.88.9.0"));
        let before = found();
        for deed in deeds {
            self.twilld.signal(Signal::SIGSTOP);
            let checks = checks(deed.kind);
            let mut seen = BTreeSet::new();
            for line in deed.types {
                self.does(line);
                seen.extend(found().difference(&before).cloned());
            }
            let named = seen.iter().any(|(check, _what)| checks.contains(&check.as_str()));
            assert!(named, "somebody {}: {seen:#?}", deed.says);
            self.twilld.signal(Signal::SIGCONT);
            // What went with a device comes back by itself, or not at all.
            let lost = self.lost(deed);
            let ours = || {
                let now = kernel(self.setting.device);
                self.whole.iter().all(|row| lost.contains(row) || now.contains(row))
            };
            wait_for(deed.says, ours);
            if !lost.is_empty() {
                drop(self.plant());
            }
            wait_for(deed.says, || kernel(self.setting.device) == self.whole);
        }
    }

    fn endure(&mut self, deed: &Deed) -> Duration {
        let lost = self.lost(deed);
        let wanted: BTreeSet<String> =
            self.whole.iter().filter(|row| !lost.contains(row)).cloned().collect();
        for line in deed.types {
            self.does(line);
        }
        let start = Instant::now();
        loop {
            let now = kernel(self.setting.device);
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
        if !lost.is_empty() {
            drop(self.plant());
        }
        assert_eq!(kernel(self.setting.device), self.whole, "after: somebody {}", deed.says);
        self.healed = healed();
        took
    }
}

fn kernel(device: &str) -> BTreeSet<String> {
    rows((device, "u0"), |line| try_command(line).unwrap_or_default())
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
