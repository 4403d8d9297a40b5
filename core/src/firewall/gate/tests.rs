use super::*;
use crate::golden;

#[test]
fn the_table() {
    let wrapped = transaction(&table(), Some(&gate()), &refused());
    golden::check("firewall/peers.txt", &wrapped);
    let plain = Gate {
        uplink: Uplink::Plain("eth0".to_owned()),
        sources: Sources::OwnAndOutside,
        segments: [(8472, Vni::ONE), (4789, Vni::new(0x1234).unwrap())].into(),
        ports: [4789, 8285, 8472].into(),
        devices: ["flannel.1", "flannel.4660", "flannel0"].map(str::to_owned).into(),
        ..gate()
    };
    golden::check(
        "firewall/peers-changing.txt",
        &transaction(&table(), Some(&plain), &Refused::default()),
    );
    let routes = Gate {
        uplink: Uplink::Plain("eth0".to_owned()),
        segments: BTreeSet::new(),
        ports: BTreeSet::new(),
        devices: BTreeSet::new(),
        ..gate()
    };
    golden::check(
        "firewall/peers-host-gw.txt",
        &transaction(&table(), Some(&routes), &Refused::default()),
    );
    golden::check("firewall/peers-nothing.txt", &transaction(&table(), None, &refused()));
}

#[test]
fn the_table_for_ipv6() {
    let table6 = table().over(Family::V6);
    let host = |n: u8| Underlay(format!("fd00:140::{n}").parse().unwrap());
    let ipv6 = Gate {
        network: "fd00:88::/48".parse().unwrap(),
        subnet: "fd00:88:0:1f::/64".parse().unwrap(),
        devices: ["flannel-v6.1".to_owned()].into(),
        sources: Sources::OwnAndOutside,
        peers: [(host(2), "fd00:88:0:2::/64".parse().unwrap())].into(),
        ..gate()
    };
    let text = transaction(&table6, Some(&ipv6), &Refused::default());
    golden::check("firewall/peers-ipv6.txt", &text);
    let more =
        Gate { peers: [(host(3), "fd00:88:0:3::7/128".parse().unwrap())].into(), ..ipv6.clone() };
    assert_eq!(
        State::of(&table6, Some(&more)).change(&State::of(&table6, Some(&ipv6)), &table6),
        "delete element ip6 twill-peers hosts { fd00:140::2 }\n\
         delete element ip6 twill-peers peers { fd00:140::2 . \
         0xfd000088000000020000000000000000-0xfd00008800000002ffffffffffffffff }\n\
         add element ip6 twill-peers hosts { fd00:140::3 }\n\
         add element ip6 twill-peers peers { fd00:140::3 . 0xfd000088000000030000000000000007 }\n"
    );
    // As nft prints it: the table, with its elements in their sets.
    let (table, _elements) = text.split_once("add element").unwrap();
    let (_clear, table) = table.split_once("delete table ip6 twill-peers\n").unwrap();
    let listing = table
        .replace("\t\tpackets 0 bytes 0\n", "")
        .replace("type ipv6_addr\n", "type ipv6_addr\n\t\telements = { fd00:140::2 }\n")
        .replace(
            "flags interval\n",
            "flags interval\n\t\telements = { fd00:140::2 . \
             0xfd000088000000020000000000000000-0xfd00008800000002ffffffffffffffff }\n",
        );
    assert_eq!(State::read(&listing), State::of(&table6, Some(&ipv6)));
}

#[test]
fn a_listing_is_read_as_what_was_written() {
    let listing = listing();
    let found = State::read(&listing);
    assert_eq!(found, State::of(&table(), Some(&gate())));
    assert_eq!(State::read(""), State::of(&table(), None));
    for (name, from, to, same_rules) in [
        ("another element", "192.0.2.2 .", "192.0.2.9 .", true),
        ("one element less", "192.0.2.2, ", "", true),
        ("a wider one", "0xa5802ff", "0xa5803ff", true),
        ("one that ends", "0xa5802ff", "0xa5802ff timeout 60", false),
        ("a name", "192.0.2.2, ", "somebody, ", false),
        ("one too few words", "192.0.2.2 . 0x", "0x", false),
        ("another rule", "ip saddr 10.88.31.0/24 return", "ip saddr 10.88.32.0/24 return", false),
        ("one more set", "\tchain input", "\tset x {\n\t\ttype mark\n\t}\n\tchain input", false),
    ] {
        let found = State::read(&listing.replacen(from, to, 1));
        let wanted = State::of(&table(), Some(&gate()));
        assert_ne!(found, wanted, "{name}");
        assert_eq!(found.has_rules_of(&wanted), same_rules, "{name}");
    }
}

#[test]
fn who_comes_and_goes_costs_elements_alone() {
    let changed = |peers: &[(u8, &str)]| {
        let peers = peers.iter().map(|(host, block)| peer(*host, block)).collect();
        let gate = Gate { peers, ..gate() };
        State::of(&table(), Some(&gate)).change(&State::of(&table(), Some(&self::gate())), &table())
    };
    let (second, third) = ((2, "10.88.2.0/24"), (3, "10.88.3.7/32"));
    let element = |verb: &str, set: &str, what: &str| {
        format!("{verb} element ip twill-peers {set} {{ {what} }}\n")
    };
    assert_eq!(changed(&[second, third]), "");
    assert_eq!(
        changed(&[second, third, (4, "10.88.4.0/23"), (5, "10.88.6.0/24")]),
        element("add", "hosts", "192.0.2.4, 192.0.2.5")
            + &element(
                "add",
                "peers",
                "192.0.2.4 . 0xa580400-0xa5805ff, 192.0.2.5 . 0xa580600-0xa5806ff"
            )
    );
    assert_eq!(
        changed(&[second]),
        element("delete", "hosts", "192.0.2.3")
            + &element("delete", "peers", "192.0.2.3 . 0xa580307")
    );
    assert_eq!(
        changed(&[(2, "10.88.2.0/23"), third]),
        element("delete", "peers", "192.0.2.2 . 0xa580200-0xa5802ff")
            + &element("add", "peers", "192.0.2.2 . 0xa580200-0xa5803ff"),
        "what goes is gone before what overlaps it comes"
    );
}

#[test]
fn each_of_several_networks_has_a_table_of_its_own() {
    let blue = Table::of(Some(&"blue".parse().unwrap()));
    let text = transaction(&blue, Some(&gate()), &Refused::default());
    let usual = transaction(&table(), Some(&gate()), &Refused::default());
    assert_eq!(text, usual.replace("twill-peers", "twill-peers-blue"));
    let listing = "table inet twill\ntable ip twill-peers\ntable ip twill-peers-blue\n\
        table ip twill-peerss\ntable inet twill-peers\n";
    assert_eq!(Table::all_in(listing), [table(), blue]);
}

fn table() -> Table {
    Table::of(None)
}

/// As the table is listed, with its elements in their sets.
fn listing() -> String {
    let text = transaction(&table(), Some(&gate()), &Refused::default());
    let (_clear, table) = text.split_once("delete table ip twill-peers\n").unwrap();
    let (table, _elements) = table.split_once("add element").unwrap();
    table
        .replace("\t\tpackets 0 bytes 0\n", "")
        .replace("type ipv4_addr\n", "type ipv4_addr\n\t\telements = { 192.0.2.2, 192.0.2.3 }\n")
        .replace(
            "flags interval\n",
            "flags interval\n\t\telements = { 192.0.2.2 . 0xa580200-0xa5802ff,\n\
             \t\t\t     192.0.2.3 . 0xa580307 }\n",
        )
}

fn gate() -> Gate {
    Gate {
        network: "10.88.0.0/16".parse().unwrap(),
        subnet: "10.88.31.0/24".parse().unwrap(),
        segments: [(8472, Vni::ONE)].into(),
        ports: [8472].into(),
        devices: ["flannel.1".to_owned()].into(),
        uplink: Uplink::Wrapped("eth0".to_owned()),
        sources: Sources::Own,
        peers: [peer(2, "10.88.2.0/24"), peer(3, "10.88.3.7/32")].into(),
    }
}

fn peer(host: u8, block: &str) -> (Underlay, Subnet) {
    (Underlay([192, 0, 2, host].into()), block.parse().unwrap())
}

fn refused() -> Refused {
    let mut refused = Refused::default();
    refused.set("refused_inner", Count { packets: 3, bytes: 234 });
    refused.set("somebody_elses", Count { packets: 9, bytes: 9 });
    refused
}

#[test]
fn what_a_table_lacks() {
    let wanted = State::of(&table(), Some(&gate()));
    let lacks = |found: &State| wanted.lacks(found);
    assert_eq!(lacks(&wanted), []);
    assert_eq!(lacks(&State::default()), [Lack::Table]);
    assert_eq!(State::default().lacks(&wanted), [Lack::Unwanted]);
    assert_eq!(State::default().lacks(&State::default()), []);
    let empty = Gate { peers: BTreeSet::new(), ..gate() };
    let hosts: BTreeSet<_> = gate().peers.iter().map(|(Underlay(host), _block)| *host).collect();
    let empty = State::of(&table(), Some(&empty));
    assert_eq!(lacks(&empty), [Lack::Peers(hosts.clone())]);
    assert_eq!(empty.lacks(&wanted), [Lack::Strangers(hosts.clone())]);
    assert_eq!(
        lacks(&State::read("table ip twill-peers {\n}\n")),
        [Lack::Rules, Lack::Peers(hosts)]
    );
}
