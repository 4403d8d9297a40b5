//! `twillctl network set` against a real etcd.

#![expect(clippy::unwrap_used, reason = "it fails the test, with its line")]

mod support;

use serde_json::{Value, json};
use support::Etcd;

const CONFIG: &str = "/coreos.com/network/config";

#[test]
fn a_member_changes_and_the_rest_stays() {
    let etcd = Etcd::start();
    etcd.twillctl(&["network", "set", "--mtu", "1400", "-y"]).refused(4, "no network");
    let before =
        r#"{"Network":"10.88.0.0/16","Site":"b","Backend":{"Type":"vxlan","MacPrefix":"0E"}}"#;
    etcd.put(CONFIG, before);
    let set = |options: &[&str]| etcd.twillctl(&[&["network", "set"], options].concat());
    set(&["--mtu", "1400"]).refused(1, "--yes");
    let shown = set(&["--mtu", "1400", "--dry-run"]).ok();
    assert!(shown.starts_with("MEMBER ") && shown.contains("Backend.MTU"), "{shown}");
    assert_eq!(etcd.value(CONFIG), before);

    let done = set(&["--mtu", "1400", "--yes", "-o", "json"]);
    assert!(done.words.contains("written, at revision"), "{done:?}");
    let document: Value = serde_json::from_str(&done.ok()).unwrap();
    assert_eq!(document["changes"][0]["effect"], json!("live"));
    let want = r#"{"Network":"10.88.0.0/16","Site":"b","Backend":{"Type":"vxlan","MacPrefix":"0E","MTU":1400}}"#;
    assert_eq!(etcd.value(CONFIG), want);
    let again = set(&["--mtu", "1400", "--yes"]);
    assert!(again.words.contains("already"), "{again:?}");
    assert_eq!(again.ok(), "");
}

#[test]
fn a_whole_one_comes_from_a_file_and_names_who_loses_its_subnet() {
    let etcd = Etcd::start();
    etcd.twillctl(&["network", "init", "--network", "10.88.0.0/16"]).ok();
    etcd.put_for("/coreos.com/network/subnets/10.88.34.0-24", r#"{"PublicIP":"192.0.2.1"}"#, 600);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("network.json");
    std::fs::write(&file, r#"{"Network":"10.99.0.0/16"}"#).unwrap();
    let file = file.to_str().unwrap();
    let done = etcd.twillctl(&["network", "set", "--file", file, "--yes"]);
    assert!(done.words.contains("flanneld") && done.words.contains("192.0.2.1"), "{done:?}");
    let text = done.ok();
    assert!(text.contains("NOT ADMITTED ANY MORE") && text.contains("10.88.34.0/24"), "{text}");
    assert_eq!(etcd.value(CONFIG), r#"{"Network":"10.99.0.0/16"}"#);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let etcd = Etcd::start();
    etcd.twillctl(&["network", "init", "--network", "10.88.0.0/16"]).ok();
    let before = etcd.value(CONFIG);
    let rows: [(&[&str], i32); 10] = [
        (&[], 2),
        (&["--mtu", "many"], 2),
        (&["--mtu", "1400"], 2),
        (&["--backend", "vxlan", "--mtu", "12"], 2),
        (&["--backend", "wireguard", "--vni", "7"], 2),
        (&["--subnet-len", "31"], 2),
        (&["--json", "{"], 2),
        (&["--json", r#"{"Network":"10.99.0.0/16"}"#, "--mtu", "1400"], 2),
        (&["--json", "{}", "--file", "x"], 2),
        (&["--file", "/nowhere/network.json"], 1),
    ];
    for (options, code) in rows {
        println!("{options:?}");
        etcd.twillctl(&[&["network", "set", "--yes"], options].concat()).refused(code, "");
    }
    assert_eq!(etcd.value(CONFIG), before);
}
