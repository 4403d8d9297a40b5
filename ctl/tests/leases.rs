//! `twillctl lease` against a real etcd: what changes a lease, and what looks at one.

#![expect(clippy::unwrap_used, reason = "it fails the test, with its line")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use support::Etcd;

const SUBNETS: &str = "/coreos.com/network/subnets";
const NODES: &str = "/coreos.com/network/twill/nodes";
const ID: &str = "00000000000000000000000000000001";
const TWILL: &str = r#"{"PublicIP":"192.168.140.22","PublicIPv6":null,"TwillNodeID":"00000000000000000000000000000001","Colour":"red"}"#;
const FLANNEL: &str = r#"{"PublicIP":"192.168.140.23","PublicIPv6":null}"#;
const NODE: &str = r#"{"id":"00000000000000000000000000000001","hostname":"node1","public_ip":"192.168.140.22","subnet":"10.88.34.0/24","version":"0.1.0","started":1700000000}"#;

#[test]
fn a_lease_becomes_a_reservation_and_a_lease_again_byte_for_byte() {
    let etcd = with_leases();
    let key = format!("{SUBNETS}/10.88.34.0-24");
    let reserve = ["lease", "reserve", "10.88.34.0/24", "--node", "node1"];
    let said = etcd.twillctl(&reserve);
    assert!(said.words.contains("it stays with 192.168.140.22 (node1, udp, reserved)"), "{said:?}");
    assert_eq!((said.ok(), etcd.value(&key)), (String::new(), TWILL.to_owned()));
    // Its old etcd lease ends, and the host's record with it: the key stays.
    let id = etcd.lease_of(&format!("{NODES}/{ID}")).unwrap();
    assert_eq!(etcd.lease_of(&key), None);
    etcd.end(&id);
    assert_eq!(etcd.value(&key), TWILL);
    let again =
        etcd.twillctl(&["lease", "reserve", "10.88.34.0/24", "--node", "0000", "-o", "json"]);
    assert!(again.words.contains("already"), "{again:?}");
    assert_eq!(json(&again.ok())["reserved"], json!(true));

    let release = ["lease", "release", "10.88.34.0/24", "--ttl", "1h", "-o", "json"];
    let released = json(&etcd.twillctl(&release).ok());
    assert_eq!((&released["reserved"], &released["expires_in"]), (&json!(false), &json!(3600)));
    assert_eq!(etcd.value(&key), TWILL);
    let shown = json(&etcd.twillctl(&["lease", "show", "10.88.34.0/24", "-o", "json"]).ok());
    assert_eq!(shown["granted"], json!(3600));
    etcd.twillctl(&release).refused(1, "no reservation");
    etcd.twillctl(&["lease", "release", "10.88.34.0/24", "--now", "-y"])
        .refused(1, "no reservation");
    etcd.end(&etcd.lease_of(&key).unwrap());
    assert_eq!(etcd.value(&key), "", "nobody renewed it");
}

#[test]
fn a_subnet_is_kept_for_a_host_that_is_still_to_come() {
    let etcd = with_leases();
    let reserve = |subnet, holder: [&str; 2]| {
        etcd.twillctl(&["lease", "reserve", subnet, holder[0], holder[1]])
    };
    let unknown = "77777777777777777777777777777777";
    reserve("10.88.40.0/24", ["--node", unknown]).ok();
    let want = format!(r#"{{"PublicIP":"0.0.0.0","PublicIPv6":null,"TwillNodeID":"{unknown}"}}"#);
    assert_eq!(etcd.value(&format!("{SUBNETS}/10.88.40.0-24")), want);
    reserve("10.88.41.0/24", ["--public-ip", "192.168.140.26"]).ok();
    let want = r#"{"PublicIP":"192.168.140.26","PublicIPv6":null}"#;
    assert_eq!(etcd.value(&format!("{SUBNETS}/10.88.41.0-24")), want);

    let by_address = ["--public-ip", "192.168.140.25"];
    reserve("10.88.34.0/24", by_address).refused(1, "owned by 192.168.140.22 (node1, udp)");
    reserve("10.88.50.0/24", by_address).refused(1, "10.88.50.0-24 is no lease");
    reserve("10.88.0.0/24", by_address).refused(1, "no host can have 10.88.0.0/24");
    reserve("10.88.42.0/24", ["--node", "node1"]).refused(1, "has 10.88.34.0/24 already");
    reserve("10.88.42.0/24", ["--node", "node9"]).refused(4, "no host is called `node9`");
    reserve("10.88.42.0/24", ["--public-ip", "10.88.1.1"]).refused(1, "inside the overlay");
    reserve("10.88.42.0/24", ["--public-ip", "here"]).refused(2, "here");
    etcd.twillctl(&["lease", "reserve", "10.88.42.0/24"]).refused(2, "--node");
    etcd.twillctl(&["lease", "release", "10.88.42.0/24"]).refused(4, "nobody has a lease");
    etcd.twillctl(&["lease", "release", "10.88.40.0/24", "--ttl", "5s"]).refused(2, "30s");
    etcd.twillctl(&["lease", "release", "10.88.40.0/24", "--yes"]).refused(2, "--now");
    etcd.twillctl(&["lease", "release", "10.88.40.0/24", "--now"]).refused(1, "--yes");
    etcd.twillctl(&["lease", "release", "10.88.40.0/24", "--now", "--yes"]).ok();
    assert_eq!(etcd.value(&format!("{SUBNETS}/10.88.40.0-24")), "");
    assert_eq!(etcd.value(&format!("{SUBNETS}/10.88.42.0-24")), "");
}

#[test]
fn one_lease_is_shown_with_all_that_belongs_to_it() {
    let etcd = with_leases();
    let show = |subnet| etcd.twillctl(&["lease", "show", subnet]).ok();
    let text = show("10.88.34.0/24");
    for words in [
        "Key        /coreos.com/network/subnets/10.88.34.0-24\n",
        r#""Colour":"red"}"#,
        "node1 (00000000000000000000000000000001)",
        " unless renewed; etcd lease ",
        " of 1h00m\n",
        "Written    once, at revision ",
        " ago; twilld 0.1.0, started 2023-11-14T22:13:20Z",
        "Peers      send to it\n",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(show("10.88.9.0/24").contains("Ends       never: it is a reservation\n"));
    assert!(show("10.88.50.0/24").contains("Malformed  the value is not a JSON object"));
    let json = json(&etcd.twillctl(&["lease", "show", "10.88.34.0/24", "-o", "json"]).ok());
    assert_eq!((&json["used"], &json["granted"]), (&json!(true), &json!(3600)));
    assert_eq!(
        json["lease_id"].as_str(),
        etcd.lease_of(&format!("{SUBNETS}/10.88.34.0-24")).as_deref()
    );
    etcd.twillctl(&["lease", "show", "10.88.77.0/24"]).refused(4, "10.88.77.0/24");
    etcd.twillctl(&["lease", "show", "10.88.77.0"]).refused(2, "10.88.77.0");
    // What nobody can read is freed by name as well.
    etcd.twillctl(&["lease", "revoke", "10.88.50.0/24", "--yes"]).ok();
    etcd.twillctl(&["lease", "show", "10.88.50.0/24"]).refused(4, "10.88.50.0/24");
}

#[test]
fn only_what_was_not_seen_is_freed() {
    let etcd = with_leases();
    let gc = |options: &[&str]| etcd.twillctl(&[&["lease", "gc"], options].concat());
    let nothing = gc(&[]);
    assert!(nothing.words.contains("there is nothing to free"), "{nothing:?}");
    assert!(nothing.words.contains("--include-unknown: 10.88.9.0/24"), "{nothing:?}");
    assert_eq!(nothing.ok(), "");
    // A moment ago is not "not seen for a second": what shows itself each 10 minutes says nothing yet.
    let early = gc(&["--unseen", "1s", "10.88.34.0/24", "--yes"]);
    assert_eq!(early.code, 0, "{early:?}");

    gc(&["10.88.77.0/24"]).refused(4, "10.88.77.0/24");
    gc(&["--unseen", "soon"]).refused(2, "soon");
    gc(&["--include-unknown"]).refused(1, "--yes");
    let dry = json(&gc(&["--include-unknown", "--dry-run", "-o", "json"]).ok());
    assert_eq!(dry.as_array().unwrap().len(), 1, "{dry}");
    assert_eq!(
        (&dry[0]["subnet"], &dry[0]["outcome"]),
        (&json!("10.88.9.0/24"), &json!("would-free"))
    );
    assert_eq!(etcd.value(&format!("{SUBNETS}/10.88.9.0-24")), FLANNEL.replace(".23", ".24"));

    let freed = gc(&["10.88.9.0/24", "--yes"]).ok();
    let row: Vec<&str> = freed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], ["10.88.9.0/24", "192.168.140.24", "-", "reserved", "freed"]);
    assert_eq!(etcd.value(&format!("{SUBNETS}/10.88.9.0-24")), "");
    assert_eq!(etcd.value(&format!("{SUBNETS}/10.88.34.0-24")), TWILL);
    assert_eq!(etcd.value(&format!("{SUBNETS}/10.88.2.0-24")), FLANNEL);
}

#[test]
fn no_race_with_an_owner_that_renews_loses_a_reservation_or_a_value() {
    let etcd = with_leases();
    let key = format!("{SUBNETS}/10.88.34.0-24");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let owner = scope.spawn(|| {
            // An owner that writes its value again under whatever end the key has, without a pause.
            let mut writes = 0;
            while !done.load(Ordering::Relaxed) {
                etcd.put_again(&key);
                writes += 1;
            }
            writes
        });
        // The owner ends also when the test fails.
        let end = End(&done);
        for _ in 0..5 {
            for command in [
                &["lease", "reserve", "10.88.34.0/24", "--node", "node1"][..],
                &["lease", "release", "10.88.34.0/24"],
            ] {
                let answer = etcd.twillctl(command);
                // Refused for the owner's zeal, or done: never half.
                assert!(
                    answer.code == 0 || answer.words.contains("was written anew each time"),
                    "{answer:?}"
                );
                assert_eq!(etcd.value(&key), TWILL);
                if answer.code != 0 {
                    break;
                }
                let reserved = etcd.lease_of(&key).is_none();
                assert_eq!(reserved, command[1] == "reserve");
            }
        }
        drop(end);
        assert!(owner.join().unwrap() > 5, "they met");
    });
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A host of Twill with its record, one of flannel, a reservation, and a key that is no lease.
fn with_leases() -> Etcd {
    let etcd = Etcd::start();
    etcd.twillctl(&["network", "init", "--network", "10.88.0.0/16"]).ok();
    let id = etcd.grant(3600);
    etcd.put_under(&id, &format!("{SUBNETS}/10.88.34.0-24"), TWILL);
    etcd.put_under(&id, &format!("{NODES}/{ID}"), NODE);
    etcd.put_for(&format!("{SUBNETS}/10.88.2.0-24"), FLANNEL, 3600);
    etcd.put(&format!("{SUBNETS}/10.88.9.0-24"), &FLANNEL.replace(".23", ".24"));
    etcd.put(&format!("{SUBNETS}/10.88.50.0-24"), "spoilt");
    etcd
}
