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
