//! Decides which kernel rows to write and which to drop so that every peer can be reached.
//!
//! Pure on purpose: no socket, no clock, no log line. The shell dumps `actual`, applies the changes
//! in the order given, and asks again; "converged" means that the plan is empty.

use std::collections::BTreeMap;
use std::fmt;

use crate::config::Backend;
use crate::ids::{Gateway, Mac, Subnet, Underlay};
use crate::peers::Peer;

/// How the packets of one route leave this host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hop {
    /// Into the tunnel device itself, which knows the rest (`udp`).
    Device,
    /// To a peer's gateway, on the link of the tunnel device (`vxlan`).
    Onlink(Gateway),
}

/// The rows we own on the tunnel device, keyed the way the kernel keys them.
///
/// Rows of another device or another owner never get in here: the dump leaves them out, so no
/// plan can ask for their removal.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tables {
    /// VXLAN forwarding database: hardware address of a peer's VTEP to its underlay address.
    pub forwarding: BTreeMap<Mac, Underlay>,
    /// Permanent neighbours: a peer's gateway to its VTEP's hardware address.
    pub neighbours: BTreeMap<Gateway, Mac>,
    /// Routes through the device.
    pub routes: BTreeMap<Subnet, Hop>,
}

/// One idempotent write; `Put` replaces the row that has the same key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the variants read as sentences")]
pub enum Change {
    PutForwarding(Mac, Underlay),
    PutNeighbour(Gateway, Mac),
    PutRoute(Subnet, Hop),
    DropRoute(Subnet, Hop),
    DropNeighbour(Gateway),
    DropForwarding(Mac),
}

/// The tables this host should have, given its peers.
///
/// `udp` has one route for the whole network into the device; where each packet goes from there is
/// [`tunnel_peers`].
#[must_use]
pub fn desired(backend: &Backend, network: Subnet, peers: &[Peer]) -> Tables {
    let mut tables = Tables::default();
    match backend {
        Backend::Udp(_) => drop(tables.routes.insert(network, Hop::Device)),
        Backend::Vxlan(_) => {
            let known = peers.iter().filter_map(|peer| peer.mac.map(|mac| (peer, mac)));
            for (peer, mac) in known {
                let gateway = peer.subnet.gateway();
                tables.forwarding.insert(mac, peer.underlay);
                tables.neighbours.insert(gateway, mac);
                tables.routes.insert(peer.subnet, Hop::Onlink(gateway));
            }
        }
    }
    tables
}

/// Where the process behind the TUN device sends the packets for each block.
#[must_use]
pub fn tunnel_peers(peers: &[Peer]) -> Vec<(Subnet, Underlay)> {
    peers.iter().map(|peer| (peer.subnet, peer.underlay)).collect()
}

/// The shortest list of writes that turns `actual` into `desired`.
///
/// Order is part of the answer: a row is written after the row it points at and dropped before
/// it, so that no packet ever meets half a path.
#[must_use]
pub fn plan(desired: &Tables, actual: &Tables) -> Vec<Change> {
    let mut changes = Vec::new();
    changes.extend(unmet(&desired.forwarding, &actual.forwarding, Change::PutForwarding));
    changes.extend(unmet(&desired.neighbours, &actual.neighbours, Change::PutNeighbour));
    changes.extend(unmet(&desired.routes, &actual.routes, Change::PutRoute));
    changes.extend(stale(&desired.routes, &actual.routes, Change::DropRoute));
    changes.extend(stale(&desired.neighbours, &actual.neighbours, |gateway, _mac| {
        Change::DropNeighbour(gateway)
    }));
    changes.extend(stale(&desired.forwarding, &actual.forwarding, |mac, _underlay| {
        Change::DropForwarding(mac)
    }));
    changes
}

// The value must agree too: a known subnet behind a new mac is still work to do.
fn unmet<K: Copy + Ord, V: Copy + Eq>(
    desired: &BTreeMap<K, V>,
    actual: &BTreeMap<K, V>,
    change: fn(K, V) -> Change,
) -> impl Iterator<Item = Change> {
    desired
        .iter()
        .filter(|(key, value)| actual.get(key) != Some(value))
        .map(move |(key, value)| change(*key, *value))
}

fn stale<K: Copy + Ord, V: Copy>(
    desired: &BTreeMap<K, V>,
    actual: &BTreeMap<K, V>,
    change: fn(K, V) -> Change,
) -> impl Iterator<Item = Change> {
    actual
        .iter()
        .filter(|(key, _value)| !desired.contains_key(key))
        .map(move |(key, value)| change(*key, *value))
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device => f.write_str("into the tunnel device"),
            Self::Onlink(gateway) => write!(f, "via {gateway}"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutForwarding(mac, underlay) => write!(f, "send frames for {mac} to {underlay}"),
            Self::PutNeighbour(gateway, mac) => write!(f, "make {gateway} a neighbour at {mac}"),
            Self::PutRoute(subnet, hop) => write!(f, "route {subnet} {hop}"),
            Self::DropRoute(subnet, hop) => write!(f, "drop the route of {subnet} {hop}"),
            Self::DropNeighbour(gateway) => write!(f, "drop the neighbour {gateway}"),
            Self::DropForwarding(mac) => write!(f, "stop sending frames for {mac}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Change::*;
    use super::*;
    use crate::config::{Udp, Vxlan};

    #[test]
    fn plans() {
        let (net, hop) = (subnet(2), subnet(2).gateway());
        let via = Hop::Onlink(hop);
        check("nothing to do", &[peer(2, 0xa)], &[peer(2, 0xa)], &[]);
        check(
            "a peer arrives: its route comes last",
            &[],
            &[peer(2, 0xa)],
            &[PutForwarding(mac(0xa), host(2)), PutNeighbour(hop, mac(0xa)), PutRoute(net, via)],
        );
        check(
            "a peer leaves: its route goes first",
            &[peer(2, 0xa)],
            &[],
            &[DropRoute(net, via), DropNeighbour(hop), DropForwarding(mac(0xa))],
        );
        check(
            "a peer returns with a new mac: the old row does not linger",
            &[peer(2, 0xa)],
            &[peer(2, 0xb)],
            &[
                PutForwarding(mac(0xb), host(2)),
                PutNeighbour(hop, mac(0xb)),
                DropForwarding(mac(0xa)),
            ],
        );
        check(
            "a peer returns at a new address: only that changes",
            &[peer(2, 0xa)],
            &[Peer { underlay: host(9), ..peer(2, 0xa) }],
            &[PutForwarding(mac(0xa), host(9))],
        );
    }

    #[test]
    fn udp_has_one_route_for_all_and_a_table_of_its_own() {
        let backend = Backend::Udp(Udp::default());
        let peers = [peer(2, 0xa), peer(3, 0xb)];
        let network = Subnet::new([10, 5, 0, 0].into(), 16).expect("aligned");
        let alone = desired(&backend, network, &[]);
        assert_eq!(plan(&alone, &Tables::default()), [PutRoute(network, Hop::Device)]);
        assert_eq!(desired(&backend, network, &peers), alone, "peers change no row");
        assert_eq!(tunnel_peers(&peers), [(subnet(2), host(2)), (subnet(3), host(3))]);
    }

    #[test]
    fn rows_of_another_backend_are_cleared_away() {
        let network = Subnet::new([10, 5, 0, 0].into(), 16).expect("aligned");
        let udp = desired(&Backend::Udp(Udp::default()), network, &[]);
        let changes = plan(&world(&[peer(2, 0xa)]), &udp);
        assert_eq!(changes.last(), Some(&DropRoute(network, Hop::Device)));
    }

    #[test]
    fn changes_read_as_sentences() {
        let hop = subnet(2).gateway();
        let rows = [
            (PutForwarding(mac(0xa), host(2)), "send frames for 02:00:00:00:00:0a to 192.0.2.2"),
            (PutNeighbour(hop, mac(0xa)), "make 10.5.2.0 a neighbour at 02:00:00:00:00:0a"),
            (PutRoute(subnet(2), Hop::Onlink(hop)), "route 10.5.2.0/24 via 10.5.2.0"),
            (PutRoute(subnet(2), Hop::Device), "route 10.5.2.0/24 into the tunnel device"),
            (DropRoute(subnet(2), Hop::Onlink(hop)), "drop the route of 10.5.2.0/24 via 10.5.2.0"),
            (DropNeighbour(hop), "drop the neighbour 10.5.2.0"),
            (DropForwarding(mac(0xa)), "stop sending frames for 02:00:00:00:00:0a"),
        ];
        for (change, words) in rows {
            assert_eq!(change.to_string(), words);
        }
    }

    /// Every world to every other, rather than a random few: there are only 32 of them.
    #[test]
    fn converges_without_ever_leaving_a_row_that_points_nowhere() {
        let moved = Peer { underlay: host(7), ..peer(2, 0xa) };
        let all = [moved, peer(2, 0xa), peer(2, 0xb), peer(3, 0xc), peer(4, 0xa)];
        let worlds: Vec<Tables> = (0..1_u32 << all.len())
            .map(|bits| (0..all.len()).filter(|i| bits >> i & 1 == 1).map(|i| all[i]).collect())
            .map(|peers: Vec<Peer>| world(&peers))
            .collect();
        for (from, to) in worlds.iter().flat_map(|from| worlds.iter().map(move |to| (from, to))) {
            let mut kernel = from.clone();
            for change in plan(to, from) {
                apply(&mut kernel, change);
                let known = |hop: &Hop| match hop {
                    Hop::Device => true,
                    Hop::Onlink(gateway) => kernel.neighbours.contains_key(gateway),
                };
                assert!(kernel.routes.values().all(known));
                assert!(kernel.neighbours.values().all(|mac| kernel.forwarding.contains_key(mac)));
            }
            assert_eq!(&kernel, to);
            assert_eq!(plan(to, &kernel), []);
        }
    }

    #[track_caller]
    fn check(name: &str, before: &[Peer], after: &[Peer], want: &[Change]) {
        assert_eq!(plan(&world(after), &world(before)), want, "{name}");
    }

    fn world(peers: &[Peer]) -> Tables {
        let network = Subnet::new([10, 5, 0, 0].into(), 16).expect("aligned");
        desired(&Backend::Vxlan(Vxlan::default()), network, peers)
    }

    fn apply(kernel: &mut Tables, change: Change) {
        match change {
            PutForwarding(mac, host) => drop(kernel.forwarding.insert(mac, host)),
            PutNeighbour(gateway, mac) => drop(kernel.neighbours.insert(gateway, mac)),
            PutRoute(net, hop) => drop(kernel.routes.insert(net, hop)),
            DropRoute(net, _hop) => drop(kernel.routes.remove(&net)),
            DropNeighbour(gateway) => drop(kernel.neighbours.remove(&gateway)),
            DropForwarding(mac) => drop(kernel.forwarding.remove(&mac)),
        }
    }

    fn peer(n: u8, last: u8) -> Peer {
        Peer { subnet: subnet(n), underlay: host(n), mac: Some(mac(last)) }
    }

    fn subnet(n: u8) -> Subnet {
        Subnet::new([10, 5, n, 0].into(), 24).expect("aligned")
    }

    fn mac(last: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, last])
    }

    fn host(n: u8) -> Underlay {
        Underlay([192, 0, 2, n].into())
    }
}
