use super::Change::*;
use super::*;
use crate::ids::Vni;
use crate::wireguard::Contact;

#[test]
fn plans() {
    let (net, hop) = (subnet(2), subnet(2).gateway());
    let via = Hop::Onlink(VTEP, hop).into();
    check("nothing to do", &[peer(2, 0xa)], &[peer(2, 0xa)], &[]);
    check(
        "a peer arrives: its route comes last",
        &[],
        &[peer(2, 0xa)],
        &[
            PutForwarding(VTEP, mac(0xa), host(2)),
            PutNeighbour(VTEP, hop, mac(0xa)),
            PutRoute(net, via),
        ],
    );
    check(
        "a peer leaves: its route goes first",
        &[peer(2, 0xa)],
        &[],
        &[DropRoute(net, via), DropNeighbour(VTEP, hop), DropForwarding(VTEP, mac(0xa), host(2))],
    );
    check(
        "a peer returns with a new mac: the old row does not linger",
        &[peer(2, 0xa)],
        &[peer(2, 0xb)],
        &[
            PutForwarding(VTEP, mac(0xb), host(2)),
            PutNeighbour(VTEP, hop, mac(0xb)),
            DropForwarding(VTEP, mac(0xa), host(2)),
        ],
    );
    check(
        "a peer returns at a new address: only that changes",
        &[peer(2, 0xa)],
        &[Peer { underlay: host(9), ..peer(2, 0xa) }],
        &[PutForwarding(VTEP, mac(0xa), host(9))],
    );
    check(
        "a peer is reached another way: its route turns over in one write",
        &[peer(2, 0xa)],
        &[Peer { by: Way::HostGw, ..peer(2, 0xa) }],
        &[
            PutRoute(net, Hop::Via(UPLINK, host(2)).into()),
            DropNeighbour(VTEP, hop),
            DropForwarding(VTEP, mac(0xa), host(2)),
        ],
    );
}

/// The kernel goes by the first of several routes.
#[test]
fn what_somebody_added_beside_ours_goes_and_ours_stays() {
    let (wanted, hop) = (desired(&paths(), &[peer(2, 0xa)]), subnet(2).gateway());
    let elsewhere = (subnet(2), Hop::Via(UPLINK, host(9)).into());
    let mut doubled = wanted.clone();
    doubled.forwarding.insert((VTEP, mac(0xa), host(9)));
    doubled.routes.insert(elsewhere);
    let drops = [DropRoute(subnet(2), elsewhere.1), DropForwarding(VTEP, mac(0xa), host(9))];
    assert_eq!(plan(&wanted, &doubled), drops);
    assert_eq!(drift(&drops, &wanted), drops, "somebody's doing");
    // Nothing but what was added: the first takes the place of ours, the others go.
    doubled.routes = [elsewhere, (subnet(2), Hop::Device(TUN).into())].into();
    doubled.forwarding = [(VTEP, mac(0xa), host(8)), (VTEP, mac(0xa), host(9))].into();
    let changes = plan(&wanted, &doubled);
    let mut kernel = doubled;
    for change in &changes {
        apply(&mut kernel, *change);
    }
    assert_eq!(kernel, wanted, "{changes:?}");
    assert_eq!(drift(&[PutNeighbour(VTEP, hop, mac(0xa))], &wanted).len(), 1, "it was there");
    assert_eq!(drift(&[PutNeighbour(VTEP, hop, mac(0xb))], &wanted), [], "it is new");
}

#[test]
fn udp_has_one_route_for_all_and_a_table_of_its_own() {
    let paths = Paths { current: UDP, ..paths() };
    let peers = [by(UDP, 2), by(UDP, 3)];
    let alone = desired(&paths, &[]);
    assert_eq!(plan(&alone, &Tables::default()), [PutRoute(network(), Hop::Device(TUN).into())]);
    assert_eq!(desired(&paths, &peers), alone, "peers change no row");
    let ends = |n| (subnet(n), [192, 0, 2, n].into());
    assert_eq!(tunnel_peers(&peers), [ends(2), ends(3)]);
    let one_moved = desired(&paths, &[by(VXLAN, 2), by(UDP, 3)]);
    assert_eq!(one_moved.routes.len(), 2, "the longer one wins: {one_moved:?}");
}

#[test]
fn udp_on_its_way_out_has_a_route_for_each_of_its_peers() {
    let tables = desired(&paths(), &[by(UDP, 2), by(VXLAN, 3)]);
    let wanted = [
        (subnet(2), Hop::Device(TUN).into()),
        (subnet(3), Hop::Onlink(VTEP, subnet(3).gateway()).into()),
    ];
    assert_eq!(tables.routes, BTreeSet::from(wanted));
    let before = desired(&Paths { current: UDP, ..paths() }, &[by(UDP, 2), by(UDP, 3)]);
    let changes = plan(&tables, &before);
    assert_eq!(
        changes.last(),
        Some(&DropRoute(network(), Hop::Device(TUN).into())),
        "the last of all"
    );
}

#[test]
fn wireguard_has_one_route_for_all_and_a_peer_for_each() {
    let paths = Paths { current: Way::Wireguard, ..paths() };
    let two = by(Way::Wireguard, 2);
    let put = PutWire(KEYED, key(2), wire(2));
    let all = PutRoute(network(), Hop::Device(KEYED).into());
    let (alone, met) = (desired(&paths, &[]), desired(&paths, &[two]));
    assert_eq!(plan(&met, &Tables::default()), [put, all], "a route leads to who is known");
    assert_eq!(plan(&met, &alone), [put], "the route for all is enough");
    assert_eq!(plan(&alone, &met), [DropWire(KEYED, key(2))]);
    let changed = Peer { contact: Some(other_key(2)), ..two };
    let rekeyed = desired(&paths, &[changed]);
    let new = PutWire(KEYED, key(0x42), wire(2));
    assert_eq!(plan(&rekeyed, &met), [new, DropWire(KEYED, key(2))], "one peer for one block");
    for (name, drift) in [
        ("another block beside its own", Wire { allowed: None, ..wire(2) }),
        ("another address", Wire { endpoint: "203.0.113.9:1".parse().ok(), ..wire(2) }),
        ("no second secret", Wire { psk: None, ..wire(2) }),
        ("no packets in silence", Wire { keepalive: 0, ..wire(2) }),
    ] {
        let actual = Tables { wires: [((KEYED, key(2)), drift)].into(), ..met.clone() };
        assert_eq!(plan(&met, &actual), [put], "{name}");
        assert_eq!(super::drift(&[put], &met), [put], "{name}");
    }
    let words = put.to_string();
    assert_eq!(
        words,
        "make AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI= a peer at 192.0.2.2:51820 for 10.5.2.0/24, with \
         the second secret, 25 s of silence at most"
    );
    let lacking = concerned(&[put, DropWire(KEYED, key(2))], &[two]);
    assert_eq!(lacking[&subnet(2)].len(), 2, "{lacking:?}");
    assert_eq!(put.table(), "wireguard");
}

#[test]
fn wireguard_on_its_way_out_has_a_route_for_each_of_its_peers() {
    let tables = desired(&paths(), &[by(Way::Wireguard, 2), by(VXLAN, 3)]);
    assert!(tables.routes.contains(&(subnet(2), Hop::Device(KEYED).into())), "{tables:?}");
    assert!(!tables.routes.iter().any(|(block, _route)| *block == network()), "{tables:?}");
    assert_eq!(tables.wires.len(), 1);
}

#[test]
fn a_peer_behind_a_router_is_named_and_gets_no_route() {
    let far = Peer { underlay: Underlay([198, 51, 100, 2].into()), ..by(Way::HostGw, 2) };
    let peers = [far, by(Way::HostGw, 3)];
    assert_eq!(
        desired(&paths(), &peers).routes,
        BTreeSet::from([(subnet(3), Hop::Via(UPLINK, host(3)).into())])
    );
    let named = out_of_reach(&paths(), &peers);
    assert_eq!(named.len(), 1, "{named:?}");
    assert_eq!(named[0].key, "10.5.2.0-24");
    assert_eq!(named[0].why, "host-gw needs a common link, and 198.51.100.2 is behind a router");
}

#[test]
fn direct_routing_leaves_the_tunnel_of_udp_out_as_well() {
    let far = Peer { underlay: Underlay([198, 51, 100, 2].into()), ..by(UDP, 2) };
    let paths = Paths { current: UDP, direct: true, ..paths() };
    let tables = desired(&paths, &[far, by(UDP, 3)]);
    let wanted =
        [(network(), Hop::Device(TUN).into()), (subnet(3), Hop::Via(UPLINK, host(3)).into())];
    assert_eq!(tables.routes, BTreeSet::from(wanted));
}

#[test]
fn direct_routing_leaves_the_tunnel_out_where_it_can() {
    let far = Peer { underlay: Underlay([198, 51, 100, 2].into()), ..by(VXLAN, 2) };
    let tables = desired(&Paths { direct: true, ..paths() }, &[far, by(VXLAN, 3)]);
    let wanted = [
        (subnet(2), Hop::Onlink(VTEP, subnet(2).gateway()).into()),
        (subnet(3), Hop::Via(UPLINK, host(3)).into()),
    ];
    assert_eq!(tables.routes, BTreeSet::from(wanted));
}

#[test]
fn the_route_to_a_peer_says_so_if_its_way_carries_less() {
    let everybody = (block([192, 0, 2, 0], 24), Lead::Link, None);
    let (onlink, via) = (Hop::Onlink(VTEP, subnet(3).gateway()), Hop::Via(UPLINK, host(3)));
    let tun = Hop::Device(TUN);
    for (name, current, direct, carried, want) in [
        ("vxlan", VXLAN, false, 1400, Some((onlink, Some(1350)))),
        ("vxlan, no less than the option MTU", VXLAN, false, 1500, Some((onlink, None))),
        ("vxlan without the tunnel", VXLAN, true, 1400, Some((via, Some(1400)))),
        ("without the tunnel, enough for what is inside", VXLAN, true, 1450, Some((via, None))),
        ("host-gw", Way::HostGw, false, 1400, Some((via, Some(1400)))),
        ("udp", UDP, false, 1400, Some((tun, Some(1372)))),
        ("udp, enough: the route for all will do", UDP, false, 1500, None),
        ("wireguard", Way::Wireguard, false, 1400, Some((Hop::Device(KEYED), Some(1340)))),
    ] {
        let narrow = (block([192, 0, 2, 3], 32), Lead::Link, Mtu::new(carried));
        let link = Link::new([everybody, narrow]);
        let paths = Paths { current, link, direct, ..paths() };
        let tables = desired(&paths, &[by(current, 2), by(current, 3)]);
        let found = |n| tables.routes.iter().find(|(block, _route)| *block == subnet(n));
        let want = want.map(|(hop, mtu)| (subnet(3), Route { hop, mtu: mtu.and_then(Mtu::new) }));
        assert_eq!(found(3).copied(), want, "{name}");
        assert!(found(2).is_none_or(|(_block, route)| route.mtu.is_none()), "{name}: the others");
    }
    let narrow = Route { hop: onlink, mtu: Mtu::new(1350) };
    let change = PutRoute(subnet(3), narrow);
    assert_eq!(change.to_string(), "route 10.5.3.0/24 via 10.5.3.0 with mtu 1350");
    let wide = Tables { routes: [(subnet(3), onlink.into())].into(), ..Tables::default() };
    let wanted = Tables { routes: [(subnet(3), narrow)].into(), ..Tables::default() };
    assert_eq!(plan(&wanted, &wide), [change], "one write");
}

#[test]
fn changes_read_as_sentences() {
    let hop = subnet(2).gateway();
    let onlink = Hop::Onlink(VTEP, hop).into();
    let rows = [
        (PutForwarding(VTEP, mac(0xa), host(2)), "send frames for 02:00:00:00:00:0a to 192.0.2.2"),
        (PutNeighbour(VTEP, hop, mac(0xa)), "make 10.5.2.0 a neighbour at 02:00:00:00:00:0a"),
        (PutRoute(subnet(2), onlink), "route 10.5.2.0/24 via 10.5.2.0"),
        (PutRoute(subnet(2), Hop::Device(TUN).into()), "route 10.5.2.0/24 into the tunnel device"),
        (PutRoute(subnet(2), Hop::Via(UPLINK, host(2)).into()), "route 10.5.2.0/24 via 192.0.2.2"),
        (DropRoute(subnet(2), onlink), "drop the route of 10.5.2.0/24 via 10.5.2.0"),
        (DropNeighbour(VTEP, hop), "drop the neighbour 10.5.2.0"),
        (
            DropForwarding(VTEP, mac(0xa), host(2)),
            "stop sending frames for 02:00:00:00:00:0a to 192.0.2.2",
        ),
    ];
    for (change, words) in rows {
        assert_eq!(change.to_string(), words);
    }
}

/// Every world to every other, rather than a random few: four configurations, and two peers of
/// which each is away, or comes by one of four ways, or by one of two hardware addresses or keys, or from
/// another address. At every step: no row points nowhere, nobody's packets go to another, and
/// whoever is reached before and after is reached in between.
#[test]
fn converges_without_a_gap_from_every_mixture_to_every_other() {
    let states = |n: u8| {
        [
            None,
            Some(by(UDP, n)),
            Some(by(VXLAN, n)),
            Some(by(Way::HostGw, n)),
            Some(peer(n, 0x40 + n)),
            Some(Peer { underlay: host(n + 100), ..by(VXLAN, n) }),
            Some(by(Way::Wireguard, n)),
            Some(Peer { contact: Some(other_key(n)), ..by(Way::Wireguard, n) }),
            Some(Peer { underlay: host(n + 100), ..by(Way::Wireguard, n) }),
        ]
    };
    let mut worlds = Vec::new();
    for current in [UDP, VXLAN, Way::Wireguard, Way::HostGw] {
        for (two, three) in states(2).iter().flat_map(|two| states(3).map(|three| (*two, three))) {
            let peers: Vec<Peer> = [two, three].into_iter().flatten().collect();
            let paths = Paths { current, ..paths() };
            worlds.push((desired(&paths, &peers), peers));
        }
    }
    assert_eq!(worlds.len(), 324);
    for (from, to) in worlds.iter().flat_map(|from| worlds.iter().map(move |to| (from, to))) {
        let ((before, were), (after, are)) = (from, to);
        let mut kernel = before.clone();
        for change in plan(after, before) {
            apply(&mut kernel, change);
            no_row_points_nowhere(&kernel);
            for old in were {
                let Some(new) = are.iter().find(|new| new.subnet == old.subnet) else { continue };
                let (way, there) = reached(&kernel, old).expect("a peer that is there is reached");
                assert!([old.by, new.by].contains(&way), "{old:?} by {way:?} after {change}");
                let known = there.is_none_or(|to| [old.underlay, new.underlay].contains(&to));
                assert!(known, "{old:?} at {there:?} after {change}");
            }
        }
        assert_eq!(&kernel, after);
        assert_eq!(plan(after, &kernel), []);
    }
}

fn other_key(n: u8) -> Contact {
    Contact { key: key(0x40 + n), port: 51820 }
}

fn no_row_points_nowhere(kernel: &Tables) {
    let known = |hop: &Hop| match hop {
        Hop::Device(_) | Hop::Via(..) => true,
        Hop::Onlink(device, gateway) => kernel.neighbours.contains_key(&(*device, *gateway)),
    };
    assert!(kernel.routes.iter().all(|(_block, route)| known(&route.hop)));
    let frames = |((device, _), mac): (&(IfIndex, Gateway), &Mac)| {
        !sent_to(kernel, *device, *mac).is_empty()
    };
    assert!(kernel.neighbours.iter().all(frames));
}

/// What the kernel would do with a packet for that peer: by which way, and where to, as far as the
/// kernel decides it.
fn reached(kernel: &Tables, peer: &Peer) -> Option<(Way, Option<Underlay>)> {
    let address = peer.subnet.first_host();
    let holding = kernel.routes.iter().filter(|(block, _hop)| block.contains(address));
    let (_block, route) = holding.max_by_key(|(block, _route)| block.len())?;
    match &route.hop {
        Hop::Device(KEYED) => {
            let mut wires = kernel.wires.values();
            let wire = wires.find(|wire| wire.allowed == Some(peer.subnet))?;
            Some((Way::Wireguard, wire.endpoint.map(|endpoint| Underlay(endpoint.ip()))))
        }
        Hop::Device(device) => (*device == TUN).then_some((UDP, None)),
        Hop::Via(device, host) => (*device == UPLINK).then_some((Way::HostGw, Some(*host))),
        Hop::Onlink(device, gateway) => {
            let mac = kernel.neighbours.get(&(*device, *gateway))?;
            Some((VXLAN, Some(*sent_to(kernel, *device, *mac).first()?)))
        }
    }
}

#[track_caller]
fn check(name: &str, before: &[Peer], after: &[Peer], want: &[Change]) {
    let world = |peers: &[Peer]| desired(&paths(), peers);
    assert_eq!(plan(&world(after), &world(before)), want, "{name}");
}

#[test]
fn drift_is_what_changed_without_a_reason() {
    let rows = [
        ("as it was", vec![peer(2, 2)], vec![peer(2, 2)], vec![peer(2, 2)], 0),
        ("a peer came", vec![], vec![peer(2, 2)], vec![], 0),
        ("a peer left", vec![peer(2, 2)], vec![], vec![peer(2, 2)], 0),
        ("its rows were deleted", vec![peer(2, 2)], vec![peer(2, 2)], vec![], 3),
        (
            "its hardware address was changed",
            vec![peer(2, 2)],
            vec![peer(2, 2)],
            vec![peer(2, 9)],
            3,
        ),
        ("rows of nobody came", vec![], vec![], vec![peer(2, 2)], 3),
        (
            "one came while another's were deleted",
            vec![peer(3, 3)],
            vec![peer(2, 2), peer(3, 3)],
            vec![],
            3,
        ),
    ];
    for (name, before, after, actual, count) in rows {
        let tables = |peers: &[Peer]| desired(&paths(), peers);
        let changes = plan(&tables(&after), &tables(&actual));
        assert_eq!(drift(&changes, &tables(&before)).len(), count, "{name}");
    }
}

#[test]
fn every_row_of_a_peer_is_told_of_that_peer() {
    let peers = [peer(2, 2), peer(3, 3)];
    let tables = desired(&paths(), &peers);
    let lacking = concerned(&plan(&tables, &Tables::default()), &peers);
    assert_eq!(lacking.keys().copied().collect::<Vec<_>>(), [subnet(2), subnet(3)]);
    assert!(lacking.values().all(|rows| rows.len() == 3), "{lacking:?}");
    assert!(lacking[&subnet(2)][0].contains("02:00:00:00:00:02"), "{lacking:?}");
    let kinds: Vec<_> = plan(&tables, &Tables::default()).iter().map(Change::table).collect();
    assert_eq!(kinds, ["fdb", "fdb", "neighbour", "neighbour", "route", "route"]);
    assert!(concerned(&[], &peers).is_empty());
}

fn apply(kernel: &mut Tables, change: Change) {
    match change {
        PutForwarding(device, mac, host) => {
            let rows = &mut kernel.forwarding;
            let first = rows.iter().find(|(on, of, _)| (*on, *of) == (device, mac)).copied();
            if !rows.contains(&(device, mac, host)) {
                first.map(|first| rows.remove(&first));
                rows.insert((device, mac, host));
            }
        }
        PutNeighbour(device, hop, mac) => drop(kernel.neighbours.insert((device, hop), mac)),
        PutRoute(net, hop) => {
            let first = kernel.routes.iter().find(|(block, _hop)| *block == net).copied();
            first.map(|first| kernel.routes.remove(&first));
            kernel.routes.insert((net, hop));
        }
        DropRoute(net, hop) => drop(kernel.routes.remove(&(net, hop))),
        DropNeighbour(device, gateway) => drop(kernel.neighbours.remove(&(device, gateway))),
        DropForwarding(device, mac, host) => drop(kernel.forwarding.remove(&(device, mac, host))),
        PutWire(device, key, wire) => {
            // A block is of one peer at a time.
            for other in kernel.wires.values_mut().filter(|other| other.allowed == wire.allowed) {
                other.allowed = None;
            }
            kernel.wires.insert((device, key), wire);
        }
        DropWire(device, key) => drop(kernel.wires.remove(&(device, key))),
    }
}

/// Where frames for that address go: a copy to each.
fn sent_to(kernel: &Tables, device: IfIndex, mac: Mac) -> Vec<Underlay> {
    let rows = kernel.forwarding.iter().filter(|(on, of, _host)| (*on, *of) == (device, mac));
    rows.map(|(_on, _of, host)| *host).collect()
}

const UDP: Way = Way::Udp(8285);
const VXLAN: Way = Way::Vxlan(Vni::ONE, 8472);
const TUN: IfIndex = IfIndex(3);
const VTEP: IfIndex = IfIndex(4);
const KEYED: IfIndex = IfIndex(5);
const UPLINK: IfIndex = IfIndex(2);

fn paths() -> Paths {
    Paths {
        network: network(),
        current: VXLAN,
        devices: BTreeMap::from([(UDP, TUN), (VXLAN, VTEP), (Way::Wireguard, KEYED)]),
        uplink: UPLINK,
        link: Link::new([(block([192, 0, 2, 0], 24), Lead::Link, None)]),
        mtus: [(UDP, 1472), (VXLAN, 1450), (Way::Wireguard, 1440), (Way::HostGw, 1500)]
            .into_iter()
            .filter_map(|(way, mtu)| Some((way, Mtu::new(mtu)?)))
            .collect(),
        direct: false,
        shared: Shared { psk: PresharedKey::told([9; 32]), keepalive: 25 },
    }
}

fn network() -> Subnet {
    block([10, 5, 0, 0], 16)
}

fn block(base: [u8; 4], len: u8) -> Subnet {
    Subnet::new(base.into(), len).expect("aligned")
}

fn peer(n: u8, last: u8) -> Peer {
    let (subnet, underlay, mac) = (subnet(n), host(n), Some(mac(last)));
    Peer { subnet, underlay, mac, contact: None, by: VXLAN, twill: true }
}

fn by(way: Way, n: u8) -> Peer {
    let mac = matches!(way, Way::Vxlan(..)).then_some(mac(n));
    let contact = (way == Way::Wireguard).then_some(Contact { key: key(n), port: 51820 });
    Peer { mac, contact, by: way, ..peer(n, n) }
}

fn subnet(n: u8) -> Subnet {
    block([10, 5, n, 0], 24)
}

fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

fn wire(n: u8) -> Wire {
    let endpoint = Some(SocketAddr::new(host(n).0, 51820));
    Wire { endpoint, allowed: Some(subnet(n)), psk: PresharedKey::told([9; 32]), keepalive: 25 }
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn host(n: u8) -> Underlay {
    Underlay([192, 0, 2, n].into())
}
