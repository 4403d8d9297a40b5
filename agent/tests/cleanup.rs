//! `twilld cleanup` leaves a host as it was.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

#[path = "../../integration/src/deeds.rs"]
#[expect(dead_code, reason = "each test file uses its part of the deeds")]
mod deeds;

use std::path::Path;

use deeds::{FOREIGN, fill};
use support::network::{HOST_GW, HOST_GW_PEER, VXLAN, VXLAN_PEER};
use support::process::wait_for;
use support::{World, ip, try_command};

#[test]
fn a_host_with_a_tunnel_is_as_it_was_before_twill_came() {
    comes_and_goes((VXLAN, VXLAN_PEER), "--firewall=iptables");
}

#[test]
fn a_host_with_plain_routes_is_as_it_was_before_twill_came() {
    comes_and_goes((HOST_GW, HOST_GW_PEER), "--firewall=nftables");
}

fn comes_and_goes((config, peer): (&str, &str), engine: &str) {
    let Some(world) = World::with_config(config) else { return };
    world.peer(peer);
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

    let during = snapshot();
    let said = cleanup("--dry-run").expect("it only looks");
    assert!(said.contains("would remove interface twill0"), "{said}");
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
    let lasting = |line: &&str| !fleeting.iter().any(|start| line.starts_with(start));
    said.lines().filter(lasting).map(str::to_owned).collect()
}
