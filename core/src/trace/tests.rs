use super::*;
use crate::device::{IfIndex, Uplink};
use crate::doctor::Echoes;
use crate::ids::Family;
use crate::ids::{Gateway, Mac, Mtu, Underlay};
use crate::plan::{Hop, Tables, Wire};
use crate::wireguard::{PresharedKey, PublicKey};

const DEVICE: IfIndex = IfIndex(3);
const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);
const HOST: Underlay = Underlay(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)));

#[track_caller]
fn check(name: &str, step: &Step, (outcome, words): (Outcome, &str)) {
    assert_eq!(step.outcome, outcome, "{name}: {step:?}");
    assert!(step.what.contains(words), "{name}: {step:?}");
    assert_eq!(step.hint.is_none(), outcome == Outcome::Passes, "{name}: {step:?}");
}

fn address(last: u8) -> IpAddr {
    [10, 88, 1, last].into()
}

fn joined(change: fn(&mut Container)) -> Holder {
    let mut container = Container {
        name: "web".to_owned(),
        bridge: "twill0".to_owned(),
        interface: "tw0".to_owned(),
        port: Some(Port { up: true, carrier: true, bridge: Some("twill0".to_owned()) }),
        inside: Inside::Seen { up: true, address: true, gateway: Some(address(1)) },
    };
    change(&mut container);
    Holder::Container(container)
}

fn port(container: &mut Container) -> &mut Port {
    container.port.as_mut().expect("it is there")
}

/// What is changed, and what is said.
type Row = (&'static str, fn(&mut Container), Outcome, &'static str);

#[test]
fn a_container_is_joined_or_it_is_said_how_not() {
    use Outcome::{Breaks, Passes, Unseen};
    let rows: [Row; 11] = [
        ("all well", |_| {}, Passes, "web has 10.88.1.2, on twill0 by tw0"),
        ("no pair", |it| it.port = None, Breaks, "tw0 is gone"),
        ("down", |it| port(it).up = false, Breaks, "is down"),
        ("not on the bridge", |it| port(it).bridge = None, Breaks, "is not on twill0"),
        ("on another", |it| port(it).bridge = Some("x".to_owned()), Breaks, "is not on twill0"),
        ("no namespace", |it| it.inside = Inside::Gone, Breaks, "namespace of web is gone"),
        (
            "its end is down",
            |it| it.inside = Inside::Seen { up: false, address: false, gateway: None },
            Breaks,
            "inside web is down",
        ),
        (
            "no address",
            |it| it.inside = Inside::Seen { up: true, address: false, gateway: None },
            Breaks,
            "has lost its address 10.88.1.2",
        ),
        (
            "no default route",
            |it| it.inside = Inside::Seen { up: true, address: true, gateway: None },
            Breaks,
            "has no default route",
        ),
        (
            "another gateway",
            |it| {
                let gateway = Some(address(7));
                it.inside = Inside::Seen { up: true, address: true, gateway };
            },
            Breaks,
            "leads to 10.88.1.7, not 10.88.1.1",
        ),
        (
            "nobody may look",
            |it| it.inside = Inside::Unseen("not permitted".to_owned()),
            Unseen,
            "its inside was not seen: not permitted",
        ),
    ];
    for (name, change, outcome, words) in rows {
        let step = container(address(2), &joined(change), address(1));
        check(name, &step, (outcome, words));
    }
}

#[test]
fn an_address_without_a_container_that_runs() {
    use Outcome::{Breaks, Passes};
    let unplugged = joined(|it| {
        port(it).carrier = false;
        it.inside = Inside::Unseen("not permitted".to_owned());
    });
    check("no carrier", &container(address(2), &unplugged, address(1)), (Breaks, "is down"));
    for (name, holder, outcome, words) in [
        ("this host", Holder::Host, Passes, "this host itself"),
        ("nobody", Holder::Nobody, Breaks, "no container of this host has 10.88.1.2"),
        (
            "it has ended",
            Holder::Stopped { name: "web".to_owned(), how: "it has ended with 0".to_owned() },
            Breaks,
            "web does not run: it has ended with 0",
        ),
    ] {
        check(name, &container(address(2), &holder, address(1)), (outcome, words));
    }
}

#[test]
fn bridges() {
    use Outcome::{Breaks, Doubtful, Passes};
    let well = BridgeSeen { up: true, gateway: true, mtu: 1450 };
    for (name, seen, outcome, words) in [
        ("all well", Some(well), Passes, "twill0 is up with 10.88.1.1"),
        ("none", None, Breaks, "there is no bridge twill0"),
        ("down", Some(BridgeSeen { up: false, ..well }), Breaks, "is down"),
        ("no address", Some(BridgeSeen { gateway: false, ..well }), Breaks, "gateway's address"),
        (
            "too large",
            Some(BridgeSeen { mtu: 1500, ..well }),
            Doubtful,
            "1500 bytes, the tunnel 1450",
        ),
    ] {
        let gateway = address(1);
        let step = bridge(&Bridge { name: "twill0".to_owned(), gateway, told: 1450, seen });
        check(name, &step, (outcome, words));
    }
}

#[test]
fn switches_of_the_kernel() {
    use Outcome::{Breaks, Passes};
    let switch = |forwarding: &str, own: &str| Switch {
        interface: "flannel.1".to_owned(),
        forwarding: Some(forwarding.to_owned()),
        source_check: Some(own.to_owned()),
    };
    for (name, host, one, outcome, words) in [
        ("all well", "1", switch("1", "2"), Passes, "from flannel.1"),
        ("the host is closed", "0", switch("0", "2"), Breaks, "passes no packets on between"),
        ("the device is closed", "1", switch("0", "2"), Breaks, "come in by flannel.1"),
        ("sources are checked", "1", switch("1", "1"), Breaks, "source check of flannel.1"),
    ] {
        check(name, &forwarding((Family::V4, host), "0", &[one]), (outcome, words));
    }
}

fn tables() -> Tables {
    let (block, gateway) = ("10.88.9.0/24".parse().unwrap(), Gateway([10, 88, 9, 0].into()));
    let mut tables = Tables::default();
    tables.routes.insert((block, Hop::Onlink(DEVICE, gateway).into()));
    tables.neighbours.insert((DEVICE, gateway), MAC);
    tables.forwarding.insert((DEVICE, MAC, HOST));
    tables
}

#[test]
fn keys_that_were_agreed_on_are_told_with_their_age() {
    use Outcome::{Breaks, Doubtful, Passes};
    let peer = "10.88.9.0/24".parse().unwrap();
    let (key, endpoint) = (PublicKey([2; 32]), "192.0.2.9:51820".parse().ok());
    let wire = Wire { endpoint, allowed: Some(peer), psk: None, keepalive: 0 };
    let tables = |wire| Tables { wires: [((DEVICE, key), wire)].into(), ..Tables::default() };
    let Rows { wire: Some(wanted), .. } = Rows::towards(&tables(wire), peer) else {
        panic!("a peer")
    };
    let look = |actual: &Tables, ago| handshake(wanted, actual, ago);
    let there = tables(wire);
    check("fresh", &look(&there, Some(12)), (Passes, "192.0.2.9:51820, last handshake 12 s ago"));
    check("old", &look(&there, Some(181)), (Doubtful, "181 s ago: that session has ended"));
    check("none yet", &look(&there, None), (Doubtful, "no handshake yet"));
    check("gone", &look(&Tables::default(), None), (Breaks, "is missing"));
    let bare = tables(Wire { allowed: None, ..wire });
    check("no block", &look(&bare, Some(1)), (Breaks, "other addresses than its subnet"));
    let sealed = tables(Wire { psk: PresharedKey::told([9; 32]), ..wire });
    check("a secret", &look(&sealed, Some(1)), (Breaks, "with the second secret, not at"));
}

#[test]
fn the_rows_towards_a_peer_are_found_and_compared() {
    use Outcome::{Breaks, Passes};
    let peer = "10.88.9.0/24".parse().unwrap();
    let Rows { route: Some(way), neighbour: Some(hop), forwarding: Some(frames), wire: None } =
        Rows::towards(&tables(), peer)
    else {
        panic!("all three are there")
    };
    let to = IpAddr::from([10, 88, 9, 2]);
    let sends = |interface: &str, index, gateway: [u8; 4]| Lookup::Sends {
        index: IfIndex(index),
        interface: interface.to_owned(),
        gateway: Some(gateway.into()),
    };
    let right = sends("flannel.1", 3, [10, 88, 9, 0]);
    let wrong = sends("eth0", 2, [192, 0, 2, 254]);
    check("a route", &route(to, Some(way), (&right, true)), (Passes, "via 10.88.9.0 on flannel.1"));
    check("gone", &route(to, Some(way), (&wrong, false)), (Breaks, "is missing; the kernel sends"));
    check("overruled", &route(to, Some(way), (&wrong, true)), (Breaks, "is there, and yet"));
    check("no way", &route(to, None, (&wrong, false)), (Breaks, "has no way to send"));

    check("a neighbour", &neighbour(hop, &tables()), (Passes, "10.88.9.0 is at 02:"));
    check("none", &neighbour(hop, &Tables::default()), (Breaks, "is missing"));
    let mut other = tables();
    other.neighbours.insert((DEVICE, Gateway([10, 88, 9, 0].into())), Mac([2, 0, 0, 0, 0, 7]));
    check("another", &neighbour(hop, &other), (Breaks, "its lease says 02:00:00:00:00:09"));

    check("frames", &fdb(frames, &tables()), (Passes, "go to 192.0.2.9"));
    check("nowhere", &fdb(frames, &Tables::default()), (Breaks, "nobody says"));
    let mut two = tables();
    two.forwarding.insert((DEVICE, MAC, Underlay([192, 0, 2, 8].into())));
    check("two ways", &fdb(frames, &two), (Breaks, "go to 192.0.2.8 and 192.0.2.9"));
}

#[test]
fn what_lies_between_the_hosts() {
    use Outcome::{Breaks, Doubtful, Passes};
    let wanted = Uplink {
        index: IfIndex(2),
        name: "eth0".to_owned(),
        address: Underlay([192, 0, 2, 1].into()),
        mtu: Mtu::new(1500).unwrap(),
    };
    let well = UplinkSeen { up: true, carrier: true, address: true, mtu: 1500 };
    for (name, seen, outcome, words) in [
        ("all well", Some(well), Passes, "eth0 is up with 192.0.2.1"),
        ("none", None, Breaks, "there is no uplink eth0"),
        ("down", Some(UplinkSeen { up: false, ..well }), Breaks, "the uplink eth0 is down"),
        ("no carrier", Some(UplinkSeen { carrier: false, ..well }), Breaks, "no carrier"),
        ("no address", Some(UplinkSeen { address: false, ..well }), Breaks, "lost its address"),
        ("another MTU", Some(UplinkSeen { mtu: 1300, ..well }), Doubtful, "1300 bytes, not 1500"),
    ] {
        check(name, &uplink(&wanted, seen), (outcome, words));
    }
    let echoes = |answered| Some(Echoes { sent: 3, answered, mean: std::time::Duration::ZERO });
    let sends = Lookup::Sends { index: IfIndex(2), interface: "eth0".to_owned(), gateway: None };
    let refuses = Lookup::Refuses("there is no route".to_owned());
    for (name, found, echoes, outcome, words) in [
        ("it answers", &sends, echoes(3), Passes, "answers, into eth0"),
        ("it is silent", &sends, echoes(0), Doubtful, "does not answer"),
        ("some are lost", &sends, echoes(2), Doubtful, "1 of 3 packets"),
        ("no way", &refuses, echoes(0), Breaks, "there is no route"),
        ("ourselves", &Lookup::Local, echoes(3), Breaks, "this very host"),
    ] {
        check(name, &underlay(HOST, found, echoes), (outcome, words));
    }
    let pair = (address(2), IpAddr::from([10, 88, 9, 2]));
    check("it comes in", &arrival("flannel.1", pair, &sends), (Passes, "goes into eth0"));
    check("it does not", &arrival("flannel.1", pair, &refuses), (Breaks, "is dropped"));
    let away = Lookup::Sends {
        index: IfIndex(2),
        interface: "eth0".to_owned(),
        gateway: Some([192, 0, 2, 254].into()),
    };
    check("it goes away", &arrival("flannel.1", pair, &away), (Breaks, "leave this host again"));
    check("it turns round", &arrival("eth0", pair, &sends), (Breaks, "leave by eth0 again"));
}

#[test]
fn owners_of_the_other_address() {
    use Outcome::{Breaks, Passes};
    let to = IpAddr::from([10, 88, 9, 2]);
    let why = "its VNI is 2, ours is 1".to_owned();
    for (owner, outcome, words) in [
        (Owner::Here, Passes, "this host's own subnet"),
        (Owner::Nobody, Breaks, "no host has a lease for 10.88.9.2"),
        (Owner::Ignored { key: "10.88.9.0-24".to_owned(), why }, Breaks, "its VNI is 2"),
        (
            Owner::Peer {
                subnet: "10.88.9.0/24".parse().unwrap(),
                underlay: HOST,
                by: "vxlan 1 on port 8472".to_owned(),
            },
            Passes,
            "10.88.9.0/24 of 192.0.2.9",
        ),
    ] {
        check("owner", &lease(to, &owner), (outcome, words));
    }
}

#[test]
fn the_verdict_is_the_first_thing_that_breaks() {
    use Outcome::{Breaks, Passes, Unseen};
    let end = || End { asked: "x".to_owned(), address: None };
    let step = |stage, outcome| Step { outcome, ..Step::doubtful(stage, "x", "y") };
    let half = |outcome| Half { host: "h".to_owned(), steps: vec![step(Stage::Route, outcome)] };
    let made = |there: Outcome, back: Option<Outcome>, answer: Option<Outcome>| {
        let probes = answer.map(|outcome| step(Stage::Answer, outcome)).into_iter().collect();
        let rest = Rest { back: back.map(half), probes, alone: false };
        Trace::new((end(), end()), half(there), rest)
    };
    for (name, trace, verdict) in [
        ("all well", made(Passes, Some(Passes), Some(Passes)), Verdict::Whole),
        ("here", made(Breaks, Some(Breaks), Some(Breaks)), Verdict::BrokenHere),
        ("there", made(Passes, Some(Breaks), Some(Breaks)), Verdict::BrokenThere),
        ("between", made(Passes, Some(Passes), Some(Breaks)), Verdict::BrokenBetween),
        ("nobody was asked, and it works", made(Passes, None, Some(Passes)), Verdict::Whole),
        ("nobody was asked, and it does not", made(Passes, None, Some(Breaks)), Verdict::Unseen),
        ("nothing could be sent", made(Passes, Some(Passes), Some(Unseen)), Verdict::Whole),
        ("nothing could be seen", made(Passes, None, None), Verdict::Unseen),
    ] {
        assert_eq!(trace.verdict, verdict, "{name}");
    }
    let mut large = made(Passes, Some(Passes), Some(Passes));
    large.probes.push(full_size(address(2), 1450, false));
    let rest = Rest { back: large.back, probes: large.probes, alone: false };
    let large = Trace::new((end(), end()), large.there, rest);
    assert_eq!(large.verdict, Verdict::BrokenBetween, "only small ones get through");
}
