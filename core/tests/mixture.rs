//! Three hosts move from one backend to another, in every order in which that can happen: whoever
//! sends to a peer sends by a way that the peer takes packets by.
//!
//! The decisions are the real ones; what is modelled is only who has done and seen what. A host hears
//! of the configuration, writes its lease, sees each other host's lease, starts again, and takes the
//! old way out of service, each at any moment.

use std::collections::{BTreeMap, BTreeSet};

use twill_core::config::{Backend, Udp, Vxlan, Wireguard};
use twill_core::device::IfIndex;
use twill_core::ids::{Mac, NodeId, Revision, Subnet, Underlay, Vni};
use twill_core::lease::{Event, Lease, LeaseBackend, LeaseValue, Vtep};
use twill_core::peers::{Home, Known, Own, View};
use twill_core::plan::{Hop, Lead, Link, Paths, Tables, desired};
use twill_core::serving::{Serving, Way};
use twill_core::wireguard::{End, PublicKey, Shared};

const HOSTS: usize = 3;
/// When the two configurations were written.
const CONFIGURED: [i64; 2] = [10, 20];

/// What one host has done and seen.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Host {
    applied: bool,
    published: bool,
    retired: bool,
    /// Whose new lease it has seen.
    seen: [bool; HOSTS],
}

type World = [Host; HOSTS];

/// May a host take the old way out of service before all others have seen its new lease? That they
/// have is what the ten seconds stand for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Retires {
    WhenAllHaveSeen,
    AtOnce,
}

#[test]
fn whoever_sends_is_heard_in_every_order_of_events() {
    for pair in pairs() {
        let (worlds, deaf) = explore(&pair, Retires::WhenAllHaveSeen);
        assert_eq!(deaf, None, "{pair:?}");
        let done = Host { applied: true, published: true, retired: true, seen: [true; HOSTS] };
        let end = |world: &World| {
            let ends = |(own, host): (usize, &Host)| {
                let mut seen = host.seen;
                seen[own] = true;
                Host { seen, ..*host } == done
            };
            world.iter().enumerate().all(ends)
        };
        assert!(worlds.iter().any(end), "{pair:?}: nobody ever is through");
        assert_eq!(worlds.len(), 232, "{pair:?}");
    }
}

/// The check has teeth: without the wait it finds a host that sends into nothing.
#[test]
fn a_host_that_gives_the_old_way_up_too_early_is_found_out() {
    for pair in pairs() {
        let (_worlds, deaf) = explore(&pair, Retires::AtOnce);
        assert!(deaf.is_some(), "{pair:?}");
    }
}

/// Every world that can come about, and what is wrong in the first one where something is.
fn explore(pair: &[Backend; 2], retires: Retires) -> (BTreeSet<World>, Option<String>) {
    let mut known: BTreeSet<World> = BTreeSet::from([World::default()]);
    let mut open = vec![World::default()];
    while let Some(world) = open.pop() {
        if let Some(wrong) = wrong_in(&world, pair) {
            return (known, Some(wrong));
        }
        for next in steps(&world, pair, retires) {
            if known.insert(next) {
                open.push(next);
            }
        }
    }
    (known, None)
}

fn steps(world: &World, pair: &[Backend; 2], retires: Retires) -> Vec<World> {
    let mut next = Vec::new();
    let mut step = |own: usize, change: &dyn Fn(&mut Host)| {
        let mut after = *world;
        change(&mut after[own]);
        if after != *world {
            next.push(after);
        }
    };
    for own in 0..HOSTS {
        step(own, &|host| host.applied = true);
        if world[own].applied {
            step(own, &|host| host.published = true);
        }
        for other in (0..HOSTS).filter(|other| *other != own && world[*other].published) {
            step(own, &|host| host.seen[other] = true);
        }
        // A start reads everything there is, and what was served from its own disk.
        step(own, &|host| {
            host.applied = true;
            for (other, seen) in host.seen.iter_mut().enumerate() {
                *seen = other != own && world[other].published;
            }
        });
        let heard = (0..HOSTS).all(|other| other == own || world[other].seen[own]);
        if may_retire(world, (own, pair)) && (heard || retires == Retires::AtOnce) {
            step(own, &|host| host.retired = true);
        }
    }
    next
}

/// As the agent decides it: peers know that this host has moved, and nobody uses the old way.
fn may_retire(world: &World, (own, pair): (usize, &[Backend; 2])) -> bool {
    let host = world[own];
    let serving = serving(host, pair);
    let view = view(world, (own, pair));
    host.published
        && view.told == Some(serving.current().backend.way())
        && serving.earlier().iter().all(|served| !view.used.contains(&served.since))
}

fn wrong_in(world: &World, pair: &[Backend; 2]) -> Option<String> {
    for own in 0..HOSTS {
        let (paths, view) = (paths(world[own], pair), view(world, (own, pair)));
        let routes = desired(&paths, &view.peers).routes;
        for other in (0..HOSTS).filter(|other| *other != own) {
            let Some(peer) = view.peers.iter().find(|peer| peer.subnet == subnet(other)) else {
                return Some(format!("{own} knows no way to {other} in {world:?}: {view:?}"));
            };
            let address = peer.subnet.first_host();
            let hop = routes.iter().filter(|(block, _route)| block.contains(address));
            let hop =
                hop.max_by_key(|(block, _route)| block.len()).map(|(_block, route)| route.hop);
            let by = match hop {
                Some(Hop::Via(..)) => Some(Way::HostGw),
                Some(Hop::Device(device) | Hop::Onlink(device, _)) => {
                    paths.devices.iter().find(|(_way, d)| **d == device).map(|(way, _d)| *way)
                }
                None => None,
            };
            let heard = |way: &Way| {
                serving(world[other], pair).all().any(|served| served.backend.way() == *way)
                    && (*way != Way::Wireguard || knows(world, pair, (other, own)))
            };
            if by != Some(peer.by) || !by.as_ref().is_some_and(heard) {
                return Some(format!("{own} sends to {other} by {by:?} in {world:?}"));
            }
        }
    }
    None
}

/// Does it take packets of `own` by `wireguard`? The one moment in which it does not is that between two
/// hosts' hearing of the same lease: nobody can tell who has.
fn knows(world: &World, pair: &[Backend; 2], (other, own): (usize, usize)) -> bool {
    let peers = view(world, (other, pair)).peers;
    let Tables { wires, .. } = desired(&paths(world[other], pair), &peers);
    let hears = world[own].published && !world[other].seen[own];
    hears || wires.keys().any(|(_device, found)| *found == key(own))
}

fn paths(host: Host, pair: &[Backend; 2]) -> Paths {
    let serving = serving(host, pair);
    let ways: Vec<Way> = serving.all().map(|served| served.backend.way()).collect();
    let devices = (3..).map(IfIndex);
    Paths {
        network: "10.5.0.0/16".parse().expect("a network"),
        current: serving.current().backend.way(),
        devices: ways.iter().copied().filter(|way| *way != Way::HostGw).zip(devices).collect(),
        uplink: IfIndex(2),
        link: Link::new([("192.0.2.0/24".parse().expect("a block"), Lead::Link, None)]),
        mtus: BTreeMap::new(),
        direct: false,
        shared: Shared::default(),
    }
}

fn serving(host: Host, [from, to]: &[Backend; 2]) -> Serving {
    let mut serving = Serving::new(from.clone(), Revision(CONFIGURED[0]));
    if host.applied {
        serving.adopt(to.clone(), Revision(CONFIGURED[1]));
    }
    if host.retired {
        serving.retire(|_since| false);
    }
    serving
}

fn view(world: &World, (own, pair): (usize, &[Backend; 2])) -> View {
    let mut known = Known::default();
    for other in 0..HOSTS {
        known.fold(Event::Put(lease(other, (pair, false))));
        let seen = if other == own { world[own].published } else { world[own].seen[other] };
        if seen {
            known.fold(Event::Put(lease(other, (pair, true))));
        }
    }
    known.view(&Own {
        node: node(own),
        home: Home {
            network: "10.5.0.0/16".parse().expect("a network"),
            subnet: subnet(own),
            public_ip: address(own),
        },
        ipv6: None,
        mac: Some(mac(own)),
        key: Some(key(own)),
        serving: serving(world[own], pair),
    })
}

/// Two ports differ in nothing but the age of the lease.
fn lease(host: usize, ([from, to], moved): (&[Backend; 2], bool)) -> Lease {
    let backend = match if moved { to } else { from } {
        Backend::Udp(_) => LeaseBackend::Unnamed,
        Backend::Vxlan(vxlan) => LeaseBackend::Vxlan(Vtep { vni: Some(vxlan.vni), mac: mac(host) }),
        Backend::Wireguard(_) => LeaseBackend::Wireguard(End { key: key(host), port: None }),
        Backend::HostGw => LeaseBackend::HostGw,
        other => panic!("nobody moves from or to {}", other.name()),
    };
    let (public_ip, node) = (address(host), Some(node(host)));
    Lease {
        key: subnet(host).into(),
        value: LeaseValue { public_ip, ipv6: None, backend, node },
        revision: Revision(CONFIGURED[usize::from(moved)] + 1),
        lease_id: None,
    }
}

/// Every backend to every other, two ports and two identifiers of one among them.
fn pairs() -> Vec<[Backend; 2]> {
    let vni = Vni::new(7).expect("in range");
    let all = [
        Backend::Udp(Udp::default()),
        Backend::Udp(Udp { port: 7000, direct_routing: false }),
        Backend::Vxlan(Vxlan::default()),
        Backend::Vxlan(Vxlan { port: Some(4789), ..Vxlan::default() }),
        Backend::Vxlan(Vxlan { vni, ..Vxlan::default() }),
        Backend::Wireguard(Wireguard::default()),
        Backend::HostGw,
    ];
    let pairs = all.iter().flat_map(|from| all.iter().map(|to| [from.clone(), to.clone()]));
    pairs.filter(|[from, to]| from != to).collect()
}

fn number(host: usize) -> u8 {
    u8::try_from(host).expect("few hosts") + 1
}

fn subnet(host: usize) -> Subnet {
    Subnet::new([10, 5, number(host), 0].into(), 24).expect("aligned")
}

fn address(host: usize) -> Underlay {
    Underlay([192, 0, 2, number(host)].into())
}

fn mac(host: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, number(host)])
}

fn key(host: usize) -> PublicKey {
    PublicKey([number(host); 32])
}

fn node(host: usize) -> NodeId {
    NodeId::from_random([number(host); 16])
}
