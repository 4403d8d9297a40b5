//! The forward and masquerade rules: put, healed, and kept apart from everybody else's.

use std::time::Duration;

use tokio::time::timeout;

use crate::host::{feed, on_a_host, run, subnet};
use twill_core::firewall::{Masquerade, Policy};
use twill_core::ids::Subnet;
use twill_net::firewall::{Firewall, Variant, Watch};

#[test]
fn the_rules_are_flannels_to_the_letter() {
    on_a_host(async |_scratch| {
        let firewall = Firewall::probe().await.unwrap();
        assert!(firewall.ensure(&policy(1)).await.unwrap(), "there was nothing yet");
        assert_eq!(
            run("iptables -t filter -S"),
            "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n-N FLANNEL-FWD\n\
             -A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD\n\
             -A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT\n\
             -A FLANNEL-FWD -d 10.5.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT\n"
        );
        let nat = run("iptables -t nat -S FLANNEL-POSTRTG");
        assert_eq!(nat.lines().count(), 7, "{nat}");
        assert!(nat.ends_with("-j MASQUERADE --random-fully\n"), "{nat}");
        assert!(!firewall.ensure(&policy(1)).await.unwrap(), "the second time nothing is written");
    });
}

/// Each way in which somebody can spoil our rules.
#[test]
fn what_was_spoilt_is_healed_in_one_go() {
    on_a_host(async |_scratch| {
        let firewall = Firewall::probe().await.unwrap();
        firewall.ensure(&policy(1)).await.unwrap();
        let good = saved();
        for (name, deeds) in SPOILERS {
            for deed in deeds {
                run(deed);
            }
            assert_ne!(saved(), good, "{name}: nothing was spoilt");
            assert!(firewall.ensure(&policy(1)).await.unwrap(), "{name}: not noticed");
            assert_eq!(saved(), good, "{name}");
            assert!(!firewall.ensure(&policy(1)).await.unwrap(), "{name}: noticed twice");
        }
    });
}

const SPOILERS: [(&str, &[&str]); 6] = [
    ("a flushed chain", &["iptables -t nat -F FLANNEL-POSTRTG"]),
    ("a jump that is gone", &["iptables -D FORWARD 1"]),
    (
        "a chain that is gone",
        &["iptables -F FORWARD", "iptables -F FLANNEL-FWD", "iptables -X FLANNEL-FWD"],
    ),
    ("a rule too much", &["iptables -A FLANNEL-FWD -j DROP"]),
    (
        "rules in another order",
        &["iptables -D FLANNEL-FWD 1", "iptables -A FLANNEL-FWD -s 10.5.0.0/16 -j ACCEPT"],
    ),
    (
        "all tables flushed",
        &["iptables -F", "iptables -X", "iptables -t nat -F", "iptables -t nat -X"],
    ),
];

#[test]
fn doubles_go() {
    on_a_host(async |_scratch| {
        let firewall = Firewall::probe().await.unwrap();
        firewall.ensure(&policy(1)).await.unwrap();
        let good = saved();
        let jump = "*filter\n-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD\n\
                    COMMIT\n";
        for _twice in 0..2 {
            feed("iptables-restore --noflush", jump);
        }
        assert_eq!(saved().matches("-j FLANNEL-FWD").count(), 3);
        assert!(firewall.ensure(&policy(1)).await.unwrap());
        assert_eq!(saved(), good);
    });
}

#[test]
fn a_change_is_heard_of_and_a_look_is_none() {
    on_a_host(async |_scratch| {
        let firewall = Firewall::probe().await.unwrap();
        let Some(mut watch) = firewall.watch().unwrap() else { return };
        let heard = async |watch: &mut Watch| {
            timeout(Duration::from_millis(500), watch.changed()).await.is_ok()
        };
        firewall.ensure(&policy(1)).await.unwrap();
        assert!(heard(&mut watch).await, "we made rules");
        assert!(!heard(&mut watch).await, "once for all of them");
        assert!(!firewall.ensure(&policy(1)).await.unwrap());
        assert!(!heard(&mut watch).await, "a look that finds all in place must not wake anybody");
        run("iptables -t nat -F FLANNEL-POSTRTG");
        assert!(heard(&mut watch).await, "a chain was flushed");
    });
}

#[test]
fn other_peoples_rules_are_left_alone() {
    on_a_host(async |_scratch| {
        for plant in [
            "iptables -P FORWARD DROP",
            "iptables -N DOCKER-USER",
            "iptables -A FORWARD -j DOCKER-USER",
            "iptables -A DOCKER-USER -s 10.5.0.0/16 -j RETURN",
            "iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
            "iptables -t mangle -A PREROUTING -j MARK --set-mark 7",
        ] {
            run(plant);
        }
        let foreign = saved();
        let firewall = Firewall::probe().await.unwrap();
        firewall.ensure(&policy(1)).await.unwrap();
        let ours: Vec<String> = without_ours(&saved());
        assert_eq!(ours, without_ours(&foreign));
        let none = Policy { masquerade: None, forward: false, ..policy(1) };
        assert!(firewall.ensure(&none).await.unwrap());
        assert_eq!(saved(), foreign);
    });
}

#[test]
fn a_new_subnet_takes_the_place_of_the_old_one() {
    on_a_host(async |_scratch| {
        let firewall = Firewall::probe().await.unwrap();
        firewall.ensure(&policy(1)).await.unwrap();
        assert!(firewall.ensure(&policy(2)).await.unwrap());
        let rules = saved();
        assert!(rules.contains("10.5.2.0/24") && !rules.contains("10.5.1.0/24"), "{rules}");
    });
}

#[test]
fn the_host_is_asked_what_it_has() {
    on_a_host(async |_scratch| {
        let firewall = Firewall::probe().await.unwrap();
        let says = run("iptables --version");
        assert_eq!(says.contains("nf_tables"), firewall.variant() == Variant::NfTables, "{says}");
        assert_eq!(firewall.masquerade(), Masquerade::FullyRandom);
    });
}

fn policy(n: u8) -> Policy {
    Policy {
        network: Subnet::new([10, 5, 0, 0].into(), 16).unwrap(),
        subnet: subnet(n),
        masquerade: Some(Masquerade::FullyRandom),
        forward: true,
    }
}

/// All rules of all tables, without counters and remarks.
fn saved() -> String {
    let text = run("iptables-save");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(" [").next().unwrap_or(line).to_owned() + "\n").collect()
}

fn without_ours(rules: &str) -> Vec<String> {
    let ours = |line: &&str| !line.contains("FLANNEL-") && !line.contains("flanneld ");
    rules.lines().filter(ours).map(str::to_owned).collect()
}
