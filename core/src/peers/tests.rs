use super::*;
use crate::config::{Backend, Udp, Vxlan};
use crate::ids::{LeaseId, Revision, Vni};
use crate::lease::{Beside, LeaseValue, TunnelEnd, Vtep};

#[test]
fn takes_what_it_can_send_to() {
    row("nobody", &[], &[], &[]);
    row("our own lease is not a peer", &[lease(OWN)], &[], &[]);
    row("others are", &[lease(OWN), lease(2), lease(3)], &[2, 3], &[]);
    row(
        "a lease of flannel has no node id, and an old one no VNI",
        &[with(lease(2), |value| {
            value.node = None;
            value.backend = LeaseBackend::Vxlan(Vtep { vni: None, mac: mac(2) });
        })],
        &[2],
        &[],
    );
    row(
        "another network",
        &[with(lease(2), |value| {
            value.backend = LeaseBackend::Vxlan(Vtep { vni: Vni::new(7), mac: mac(2) });
        })],
        &[],
        &[("10.5.2.0-24", "its VNI is 7, ours is 1")],
    );
    row(
        "other backends",
        &[
            with(lease(2), |value| value.backend = LeaseBackend::Unnamed),
            with(lease(3), |value| {
                value.backend = LeaseBackend::HostGw;
            }),
        ],
        &[],
        &[
            ("10.5.2.0-24", "it names no backend, ours is vxlan"),
            ("10.5.3.0-24", "its backend is host-gw, ours is vxlan"),
        ],
    );
}

#[test]
fn takes_nothing_that_would_turn_our_own_packets_on_us() {
    row(
        "in six ways",
        &[
            with(lease(2), |value| value.public_ip = host(OWN)),
            with(lease(3), |value| value.node = Some(node(OWN))),
            with(lease(4), |value| value.public_ip = host(0)),
            with(lease(5), |value| {
                value.backend = LeaseBackend::Vxlan(Vtep { vni: Some(Vni::ONE), mac: mac(OWN) });
            }),
            Lease { key: "10.5.0.0-21".parse().expect("a key"), ..lease(6) },
            with(lease(7), |value| {
                value.backend = LeaseBackend::Vxlan(Vtep { vni: Some(Vni::ONE), mac: Mac([0; 6]) });
            }),
        ],
        &[],
        &[
            ("10.5.0.0-21", "it overlaps the subnet of this host"),
            ("10.5.2.0-24", "it has the public address of this host"),
            ("10.5.3.0-24", "it is an earlier lease of this host"),
            ("10.5.4.0-24", "it has no public address"),
            ("10.5.5.0-24", "it has the hardware address of this host"),
            ("10.5.7.0-24", "its hardware address is not that of one device"),
        ],
    );
}

#[test]
fn an_address_that_is_no_other_host_is_left_out() {
    let one_host = "its public address is not that of another host";
    for (address, why) in [
        ("224.0.0.1", one_host),
        ("239.255.255.255", one_host),
        ("255.255.255.255", one_host),
        ("127.0.0.1", one_host),
        ("10.5.9.1", "its public address lies inside the overlay network"),
    ] {
        let spoilt = with(lease(2), |value| value.public_ip = address.parse().expect("an address"));
        row(address, &[spoilt, lease(3)], &[3], &[("10.5.2.0-24", why)]);
    }
}

#[test]
fn a_block_outside_the_network_draws_no_packets() {
    for key in ["8.8.8.0-24", "10.64.0.0-13", "192.0.2.0-24", "128.0.0.0-1"] {
        let stray = Lease { key: key.parse().expect("a key"), ..lease(2) };
        row(key, &[stray], &[], &[(key, "its subnet is not part of the network")]);
    }
}

#[test]
fn of_two_that_exclude_each_other_one_holds() {
    row(
        "two hosts with one hardware address: the lower subnet holds",
        &[
            lease(2),
            with(lease(3), |value| {
                value.backend = LeaseBackend::Vxlan(Vtep { vni: Some(Vni::ONE), mac: mac(2) });
            }),
        ],
        &[2],
        &[("10.5.3.0-24", "10.5.2.0/24 has the same hardware address; one of the two must change")],
    );
    row(
        "two leases with one public address: the newer holds",
        &[lease(2), at(9, with(lease(3), |value| value.public_ip = host(2)))],
        &[3],
        &[("10.5.2.0-24", "10.5.3.0/24 has the same public address and is newer")],
    );
    row(
        "a host that moved: its newer lease holds",
        &[at(9, lease(2)), with(lease(3), |value| value.node = Some(node(2)))],
        &[2],
        &[("10.5.3.0-24", "its host has the newer lease 10.5.2.0/24")],
    );
    row(
        "blocks inside a block",
        &[lease(20), Lease { key: "10.5.16.0-21".parse().expect("a key"), ..lease(6) }, lease(24)],
        &[16, 24],
        &[("10.5.20.0-24", "its subnet overlaps 10.5.16.0/21")],
    );
    row(
        "one block twice, once with IPv6",
        &[lease(2), Lease { key: "10.5.2.0-24&fd00::-64".parse().expect("a key"), ..lease(3) }],
        &[2],
        &[("10.5.2.0-24&fd00::-64", "its subnet overlaps 10.5.2.0/24")],
    );
}

#[test]
fn udp_takes_nameless_leases_only() {
    let serving = Serving::new(Backend::Udp(Udp::default()), Revision(1));
    let own = Own { serving, mac: None, ..own() };
    let mut known = Known::default();
    let nameless = with(lease(2), |value| value.backend = LeaseBackend::Unnamed);
    known.fold(snapshot(&[nameless, lease(3)], &[]));
    let view = known.view(&own);
    check(
        "flannel's udp would send to both",
        &view,
        &[2],
        &[("10.5.3.0-24", "its backend is vxlan, ours is udp")],
    );
    assert_eq!(view.peers[0].mac, None);
}

#[test]
fn events_change_only_what_they_name() {
    let mut known = Known::default();
    known.fold(snapshot(&[lease(OWN), lease(2), lease(3)], &[]));
    let mut step = |name: &str, event: Event, peers: &[u8], reasons: &[(&str, &str)]| {
        known.fold(event);
        check(name, &known.view(&own()), peers, reasons);
        known.malformed()
    };
    let gone = |n| Event::Gone(subnet(n).into(), Revision(20));
    step("one comes", Event::Put(lease(4)), &[2, 3, 4], &[]);
    step("one goes", gone(3), &[2, 4], &[]);
    step("it goes again", gone(3), &[2, 4], &[]);
    let spoilt = malformed("10.5.2.0-24", "spoilt");
    let told = [("10.5.2.0-24", "spoilt")];
    step(
        "a spoilt value keeps the last good one",
        Event::Malformed(spoilt.clone()),
        &[2, 4],
        &told,
    );
    step(
        "also over a new picture",
        snapshot(&[lease(4)], std::slice::from_ref(&spoilt)),
        &[2, 4],
        &told,
    );
    step("put right again", Event::Put(lease(2)), &[2, 4], &[]);
    let strange = malformed("strange", "no key");
    let count = step("no key at all", Event::Malformed(strange), &[2, 4], &[("strange", "no key")]);
    assert_eq!(count, 1);
    let end = Event::GoneMalformed("strange".to_owned(), Revision(30));
    assert_eq!(step("and gone", end, &[2, 4], &[]), 0);
    step("a spoilt lease can go too", Event::Malformed(spoilt), &[2, 4], &told);
    step("with its key", gone(2), &[4], &[]);
    step("a new picture replaces all", snapshot(&[lease(7)], &[]), &[7], &[]);
}

/// What flannel misses after a compaction: the subnet is known, its owner's mac is new.
#[test]
fn a_snapshot_is_compared_in_full() {
    let mut known = Known::default();
    known.fold(snapshot(&[lease(OWN), lease(2)], &[]));
    let before = known.view(&own());
    let changed = with(lease(2), |value| {
        value.backend = LeaseBackend::Vxlan(Vtep { vni: Some(Vni::ONE), mac: mac(0xbb) });
    });
    known.fold(snapshot(&[lease(OWN), changed], &[]));
    let after = known.view(&own());
    assert_ne!(before, after);
    assert_eq!(after.peers[0].mac, Some(mac(0xbb)));
    assert_eq!(after.peers.len(), 1, "and we never are our own peer");
}

#[test]
fn hosts_of_ipv6_alone_are_told_apart_by_their_addresses() {
    let block = |n: u16| format!("fd00:88:0:{n:x}::/64").parse::<Subnet>().expect("a block");
    let host = |n: u16| Underlay(format!("fd00:140::{n:x}").parse().expect("an address"));
    let one = |n: u8| {
        let key = Key::from(block(n.into()));
        let value = LeaseValue { public_ip: host(n.into()), ..lease(n).value };
        Lease { key, value, ..lease(n) }
    };
    let own = Own {
        home: Home {
            network: "fd00:88::/48".parse().expect("a network"),
            subnet: block(1),
            public_ip: host(1),
        },
        ..own()
    };
    let mixed = with(one(4), |value| value.public_ip = Underlay([192, 0, 2, 4].into()));
    let outside = Lease { key: "0.0.0.0-0&fd00:99::-64".parse().expect("a key"), ..one(5) };
    let leases = [one(OWN), one(2), one(3), mixed, outside, lease(6)];
    let mut known = Known::default();
    known.fold(snapshot(&leases, &[]));
    let view = known.view(&own);
    let peers: Vec<_> = view.peers.iter().map(|peer| (peer.subnet, peer.underlay)).collect();
    assert_eq!(peers, [(block(2), host(2)), (block(3), host(3))]);
    let reasons: Vec<Reason> = view.ignored.iter().map(|entry| entry.reason).collect();
    // By their keys: that of IPv4 comes first.
    let wanted = [Reason::OutsideNetwork, Reason::PublicAddress, Reason::OutsideNetwork];
    assert_eq!(reasons, wanted);
}

#[test]
fn a_host_with_both_families_is_two_peers() {
    let dual = |n: u8| {
        let mut lease = lease(n);
        lease.key.ipv6 = format!("fd00:88:0:{n:x}::/64").parse().ok();
        let public_ip = format!("fd00:140::{n:x}").parse().expect("an address");
        let vtep = Some(Vtep { vni: Some(Vni::ONE), mac: mac(0x60 + n) });
        lease.value.ipv6 = Some(Beside { public_ip, end: vtep.map(TunnelEnd::Vxlan) });
        lease
    };
    let ipv6 = Home {
        network: "fd00:88::/48".parse().expect("a network"),
        subnet: "fd00:88:0:1::/64".parse().expect("a subnet"),
        public_ip: Underlay("fd00:140::1".parse().expect("an address")),
    };
    let own = Own { ipv6: Some(ipv6), ..own() };
    let spoilt = with(dual(4), |value| {
        value.ipv6 = value.ipv6.map(|beside| Beside { end: None, ..beside });
    });
    let moved = at(9, with(dual(6), |value| value.node = Some(node(3))));
    let mut known = Known::default();
    known.fold(snapshot(&[dual(OWN), dual(2), dual(3), spoilt, lease(5), moved], &[]));
    let view = known.view(&own);
    let told = |peer: &Peer| format!("{} at {} by {:?}", peer.subnet, peer.underlay, peer.mac);
    assert_eq!(
        view.peers.iter().map(told).collect::<Vec<_>>(),
        [
            format!("10.5.2.0/24 at 192.0.2.2 by {:?}", Some(mac(2))),
            format!("10.5.4.0/24 at 192.0.2.4 by {:?}", Some(mac(4))),
            format!("10.5.5.0/24 at 192.0.2.5 by {:?}", Some(mac(5))),
            format!("10.5.6.0/24 at 192.0.2.6 by {:?}", Some(mac(6))),
            format!("fd00:88:0:2::/64 at fd00:140::2 by {:?}", Some(mac(0x62))),
            format!("fd00:88:0:6::/64 at fd00:140::6 by {:?}", Some(mac(0x66))),
        ]
    );
    let ignored: Vec<String> =
        view.ignored.iter().map(|entry| format!("{}: {}", entry.key, entry.why)).collect();
    let newer = "its host has the newer lease 10.5.6.0/24, fd00:88:0:6::/64";
    let backend = "its backend is vxlan for IPv4 alone, ours is vxlan";
    assert_eq!(
        ignored,
        [
            format!("10.5.3.0-24&fd00:88:0:3::-64: {newer}"),
            format!("10.5.4.0-24&fd00:88:0:4::-64: {backend}"),
            "10.5.5.0-24: it has no subnet of IPv6".to_owned(),
        ]
    );
}

/// The leases there are, and what becomes of them besides our own.
#[track_caller]
fn row(name: &str, leases: &[Lease], peers: &[u8], reasons: &[(&str, &str)]) {
    let mut known = Known::default();
    known.fold(snapshot(leases, &[]));
    check(name, &known.view(&own()), peers, reasons);
}

#[track_caller]
fn check(name: &str, view: &View, peers: &[u8], reasons: &[(&str, &str)]) {
    let third = |peer: &Peer| match peer.subnet.base() {
        IpAddr::V4(base) => base.octets()[2],
        IpAddr::V6(base) => panic!("{base}"),
    };
    let found: Vec<u8> = view.peers.iter().map(third).collect();
    assert_eq!(found, peers, "{name}");
    let ignored: Vec<_> =
        view.ignored.iter().map(|entry| (entry.key.as_str(), entry.why.as_str())).collect();
    assert_eq!(ignored, reasons, "{name}");
}

const OWN: u8 = 1;

fn own() -> Own {
    Own {
        node: node(OWN),
        home: Home {
            network: Subnet::new([10, 5, 0, 0].into(), 16).expect("aligned"),
            subnet: subnet(OWN),
            public_ip: host(OWN),
        },
        ipv6: None,
        mac: Some(mac(OWN)),
        key: None,
        serving: Serving::new(Backend::Vxlan(Vxlan::default()), Revision(1)),
    }
}

fn lease(n: u8) -> Lease {
    let backend = LeaseBackend::Vxlan(Vtep { vni: Some(Vni::ONE), mac: mac(n) });
    Lease {
        key: subnet(n).into(),
        value: LeaseValue { public_ip: host(n), ipv6: None, backend, node: Some(node(n)) },
        revision: Revision(5),
        lease_id: Some(LeaseId(n.into())),
    }
}

fn with(mut lease: Lease, change: impl FnOnce(&mut LeaseValue)) -> Lease {
    change(&mut lease.value);
    lease
}

fn at(revision: i64, lease: Lease) -> Lease {
    Lease { revision: Revision(revision), ..lease }
}

fn malformed(key: &str, why: &str) -> Malformed {
    Malformed {
        key: key.to_owned(),
        lease: key.parse().ok(),
        why: why.to_owned(),
        revision: Revision(7),
    }
}

fn snapshot(leases: &[Lease], malformed: &[Malformed]) -> Event {
    let (leases, malformed) = (leases.to_vec(), malformed.to_vec());
    Event::Snapshot(Listing { leases, malformed, revision: Revision(10) })
}

fn subnet(n: u8) -> Subnet {
    Subnet::new([10, 5, n, 0].into(), 24).expect("aligned")
}

fn host(n: u8) -> Underlay {
    Underlay(if n == 0 { [0; 4].into() } else { [192, 0, 2, n].into() })
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn node(n: u8) -> NodeId {
    NodeId::from_random([n; 16])
}
