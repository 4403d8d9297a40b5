//! `twilld cleanup` leaves a host as it was.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

#[path = "../../integration/src/deeds.rs"]
#[expect(dead_code, reason = "each test file uses its part of the deeds")]
mod deeds;

use std::path::Path;

use deeds::ipv6::in_ipv6;
use deeds::{FOREIGN, fill};
use support::network::{
    HOST_GW, HOST_GW_PEER, OF_BOTH, PEER_OF_BOTH, UDP, UDP_PEER, VXLAN, VXLAN_PEER, give_ipv6,
};
use support::process::wait_for;
use support::{World, ip, try_command};

/// A network, its other host, and what Twill has on a host in it.
struct Stay {
    config: &'static str,
    peer: (&'static str, &'static str),
    engine: &'static str,
    /// What the clean-up must name.
    names: &'static [&'static str],
}

#[test]
fn a_host_with_a_tunnel_is_as_it_was_before_twill_came() {
    comes_and_goes(&Stay {
        config: VXLAN,
        peer: (PEER, VXLAN_PEER),
        engine: "--firewall=iptables",
        names: &["interface flannel.1", "chains in iptables"],
    });
}

#[test]
fn a_host_with_plain_routes_is_as_it_was_before_twill_came() {
    comes_and_goes(&Stay {
        config: HOST_GW,
        peer: (PEER, HOST_GW_PEER),
        engine: "--firewall=nftables",
        names: &["nftables table inet twill"],
    });
}

#[test]
fn a_host_with_tunnels_of_both_families_is_as_it_was_before_twill_came() {
    comes_and_goes(&Stay {
        config: OF_BOTH,
        peer: PEER_OF_BOTH,
        engine: "--firewall=iptables",
        names: &[
            "interface flannel.1",
            "interface flannel-v6.1",
            "chains in iptables",
            "chains in ip6tables",
            "nftables table ip6 twill-peers",
        ],
    });
}

#[test]
fn a_host_with_a_tun_device_is_as_it_was_before_twill_came() {
    comes_and_goes(&Stay {
        config: UDP,
        peer: (PEER, UDP_PEER),
        engine: "--firewall=nftables",
        names: &["nftables table inet twill", "/run/twill/resolvers"],
    });
}

const PEER: &str = "10.88.9.0-24";

fn comes_and_goes(stay: &Stay) {
    let &Stay { config, peer, engine, names } = stay;
    let Some(world) = World::with_config(config) else { return };
    give_ipv6();
    world.peer_of(peer);
    plant();
    let before = snapshot();
    let mut twilld = world.twilld(&["--ip-masq", engine]);
    twilld.says("bootstrap done");
    wait_for("a route to the peer", || !ip("route show proto 84").is_empty());
    sh("ip link add twill0 address 02:42:0a:58:09:01 type bridge");
    sh("nft add table inet twill-ports");
    sh("iptables -t nat -N TWILL-PORTS");
    let running = cleanup("--yes").expect_err("an agent runs");
    assert!(running.contains("another twilld"), "{running}");
    twilld.stops();
    // The kernel notices in its own time that nobody reads from the device.
    wait_for("a device at rest", || {
        let routes = ip("route show proto 84");
        !routes.contains("dev flannel0") || routes.contains("linkdown")
    });

    let during = snapshot();
    let said = cleanup("--dry-run").expect("it only looks");
    for name in ["interface twill0"].iter().chain(names) {
        assert!(said.contains(&format!("would remove {name}")), "{name}: {said}");
    }
    let said = cleanup("").expect_err("nobody is at the terminal");
    assert!(said.contains("--yes"), "{said}");
    sh("ip link set twx master twill0");
    let said = cleanup("--yes").expect_err("a container is there");
    assert!(said.contains("1 container"), "{said}");
    sh("ip link set twx nomaster");
    assert_eq!(snapshot(), during, "so far nothing was touched");

    cleanup("--yes --keep-state").expect("all but the state");
    assert!(Path::new("/run/state/node-id").exists(), "kept");
    let said = cleanup("--yes").expect("the state");
    assert!(said.contains("/run/state/node-id"), "{said}");
    assert!(!Path::new("/run/state").exists(), "with its directory");
    let after = snapshot();
    let changed = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    assert_eq!(changed(&after, &before), [""; 0], "left behind");
    assert_eq!(changed(&before, &after), [""; 0], "taken from others");
    assert_eq!(cleanup("--yes").expect("again"), "nothing of Twill is on this host\n");
}

/// What looks like ours, and is not.
fn plant() {
    for row in FOREIGN {
        sh(&fill(row, &[("STRANGER", "192.0.2.9"), ("NETWORK", "10.88.0.0/16")]));
        let of_ipv6 = in_ipv6(row);
        if of_ipv6 != *row {
            sh(&fill(&of_ipv6, &[("STRANGER", "2001:db8::9"), ("NETWORK", "fd00:88::/48")]));
        }
    }
    std::fs::create_dir_all("/run/flannel").expect("a directory");
    std::fs::write("/run/flannel/mine", "").expect("a file");
}

fn cleanup(flags: &str) -> Result<String, String> {
    let program = env!("CARGO_BIN_EXE_twilld");
    try_command(format!("{program} cleanup --state-dir /run/state {flags}").trim_end())
}

fn sh(command: &str) -> String {
    try_command(command).unwrap_or_else(|complaint| panic!("{command}: {complaint}"))
}

/// Everything that a clean-up could take, or forget.
fn snapshot() -> Vec<String> {
    let said = [
        "ip -o link show",
        "ip -o addr show",
        "ip -4 route show table all",
        "bridge fdb show",
        "ip neighbour show nud permanent",
        "ip -6 route show",
        "iptables -S",
        "iptables -t nat -S",
        "iptables -t mangle -S",
        "iptables -t raw -S",
        "ip6tables -S",
        "ip6tables -t nat -S",
        "ip6tables -t mangle -S",
        "ip6tables -t raw -S",
        "nft -s list ruleset",
        "find /run/flannel /run/twill",
    ]
    .map(|command| try_command(command).unwrap_or_default())
    .concat();
    // Groups that the kernel joins in its own time, and what an interface gives itself.
    let fleeting = ["33:33:", "01:00:5e:", "fe80::"];
    let lasting = |line: &&str| {
        !fleeting.iter().any(|start| line.starts_with(start)) && !line.contains("inet6 fe80:")
    };
    said.lines().filter(lasting).map(str::to_owned).collect()
}
