//! Networks that come and go while the agent runs, and while it does not.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::fs;
use std::path::Path;

use support::process::{Process, wait_for};
use support::several::{env, is_ready, stand};
use support::{PREFIX, World, get, ip, try_command, write_program};

const BLUE: &str =
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan"}}"#;
const GREEN: &str = r#"{"Network":"10.89.0.0/16","SubnetMin":"10.89.100.0"}"#;
const RED: &str =
    r#"{"Network":"10.90.0.0/16","SubnetMin":"10.90.100.0","Backend":{"Type":"host-gw"}}"#;
/// A segment that blue has.
const CLASH: &str = r#"{"Network":"10.92.0.0/16","Backend":{"Type":"vxlan","MTU":1400}}"#;

const GREEN_PEER: &str = r#"{"PublicIP":"192.0.2.8","PublicIPv6":null}"#;
const RED_PEER: &str = r#"{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"host-gw"}"#;

const WATCH: &str = "--watch-networks";

/// All of this host that the agent could have made, without what counts and what tells the time. Chains of
/// everybody stay when iptables has nothing in them any more.
fn host() -> String {
    let links = ip("-o link show");
    let names: Vec<_> = links.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    let mut text = vec![names.join(" "), ip("neigh show nud permanent")];
    text.push(ip("route show").replace(" linkdown", ""));
    let rules = try_command("iptables-save").expect("rules");
    let ours = |line: &&str| line.starts_with("-A ") || line.starts_with(":TWILL");
    text.extend(rules.lines().filter(ours).map(|line| line.replace(" [0:0]", "")));
    let tables = try_command("nft list tables").expect("tables");
    let mut tables: Vec<_> = tables.lines().filter(|table| table.contains("twill")).collect();
    // The kernel names first what was written last.
    tables.sort_unstable();
    for table in tables {
        let rules = try_command(&format!("nft list {table}")).expect("a table");
        text.extend(rules.lines().map(|line| match line.find("packets ") {
            Some(counted) => line[..counted].to_owned(),
            None => line.to_owned(),
        }));
    }
    for directory in ["/run/twill", "/run/twill/networks", "/run/state/networks"] {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.path().display().to_string()).collect();
        names.sort();
        text.extend(names);
    }
    text.join("\n")
}

/// Is nothing of that network left, on this host and in etcd?
fn is_gone(world: &World, twilld: &mut Process, name: &str) {
    let gone = format!("network{{name={name}}}: this host is in that network no more");
    twilld.says(&gone);
    let own = world.etcdctl(&["get", "--prefix", &format!("{PREFIX}/{name}/")]);
    assert!(!own.contains("TwillNodeID") && !own.contains("/twill/nodes/"), "{own}");
}

fn index(device: &str) -> String {
    let link = ip(&format!("-o link show {device}"));
    link.split(':').next().unwrap_or_default().to_owned()
}

/// What must not change of a network while others come and go.
fn undisturbed(world: &World) -> (String, String, String) {
    (world.lease_in("blue"), index("flannel.1"), env("blue"))
}

#[test]
fn networks_come_and_go_and_come_again_with_iptables() {
    networks_come_and_go_and_come_again("--firewall=iptables");
}

#[test]
fn networks_come_and_go_and_come_again_with_nftables() {
    networks_come_and_go_and_come_again("--firewall=nftables");
}

fn networks_come_and_go_and_come_again(engine: &str) {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    ip("route add 10.99.0.0/24 via 192.0.2.254 proto static");
    let empty = host();
    let mut twilld = world.twilld(&[WATCH, engine, "--ip-masq"]);
    // It is in none, and that is how it should be.
    wait_for("readiness", || Path::new("/run/twill/agent.sock").exists() && is_ready(""));
    world.network("blue", BLUE);
    stand(&mut twilld, &["blue"]);
    wait_for("readiness", || is_ready(""));
    wait_for("its picture", || Path::new("/run/state/networks/blue/picture").exists());
    let (blue, before) = (undisturbed(&world), host());
    world.peer_in("green", "10.89.9.0-24", GREEN_PEER);
    world.peer_in("red", "10.90.9.0-24", RED_PEER);
    world.network("green", GREEN);
    world.network("red", RED);
    stand(&mut twilld, &["green", "red"]);
    wait_for("readiness", || is_ready(""));
    wait_for("a route", || ip("route show 10.90.9.0/24").contains("via 192.0.2.7"));
    assert!(ip("route show").contains("10.89.0.0/16 dev flannel8285 "));
    let both = host();
    for rule in ["10.89.0.0/16", "twill-peers-green", "networks/red.env", "routes-10.90.0.0-16"] {
        assert!(both.contains(rule), "{rule}: {both}");
    }
    let metrics = get("/metrics");
    for line in ["twill_networks 3", "twill_peers{network=\"green\"} 1", "twill_networks_watched 1"]
    {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    world.no_network("green");
    world.no_network("red");
    is_gone(&world, &mut twilld, "green");
    is_gone(&world, &mut twilld, "red");
    assert_eq!(host(), before, "nothing is left, and nothing else has changed");
    wait_for("their numbers", || !get("/metrics").contains("network=\"green\""));
    assert!(get("/status").contains(r#""networks":[{"name":"blue","ready":true"#));
    world.network("green", GREEN);
    wait_for("green again", || twilld.count("network{name=green}: bootstrap done") == 2);
    wait_for("readiness", || is_ready(""));
    assert_eq!(undisturbed(&world), blue);
    assert_eq!(twilld.count("network{name=blue}: bootstrap done"), 1);
    world.no_network("green");
    world.no_network("blue");
    wait_for("both to be gone", || twilld.count("no more, all of it is gone") == 4);
    let after = host().replace("/run/twill/agent.sock", "").replace("/run/twill/networks", "");
    assert_eq!(after.trim_end(), empty.trim_end(), "not even what all networks share");
    assert!(is_ready(""));
    twilld.stops();
}

#[test]
fn what_is_wrong_with_one_network_is_told_and_no_trouble_of_the_others() {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    world.network("blue", BLUE);
    let mut twilld = world.twilld(&[WATCH]);
    stand(&mut twilld, &["blue"]);
    let blue = undisturbed(&world);
    // Names that nobody can have, next to what nobody can use and what has been taken.
    for name in ["a b", "subnets", ".."] {
        world.network(name, BLUE);
    }
    world.network("green", "{");
    world.network("red", CLASH);
    twilld.says("a network is left out: `a b` is not a name for a network");
    twilld.says("`subnets` is not a name for a network");
    twilld.says("cannot use /coreos.com/network/green/config@");
    twilld.says("network red cannot be served beside network blue: both use vxlan 1");
    wait_for("the reasons", || {
        // It says what is only worse than usual, too.
        let text = get("/healthz");
        [
            "network green: cannot use",
            "network red: network red cannot be served",
            "`..` is not a name",
        ]
        .iter()
        .all(|words| text.contains(words))
    });
    assert!(get("/status").contains(r#""refused":["`..` is not a name"#), "{}", get("/status"));
    assert!(is_ready("?network=blue") && get("/metrics").contains("twill_networks_refused 3"));
    world.network("green", GREEN);
    stand(&mut twilld, &["green"]);
    // Once it stands it goes on by what it had.
    world.network("green", "[]");
    wait_for("the reason", || {
        get("/healthz").contains("network green: the newest configuration is not")
    });
    for name in ["a b", "subnets", ".."] {
        world.no_network(name);
    }
    world.network("green", GREEN);
    // What one gives up another one has at once.
    world.no_network("blue");
    is_gone(&world, &mut twilld, "blue");
    twilld.says("network{name=red}: bootstrap done");
    wait_for("readiness", || is_ready(""));
    assert!(get("/metrics").contains("twill_networks_refused 0"));
    assert_ne!(blue.1, index("flannel.1"), "it is red's");
    twilld.stops();
}

#[test]
fn the_option_says_which_networks_may_be_this_hosts() {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    world.network("red", RED);
    world.network("blue", BLUE);
    let mut twilld = world.twilld(&[WATCH]);
    stand(&mut twilld, &["blue", "red"]);
    twilld.stops();
    let mut twilld = world.twilld(&[WATCH, "--networks=green,blue"]);
    stand(&mut twilld, &["blue"]);
    assert_eq!(env("red"), "", "as with the option alone");
    world.network("green", GREEN);
    stand(&mut twilld, &["green"]);
    assert!(!twilld.said().contains("name=red"), "{}", twilld.said());
    assert!(is_ready(""));
    twilld.stops();
    // And back to one network, which has no name.
    world.configure(r#"{"Network":"10.91.0.0/16","Backend":{"Type":"host-gw"}}"#);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    assert!(!ip("-o link show").contains("flannel"));
    assert!(!Path::new("/run/state/networks/blue").exists() && env("green").is_empty());
    twilld.stops();
}

#[test]
fn the_hook_is_run_for_networks_that_come() {
    let Some(mut world) = World::new() else { return };
    world.start_etcd();
    write_program(
        "/run/hook",
        "#!/bin/sh\necho $TWILL_NETWORK $TWILL_SUBNET_FILE $FLANNEL_MTU >&2\n",
    );
    let mut twilld = world.twilld(&[WATCH, "--subnet-hook=/run/hook"]);
    for (name, text, mtu) in [("blue", BLUE, 1450), ("green", GREEN, 1472)] {
        world.network(name, text);
        twilld.says(&format!("subnet hook: {name} /run/twill/networks/{name}.env {mtu}"));
    }
    world.no_network("green");
    is_gone(&world, &mut twilld, "green");
    world.network("green", GREEN);
    let line = "subnet hook: green /run/twill/networks/green.env 1472";
    wait_for("the hook again", || twilld.count(line) == 2);
    twilld.stops();
}
