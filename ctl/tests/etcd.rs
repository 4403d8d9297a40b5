//! twillctl against a real etcd.

#![expect(clippy::unwrap_used, reason = "it fails the test, with its line")]

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Etcd, own_address, twillctl, twillctl_in};

const CONFIG: &str = "/coreos.com/network/config";
const VXLAN: &str = r#"{"PublicIP":"192.168.140.22","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"},"TwillNodeID":"00000000000000000000000000000001"}"#;
const FLANNEL: &str = r#"{"PublicIP":"192.168.140.23","PublicIPv6":null}"#;
const NODE: &str = r#"{"id":"00000000000000000000000000000001","hostname":"node1","public_ip":"192.168.140.22","subnet":"10.88.34.0/24","version":"0.1.0","started":1700000000}"#;

#[test]
fn a_network_is_written_shown_kept_and_replaced_when_told() {
    let etcd = Etcd::start();
    etcd.twillctl(&["network", "show"]).refused(4, "no network");

    let init = ["network", "init", "--network", "10.88.0.0/16", "--backend", "vxlan"];
    let said = etcd.twillctl(&init).ok();
    assert_eq!(etcd.twillctl(&["network", "show"]).ok(), said);
    let json: Value = serde_json::from_str(&etcd.value(CONFIG)).unwrap();
    assert_eq!(
        (&json["Network"], &json["Backend"]["Type"]),
        (&json!("10.88.0.0/16"), &json!("vxlan"))
    );
    let shown = etcd.twillctl(&["network", "show", "-o", "json"]).ok();
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), json);

    let again = etcd.twillctl(&init);
    assert!(again.words.contains("already"), "{again:?}");
    assert_eq!(again.ok(), said);

    let before = etcd.value(CONFIG);
    let other = ["network", "init", "--network", "10.99.0.0/16"];
    etcd.twillctl(&other).refused(1, "10.88.0.0/16");
    assert_eq!(etcd.value(CONFIG), before);

    let forced = etcd.twillctl(&[&other[..], &["--force"]].concat());
    assert!(forced.words.contains("10.88.0.0/16"), "what was there is told: {forced:?}");
    assert!(forced.ok().contains("10.99.0.0/16"));
    assert!(etcd.value(CONFIG).contains("10.99.0.0/16"));
}

#[test]
fn what_flannel_wrote_is_read_and_what_is_broken_is_named() {
    let etcd = Etcd::start();
    etcd.put(CONFIG, r#"{"network":"10.5.7.0/16","subnetlenn":26}"#);
    let shown = etcd.twillctl(&["network", "show"]);
    assert!(shown.words.contains("`subnetlenn`"), "{shown:?}");
    assert!(shown.ok().starts_with("Network  10.5.0.0/16\nSubnets  10.5.1.0/24"));

    etcd.put(CONFIG, "not json");
    etcd.twillctl(&["network", "show"]).refused(1, "not a JSON object");
    etcd.put(CONFIG, r#"{"Network":"10.5.0.0/16","SubnetLen":40}"#);
    etcd.twillctl(&["network", "show"]).refused(1, "SubnetLen is 40");
    let init = ["network", "init", "--network", "10.88.0.0/16"];
    etcd.twillctl(&init).refused(1, r#""SubnetLen":40"#);
}

#[test]
fn leases_of_every_kind_are_listed() {
    let etcd = with_leases();
    let listed = etcd.twillctl(&["lease", "list"]);
    assert!(listed.words.contains("10.88.50.0-24 is no lease"), "{listed:?}");
    let text = listed.ok();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["SUBNET", "PUBLIC-IP", "BACKEND", "NODE", "EXPIRES"]);
    assert_eq!(rows[1][..4], ["10.88.2.0/24", "192.168.140.23", "udp", "-"]);
    assert!(rows[1][4].starts_with("59m") || rows[1][4] == "1h00m", "{text}");
    assert_eq!(rows[2], ["10.88.9.0/24", "192.168.140.23", "udp", "-", "reserved"]);
    assert_eq!(rows[3][..4], ["10.88.34.0/24", "192.168.140.22", "vxlan", "node1"]);
    assert_eq!(rows.len(), 4);

    let json: Value =
        serde_json::from_str(&etcd.twillctl(&["lease", "list", "-o", "json"]).ok()).unwrap();
    assert_eq!(json[1]["reserved"], json!(true));
    assert!(json[2]["expires_in"].as_u64().unwrap() > 3500);
}

#[test]
fn a_lease_is_revoked_only_when_that_is_meant() {
    let etcd = with_leases();
    etcd.twillctl(&["lease", "revoke", "10.88.77.0/24", "--yes"]).refused(4, "10.88.77.0/24");
    etcd.twillctl(&["lease", "revoke", "10.88.34.0/24"]).refused(1, "--yes");
    etcd.twillctl(&["lease", "revoke", "10.88.34.9/24", "-y"]);
    assert_eq!(etcd.value("/coreos.com/network/subnets/10.88.34.0-24"), VXLAN);

    let revoked = etcd.twillctl(&["lease", "revoke", "10.88.34.0/24", "--yes"]);
    assert!(
        revoked.words.contains("10.88.34.0/24 is free; it was of 192.168.140.22"),
        "{revoked:?}"
    );
    assert_eq!(revoked.ok(), "");
    assert_eq!(etcd.value("/coreos.com/network/subnets/10.88.34.0-24"), "");
    assert_eq!(etcd.value("/coreos.com/network/subnets/10.88.2.0-24"), FLANNEL);
}

#[test]
fn nodes_join_what_they_say_with_what_they_own() {
    let etcd = with_leases();
    let text = etcd.twillctl(&["node", "list"]).ok();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..3], ["-", "192.168.140.23", "10.88.2.0/24"]);
    assert_eq!(rows[3][..5], ["node1", "192.168.140.22", "10.88.34.0/24", "vxlan", "0.1.0"]);
    let json: Value =
        serde_json::from_str(&etcd.twillctl(&["node", "list", "-o", "json"]).ok()).unwrap();
    assert_eq!(json[0]["node"], Value::Null);
    assert_eq!(json[2]["hostname"], json!("node1"));
}

#[test]
fn another_prefix_is_another_network() {
    let etcd = with_leases();
    let twillctl = |arguments: &[&str]| {
        etcd.twillctl(&[arguments, &["--etcd-prefix", "/atomic.io/network"]].concat())
    };
    for command in [["lease", "list"], ["node", "list"], ["network", "show"]] {
        twillctl(&command).refused(4, "no network");
    }
    // The short form is the one that the agent's hint names.
    let init = ["network", "init", "--prefix", "/atomic.io/network", "--network", "10.99.0.0/16"];
    etcd.twillctl(&init).ok();
    assert_eq!(twillctl(&["lease", "list"]).ok().lines().count(), 1);
    assert!(etcd.value("/atomic.io/network/config").contains("10.99.0.0/16"));
    assert!(etcd.value(CONFIG).contains("10.88.0.0/16"));
}

#[test]
fn options_come_from_the_environment_of_the_agent_and_of_flanneld() {
    let etcd = with_leases();
    let endpoint = etcd.endpoint();
    let environment = [("FLANNELD_ETCD_ENDPOINTS", endpoint.as_str())];
    twillctl_in(&environment, &["lease", "list"]).ok();
    let environment = [environment[0], ("TWILLD_ETCD_PREFIX", "/elsewhere")];
    twillctl_in(&environment, &["lease", "list"]).refused(4, "no network");
    let environment =
        [environment[0], environment[1], ("TWILLCTL_ETCD_PREFIX", "/coreos.com/network")];
    twillctl_in(&environment, &["lease", "list"]).ok();
}

#[test]
fn an_etcd_that_is_not_there_is_told_in_time() {
    // Nobody listens on an address of our own; somebody who never answers listens on the other.
    let deaf = TcpListener::bind((own_address(), 0)).unwrap();
    let deaf = format!("http://{}", deaf.local_addr().unwrap());
    let nobody = format!("http://{}:9", own_address());
    for endpoints in [nobody.clone(), deaf.clone(), format!("{nobody},{deaf}")] {
        for command in [&["lease", "list"][..], &["lease", "revoke", "10.88.1.0/24", "-y"]] {
            let start = Instant::now();
            let common = ["--timeout", "1", "--etcd-endpoints", &endpoints];
            let answer = twillctl(&[&common[..], command].concat());
            answer.refused(5, "etcd");
            assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        }
    }
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_two() {
    assert_eq!(twillctl(&[]).code, 2);
    let rows = [
        ("no CIDR at all", &["network", "init", "--network", "10.88.0.0"][..]),
        ("host bits", &["network", "init", "--network", "10.88.3.4/16"]),
        ("a network that is no network", &["network", "init", "--network", "0.0.0.0/99"]),
        ("vxlan's option", &["network", "init", "--network", "10.88.0.0/16", "--vni", "7"]),
        (
            "a rule of the configuration",
            &["network", "init", "--network", "10.88.0.0/16", "--subnet-len", "8"],
        ),
        ("not a subnet", &["lease", "revoke", "everything"]),
        ("not an endpoint", &["lease", "list", "--etcd-endpoints", "ftp://etcd"]),
        ("half an identity", &["lease", "list", "--etcd-certfile", "/dev/null"]),
        ("no such command", &["lease", "steal"]),
    ];
    for (name, arguments) in rows {
        println!("{name}");
        twillctl(arguments).refused(2, "");
    }
    let answer = twillctl(&["lease", "list", "--etcd-cafile", "/nowhere/ca.pem"]);
    answer.refused(1, "/nowhere/ca.pem");
}

fn with_leases() -> Etcd {
    let etcd = Etcd::start();
    etcd.twillctl(&["network", "init", "--network", "10.88.0.0/16"]).ok();
    etcd.put_for("/coreos.com/network/subnets/10.88.34.0-24", VXLAN, 3600);
    etcd.put_for("/coreos.com/network/subnets/10.88.2.0-24", FLANNEL, 3600);
    etcd.put("/coreos.com/network/subnets/10.88.9.0-24", FLANNEL);
    etcd.put(
        "/coreos.com/network/subnets/10.88.50.0-24",
        "/coreos.com/network/subnets/10.88.50.0-24",
    );
    etcd.put("/coreos.com/network/twill/nodes/00000000000000000000000000000001", NODE);
    etcd
}
