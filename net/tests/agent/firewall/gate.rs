//! Whose packets come in: the table of peers, put, healed, and kept apart from everybody else's.

mod packets;

use std::slice::from_ref;

use super::saved;
use crate::host::{feed, host, on_a_host, run, subnet};
use twill_core::firewall::gate::{Gate, Refused, Sources, Table, Uplink, transaction};
use twill_core::ids::{Subnet, Underlay, Vni};
use twill_net::firewall::{Gatekeeper, Outcome, Programs, refused};

#[test]
fn the_table_is_as_it_is_printed() {
    on_a_host(async |_scratch| {
        for gate in [gate(&[2, 3]), gate(&[]), changing()] {
            let mut keeper = Gatekeeper::default();
            assert_eq!(keeper.ensure(from_ref(&gate)).await.unwrap(), Outcome::Changed);
            let table = run("nft -a list table ip twill-peers");
            assert_eq!(keeper.ensure(from_ref(&gate)).await.unwrap(), Outcome::Unchanged);
            // So that a restart of the agent writes nothing.
            let mut another = Gatekeeper::default();
            assert_eq!(another.ensure(from_ref(&gate)).await.unwrap(), Outcome::Unchanged);
            assert_eq!(run("nft -a list table ip twill-peers"), table);
        }
    });
}

#[test]
fn a_peer_that_comes_or_goes_costs_its_elements() {
    on_a_host(async |_scratch| {
        let mut keeper = Gatekeeper::default();
        keeper.ensure(from_ref(&gate(&[2, 3]))).await.unwrap();
        let rules = || run("nft -a -t list table ip twill-peers");
        let before = rules();
        for peers in [&[2, 3, 4][..], &[4], &[], &[2, 3]] {
            assert_eq!(keeper.ensure(from_ref(&gate(peers))).await.unwrap(), Outcome::Changed);
            assert_eq!(rules(), before, "{peers:?}");
            let fresh = Gatekeeper::default().ensure(from_ref(&gate(peers))).await.unwrap();
            assert_eq!(fresh, Outcome::Unchanged, "{peers:?}");
        }
        let mut wider = gate(&[3]);
        wider.peers.insert((host(2), "10.5.4.0/22".parse().unwrap()));
        keeper.ensure(from_ref(&wider)).await.unwrap();
        let mut overlapping = gate(&[3]);
        overlapping.peers.insert((host(2), "10.5.4.0/24".parse().unwrap()));
        assert_eq!(keeper.ensure(from_ref(&overlapping)).await.unwrap(), Outcome::Changed);
        assert_eq!(rules(), before, "a block that shrinks");
    });
}

#[test]
fn what_was_spoilt_is_healed_and_nothing_else_is_touched() {
    on_a_host(async |_scratch| {
        feed("nft -f -", "table ip twill-peers2 {\n}\ntable inet twill-peers {\n}\n");
        run("iptables-nft -A INPUT -p udp --dport 8472 -j ACCEPT");
        let foreign = saved();
        let mut keeper = Gatekeeper::default();
        keeper.ensure(from_ref(&gate(&[2, 3]))).await.unwrap();
        let whole = saved();
        let good = sorted(&whole);
        for (name, deed) in [
            ("a table that is gone", "nft delete table ip twill-peers"),
            ("a flushed chain", "nft flush chain ip twill-peers encapsulated"),
            ("a rule too much", "nft insert rule ip twill-peers encapsulated accept"),
            ("a peer too much", "nft add element ip twill-peers hosts { 192.168.140.9 }"),
            (
                "a source too much",
                "nft add element ip twill-peers peers { 192.168.140.2 . 0x0a050900-0x0a0509ff }",
            ),
            ("a peer too few", "nft flush set ip twill-peers peers"),
            ("a table that is off", "nft add table ip twill-peers { flags dormant; }"),
            ("another policy", "nft chain ip twill-peers input { policy drop; }"),
        ] {
            run(deed);
            assert_ne!(sorted(&saved()), good, "{name}: nothing was spoilt");
            assert_eq!(
                keeper.ensure(from_ref(&gate(&[2, 3]))).await.unwrap(),
                Outcome::Healed,
                "{name}"
            );
            assert_eq!(sorted(&saved()), good, "{name}");
            let again = keeper.ensure(from_ref(&gate(&[2, 3]))).await.unwrap();
            assert_eq!(again, Outcome::Unchanged, "{name}: noticed twice");
        }
        run("nft add table inet somebodys");
        run("nft delete table inet somebodys");
        let idle = keeper.ensure(from_ref(&gate(&[2, 3]))).await.unwrap();
        assert_eq!(idle, Outcome::Unchanged, "what others do is none of our business");
        assert_eq!(keeper.ensure(&[]).await.unwrap(), Outcome::Changed);
        assert_eq!(sorted(&saved()), sorted(&foreign));
        assert_eq!(keeper.ensure(&[]).await.unwrap(), Outcome::Unchanged);
    });
}

#[test]
fn whoever_clears_the_host_clears_the_table() {
    on_a_host(async |_scratch| {
        let programs = Programs::probe().await.unwrap();
        Gatekeeper::default().ensure(from_ref(&gate(&[2]))).await.unwrap();
        assert_eq!(programs.leftovers().await.unwrap(), ["nftables table ip twill-peers"]);
        programs.clear().await.unwrap();
        assert_eq!(programs.leftovers().await.unwrap(), [""; 0]);
        assert_eq!(run("nft list tables"), "");
        assert_eq!(refused(&Table::default()).unwrap(), Refused::default());
    });
}

/// Ours, between a container, a peer and the underlay.
fn gate(peers: &[u8]) -> Gate {
    Gate {
        network: network(),
        subnet: subnet(1),
        segments: [(8472, Vni::ONE)].into(),
        ports: [8472].into(),
        devices: ["flannel.1".to_owned()].into(),
        uplink: Uplink::Wrapped("eth0".to_owned()),
        sources: Sources::Own,
        peers: peers.iter().map(|n| (host(*n), subnet(*n))).collect(),
    }
}

/// A host that changes its backend, with all kinds of rules.
fn changing() -> Gate {
    let mut gate = gate(&[2, 3, 4]);
    let one: (Underlay, Subnet) = (host(9), "10.5.9.7/32".parse().unwrap());
    gate.peers.insert(one);
    Gate {
        segments: [(8472, Vni::ONE), (4789, Vni::new(0x12_3456).unwrap())].into(),
        ports: [4789, 8285, 8472].into(),
        devices: ["flannel.1", "flannel.1193046", "flannel0"].map(str::to_owned).into(),
        uplink: Uplink::Plain("eth0".to_owned()),
        sources: Sources::OwnAndOutside,
        ..gate
    }
}

fn network() -> Subnet {
    Subnet::new([10, 5, 0, 0].into(), 16).unwrap()
}

/// Sets and tables are listed in the kernel's order.
fn sorted(rules: &str) -> Vec<&str> {
    let mut words: Vec<&str> = rules.split([' ', '\n', '\t', ',']).collect();
    words.sort_unstable();
    words
}

/// `ensure` writes nothing else than this.
#[test]
fn a_table_by_hand_is_the_same() {
    on_a_host(async |_scratch| {
        feed(
            "nft -f -",
            &transaction(&Table::default(), Some(&gate(&[2, 3])), &Refused::default()),
        );
        let mut keeper = Gatekeeper::default();
        assert_eq!(keeper.ensure(from_ref(&gate(&[2, 3]))).await.unwrap(), Outcome::Unchanged);
    });
}
