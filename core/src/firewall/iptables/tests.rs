use super::Role::{Nothing, Opening, Whole};
use super::restore::Kernel;
use super::*;
use crate::firewall::tests::policy;
use crate::firewall::{Clients, Entrance, Masquerade, Ports};
use crate::golden;

/// A host without rules, one with Docker 28, and what others put there.
const BARE: &str = "";
const DOCKER: &str = "\
*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
-A PREROUTING -d 10.88.31.2/32 ! -i docker0 -j DROP\nCOMMIT\n\
*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
:DOCKER - [0:0]\n:DOCKER-FORWARD - [0:0]\n:DOCKER-USER - [0:0]\n\
-A FORWARD -j DOCKER-USER\n-A FORWARD -j DOCKER-FORWARD\n\
-A DOCKER ! -i docker0 -o docker0 -j DROP\n-A DOCKER-FORWARD -o docker0 -j DOCKER\nCOMMIT\n";

#[test]
fn transactions() {
    let policy = policy();
    let plain = Masquerade { ports: Ports::Plain, clients: Clients::Kept };
    let kept = Policy { masquerade: Some(plain), ..policy.clone() };
    let forward_only = Policy { masquerade: None, ..policy.clone() };
    let uplink = Entrance::Uplink("eth0".to_owned());
    let two_ways = Policy {
        entrances: [policy.entrances.clone(), vec![uplink]].concat(),
        masquerade: None,
        ..policy.clone()
    };
    let done = applied(&policy, Whole, BARE);
    for (name, policy, role, found) in [
        ("fresh", &policy, Whole, BARE.to_owned()),
        ("docker", &policy, Whole, DOCKER.to_owned()),
        ("docker-other-engine", &policy, Opening, DOCKER.to_owned()),
        ("client-kept", &kept, Whole, BARE.to_owned()),
        ("two-ways", &two_ways, Whole, BARE.to_owned()),
        ("no-masquerade", &forward_only, Whole, done.clone()),
        ("take-all-away", &policy, Nothing, done),
    ] {
        let text = transaction(std::slice::from_ref(policy), role, &Ruleset::parse(&found));
        golden::check(&format!("firewall/{name}.txt"), &text);
    }
}

#[test]
fn what_is_in_place_is_left_alone() {
    let nothing = Policy { masquerade: None, forward: false, entrances: Vec::new(), ..policy() };
    for (name, policy, role, found) in [
        ("all of ours", &policy(), Whole, applied(&policy(), Whole, BARE)),
        ("beside Docker", &policy(), Whole, applied(&policy(), Whole, DOCKER)),
        ("the way through Docker", &policy(), Opening, applied(&policy(), Opening, DOCKER)),
        ("nobody closes the way", &policy(), Opening, BARE.to_owned()),
        (
            "empty chains, policy ACCEPT",
            &policy(),
            Opening,
            "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n".to_owned(),
        ),
        ("nothing wanted, nothing there", &nothing, Whole, DOCKER.to_owned()),
        ("no use for this kind", &policy(), Nothing, DOCKER.to_owned()),
    ] {
        assert_eq!(
            transaction(std::slice::from_ref(policy), role, &Ruleset::parse(&found)),
            "",
            "{name}"
        );
    }
}

/// Each way in which somebody can spoil our rules; one transaction brings them back.
#[test]
fn whatever_is_out_of_place_is_brought_back() {
    for (name, before, from, to) in SPOILERS {
        let good = applied(&policy(), Whole, before);
        let spoilt = good.replacen(from, to, 1);
        assert_ne!(spoilt, good, "{name}: nothing was spoilt");
        let again = transaction(&[policy()], Whole, &Ruleset::parse(&spoilt));
        assert_ne!(again, "", "{name}: not noticed");
        let healed = applied(&policy(), Whole, &spoilt);
        let again = transaction(&[policy()], Whole, &Ruleset::parse(&healed));
        assert_eq!(again, "", "{name}: not healed");
    }
}

const JUMP: &str = "-A FORWARD -m comment --comment \"twill between hosts\" -j TWILL-FWD\n";
const TWICE: &str = "\
    -A FORWARD -m comment --comment \"twill between hosts\" -j TWILL-FWD\n\
    -A FORWARD -m comment --comment \"twill between hosts\" -j TWILL-FWD\n";
const BEHIND: &str = "\
    -A FORWARD -j REJECT\n\
    -A FORWARD -m comment --comment \"twill between hosts\" -j TWILL-FWD\n";

/// What, on which host, and what is written over what.
const SPOILERS: [(&str, &str, &str, &str); 11] = [
    ("a jump is gone", BARE, JUMP, ""),
    ("a jump is there twice", BARE, JUMP, TWICE),
    ("a rule is gone", BARE, "-A FLANNEL-FWD -s", "#"),
    ("a rule is another", BARE, "-j RETURN", "-j ACCEPT"),
    ("a rule too many", BARE, "-A FLANNEL-FWD -d", "-A FLANNEL-FWD -j DROP\n-A FLANNEL-FWD -d"),
    ("rules of the subnet we had before", BARE, "10.88.31.0/24", "10.88.30.0/24"),
    ("a segment size too large", BARE, "-j TCPMSS --clamp", "-j TCPMSS --set-mss 1460 --clamp"),
    ("a REJECT came before us", BARE, JUMP, BEHIND),
    ("DOCKER-USER is not asked first any more", DOCKER, "-A FORWARD -j DOCKER-USER\n", ""),
    (
        "a drop in raw came before us",
        DOCKER,
        "-A PREROUTING -m",
        "-A PREROUTING -d 10.88.31.3/32 -j DROP\n-A PREROUTING -m",
    ),
    (
        "DOCKER-USER ends before us",
        DOCKER,
        "-A DOCKER-USER -m",
        "-A DOCKER-USER -j RETURN\n-A DOCKER-USER -m",
    ),
];

/// The administrator's own words come first, and a `RETURN` that Docker of old put last comes after.
#[test]
fn the_administrator_is_asked_before_us() {
    for (user, want) in [
        (&["-s 10.88.9.9/32 -j DROP", "-j RETURN"][..], 1),
        (&["-s 10.88.9.9/32 -j DROP"], 1),
        (&[], 0),
    ] {
        let mut docker = DOCKER.to_owned();
        for rule in user {
            docker = docker.replace("-A DOCKER !", &format!("-A DOCKER-USER {rule}\n-A DOCKER !"));
        }
        let after = Ruleset::parse(&applied(&policy(), Whole, &docker));
        let rules = after.rules(Table::Filter, "DOCKER-USER").expect("the chain");
        assert_eq!(rules.iter().position(|rule| *rule == CROSSING.jump()), Some(want), "{user:?}");
        let front = after.foreign("FORWARD").next();
        assert_eq!(front.map(String::as_str), Some("-j DOCKER-USER"), "nothing before it");
    }
}

#[test]
fn other_peoples_rules_stay() {
    let foreign = "*filter\n:FORWARD ACCEPT [0:0]\n:MINE - [0:0]\n-A FORWARD -j MINE\n\
        -A MINE -m comment --comment \"flanneld forward\" -j ACCEPT\n-A FORWARD -j FLANNEL-FWD\nCOMMIT\n";
    for before in [DOCKER, foreign] {
        let with = applied(&policy(), Whole, before);
        let without = applied(&policy(), Nothing, &with);
        let others = |text: &str| Ruleset::parse(text).others();
        assert_eq!(others(&without), others(before));
        assert_eq!(others(&with), others(before), "ours are not counted");
        for rule in before.lines().filter(|line| line.starts_with("-A")) {
            assert!(with.lines().any(|line| line == rule), "{rule}");
            assert!(without.lines().any(|line| line == rule), "{rule}");
        }
    }
    // Somebody else leads into our chain: it cannot go, but it is empty, and that is the end of it.
    let left = applied(&policy(), Nothing, &applied(&policy(), Whole, foreign));
    let left = Ruleset::parse(&left);
    assert_eq!(left.rules(Table::Filter, "FLANNEL-FWD"), Some(&Vec::new()));
    assert_eq!(transaction(&[policy()], Nothing, &left), "");
}

#[test]
fn strange_listings_are_survived() {
    for text in ["", "*\n:\n-A\n-A x\n", "-A FORWARD -j DROP\n", "\0", "*filter\n:FORWARD\n-A  x\n"]
    {
        let found = Ruleset::parse(text);
        assert!(!found.has_ours(), "{text:?}");
        assert_ne!(transaction(&[policy()], Whole, &found), "", "{text:?}");
    }
}

/// What `iptables-save` prints after our transaction.
fn applied(policy: &Policy, role: Role, before: &str) -> String {
    let mut kernel = Kernel::default();
    kernel.feed(before);
    kernel.feed(&transaction(std::slice::from_ref(policy), role, &Ruleset::parse(before)));
    kernel.saved()
}
