use std::collections::BTreeSet;
use std::slice::from_ref;

use super::*;
use crate::golden;

/// The rules of both engines say the same, rule by rule; so a host that changes from one to the other
/// masquerades as before.
#[test]
fn both_engines_masquerade_alike() {
    let policy = policy();
    let iptables = iptables::transaction(
        from_ref(&policy),
        iptables::Role::Whole,
        &iptables::Ruleset::default(),
    );
    let words = |text: &str, old: &[(&str, &str)]| {
        let mut text = text.to_owned();
        for (from, to) in old {
            text = text.replace(from, to);
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let of_iptables: Vec<String> = iptables
        .lines()
        .filter_map(|line| line.strip_prefix("-A FLANNEL-POSTRTG "))
        .map(|line| {
            words(
                line,
                &[
                    ("-m mark --mark 0x4000/0x4000", "mark 0x00004000"),
                    ("! -s", "ip saddr !="),
                    ("! -d", "ip daddr !="),
                    ("-s", "ip saddr"),
                    ("-d", "ip daddr"),
                    ("-m comment --comment \"flanneld masq\" -j", ""),
                    ("MASQUERADE --random-fully", "masquerade fully-random"),
                    ("RETURN", "return"),
                ],
            )
        })
        .collect();
    let of_nftables: Vec<String> = nftables::table(from_ref(&policy))
        .lines()
        .filter(|line| line.ends_with("return") || line.ends_with("fully-random"))
        .map(|line| words(line, &[("meta mark & 0x00004000 == 0x00004000", "mark 0x00004000")]))
        .collect();
    assert_eq!(of_iptables, of_nftables);
    assert_eq!(of_nftables.len(), 6);
}

#[test]
fn our_table() {
    let policy = policy();
    let table = nftables::table(from_ref(&policy));
    golden::check("firewall/nftables.txt", &nftables::transaction(&table));
    let kept = Masquerade { clients: Clients::Kept, ports: Ports::Plain };
    let kept = nftables::table(&[Policy { masquerade: Some(kept), ..policy.clone() }]);
    golden::check("firewall/nftables-client-kept.txt", &kept);
    let uplink = Entrance::Uplink("eth0".to_owned());
    let two_ways =
        Policy { entrances: [policy.entrances.clone(), vec![uplink]].concat(), ..policy.clone() };
    golden::check("firewall/nftables-two-ways.txt", &nftables::table(from_ref(&two_ways)));
    let clamped = nftables::table(&[Policy { masquerade: None, ..policy.clone() }]);
    golden::check("firewall/nftables-no-masquerade.txt", &clamped);
    let nothing = Policy { masquerade: None, entrances: Vec::new(), ..policy };
    let nothing = nftables::table(from_ref(&nothing));
    assert_eq!(nothing, "");
    golden::check("firewall/nftables-nothing.txt", &nftables::transaction(&nothing));
}

#[test]
fn our_table_for_ipv6() {
    let uplink = Entrance::Uplink("eth0".to_owned());
    let ipv6 = Policy {
        network: "fd00:88::/48".parse().expect("a network"),
        subnet: "fd00:88:0:1f::/64".parse().expect("a subnet"),
        entrances: vec![Entrance::Tunnel("flannel-v6.1".to_owned()), uplink],
        ..policy()
    };
    golden::check("firewall/nftables-ipv6.txt", &nftables::table(from_ref(&ipv6)));
    let whole = iptables::transaction(
        from_ref(&ipv6),
        iptables::Role::Whole,
        &iptables::Ruleset::default(),
    );
    golden::check("firewall/ip6tables.txt", &whole);
}

#[test]
fn a_listing_is_compared_by_its_words() {
    let table = nftables::table(&[policy()]);
    assert!(nftables::is_same(&table, &table));
    assert!(nftables::is_same(&table.replace('\t', "    "), &table), "blanks");
    for (name, from, to) in [
        ("another verdict", "return", "accept"),
        ("another address", "10.88.31.0/24", "10.88.32.0/24"),
        ("another priority", "priority 100", "priority 101"),
        ("one more rule", "\t}\n", "\t\tdrop\n\t}\n"),
        ("a set beside it", "\tchain", "\tset x {\n\t}\n\tchain"),
    ] {
        assert!(!nftables::is_same(&table.replacen(from, to, 1), &table), "{name}");
    }
    assert!(!nftables::is_same("", &table));
}

#[test]
fn whose_tables() {
    let listing = "table inet twill\ntable ip twill-peers\ntable ip twill-peers-b\ntable ip filter\ntable ip6 nat\ntable ip flannel-ipv4\n\
        table ip6 flannel-ipv6\ntable bridge filter\n";
    assert_eq!(nftables::others(listing), [""; 0]);
    let foreign =
        "table inet firewalld\ntable ip docker-bridges\ntable inet filter\ntable ip twill\n";
    let mixed = format!("{listing}{foreign}");
    assert_eq!(
        nftables::others(&mixed),
        ["inet firewalld", "ip docker-bridges", "inet filter", "ip twill"]
    );
}

/// Nothing of one network is for another, and no accept of ours or of anybody comes before that.
#[test]
fn several_networks_are_apart() {
    let other = Policy {
        network: "10.89.0.0/16".parse().unwrap(),
        subnet: "10.89.7.0/24".parse().unwrap(),
        entrances: vec![Entrance::Tunnel("flannel8285".to_owned())],
        ..policy()
    };
    let both = [policy(), other];
    golden::check("firewall/nftables-several.txt", &nftables::table(&both));
    let role = iptables::Role::Whole;
    let text = iptables::transaction(&both, role, &iptables::Ruleset::default());
    golden::check("firewall/several.txt", &text);
    let alone = iptables::transaction(&both[..1], role, &iptables::Ruleset::default());
    assert!(!alone.contains("TWILL-APART") && text.matches("-j DROP").count() == 4);

    let ipv6 = |network: &str| Policy { network: network.parse().unwrap(), ..policy() };
    let table = nftables::table(&[policy(), ipv6("fd00:88::/48"), ipv6("fd00:89::/48")]);
    let drops: BTreeSet<&str> = table.lines().filter(|line| line.ends_with("drop")).collect();
    let want = [
        "\t\tip6 saddr fd00:88::/48 ip6 daddr fd00:89::/48 drop",
        "\t\tip6 saddr fd00:89::/48 ip6 daddr fd00:88::/48 drop",
    ];
    assert_eq!(drops, BTreeSet::from(want), "no packet changes its family");
}

pub(super) fn policy() -> Policy {
    Policy {
        network: "10.88.0.0/16".parse().expect("a network"),
        subnet: "10.88.31.0/24".parse().expect("a subnet"),
        masquerade: Some(Masquerade { ports: Ports::FullyRandom, clients: Clients::Hidden }),
        forward: true,
        entrances: vec![Entrance::Tunnel("flannel.1".to_owned())],
        nftables: false,
    }
}
