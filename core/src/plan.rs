//! Decides which kernel rows to write and which to drop so that every peer can be reached.
//!
//! Pure on purpose: no socket, no clock, no log line. The shell dumps `actual`, applies the changes
//! in the order given, and asks again; "converged" means that the plan is empty.

mod drift;
mod link;
mod roam;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::device::{IfIndex, UDP_OVERHEAD, VXLAN_OVERHEAD, WIREGUARD_OVERHEAD, inside};
use crate::ids::{Family, Gateway, Mac, Mtu, Subnet, Underlay};
use crate::peers::Peer;
use crate::serving::Way;
use crate::status::{Ignored, Reason};
use crate::wireguard::{PresharedKey, PublicKey, Shared};

pub use drift::{concerned, drift};
pub use link::{Lead, Link};
pub use roam::settled;

/// What this host has to send with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Paths {
    /// The whole overlay network.
    pub network: Subnet,
    /// What the configuration says now.
    pub current: Way,
    /// The tunnel devices that are there, earlier ones too.
    pub devices: BTreeMap<Way, IfIndex>,
    /// The interface to the other hosts.
    pub uplink: IfIndex,
    /// Whom it reaches without a router, and what the ways carry.
    pub link: Link,
    /// What containers may send by each way.
    pub mtus: BTreeMap<Way, Mtu>,
    /// Leave the tunnel out towards hosts on the link?
    pub direct: bool,
    /// What `wireguard` has in common towards all peers.
    pub shared: Shared,
}

/// How the packets of one route leave this host.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Hop {
    /// Into a tunnel device, which knows the rest (`udp`, `wireguard`).
    Device(IfIndex),
    /// To a peer's gateway, on the link of a tunnel device (`vxlan`).
    Onlink(IfIndex, Gateway),
    /// To a peer itself, over the interface to the other hosts (`host-gw`).
    Via(IfIndex, Underlay),
}

/// One route: where to, and what it carries if that is less than its device does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Route {
    /// Where to.
    pub hop: Hop,
    /// What packets to there may be, in bytes: forwarding, sockets of this host and the clamp of TCP's
    /// segments keep to it.
    pub mtu: Option<Mtu>,
}

impl From<Hop> for Route {
    fn from(hop: Hop) -> Self {
        Self { hop, mtu: None }
    }
}

/// The rows we own. Of what we want there is one of each key; of what is there, somebody else may have
/// put another one beside it.
///
/// Rows of another device or another owner never get in here: the dump leaves them out, so no
/// plan can ask for their removal.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tables {
    /// VXLAN forwarding database: hardware address of a peer's VTEP to its underlay address.
    pub forwarding: BTreeSet<(IfIndex, Mac, Underlay)>,
    /// Permanent neighbours: a peer's gateway to its VTEP's hardware address.
    pub neighbours: BTreeMap<(IfIndex, Gateway), Mac>,
    /// Routes. To the kernel a block has one route, whatever device it leads to, and it goes by the
    /// first if there are several.
    pub routes: BTreeSet<(Subnet, Route)>,
    /// Peers of a `WireGuard` device, by their keys.
    pub wires: BTreeMap<(IfIndex, PublicKey), Wire>,
}

/// What a `WireGuard` device knows of one peer. Of what we want nothing is left open.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Wire {
    /// Where its packets go; `None` while the device knows no address.
    pub endpoint: Option<SocketAddr>,
    /// Whose packets it may send, and gets; `None` if that is not one block alone.
    pub allowed: Option<Subnet>,
    /// The second secret.
    pub psk: Option<PresharedKey>,
    /// Seconds of silence after which an empty packet goes out; none if zero.
    pub keepalive: u16,
}

/// One idempotent write; `Put` replaces the row that has the same key.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the variants read as sentences")]
pub enum Change {
    PutWire(IfIndex, PublicKey, Wire),
    PutForwarding(IfIndex, Mac, Underlay),
    PutNeighbour(IfIndex, Gateway, Mac),
    PutRoute(Subnet, Route),
    DropRoute(Subnet, Route),
    DropNeighbour(IfIndex, Gateway),
    DropForwarding(IfIndex, Mac, Underlay),
    DropWire(IfIndex, PublicKey),
}

impl Paths {
    /// The tunnel device that everything without a row of its own goes into, as flannel has it.
    fn whole(&self) -> Option<IfIndex> {
        match self.current {
            Way::Udp(_) | Way::Wireguard => self.devices.get(&self.current).copied(),
            Way::Vxlan(..) | Way::HostGw | Way::Alloc | Way::Extension => None,
        }
    }

    /// What packets to this peer may be, if the way there carries less than others do.
    fn narrow(&self, peer: &Peer, hop: Hop) -> Option<Mtu> {
        let carried = self.link.carries(peer.underlay)?;
        let tunnelled = |overhead| inside(carried, overhead, Family::of(peer.underlay.0)).ok();
        let inner = match hop {
            Hop::Via(..) => Some(carried),
            Hop::Device(_) if peer.by == Way::Wireguard => tunnelled(WIREGUARD_OVERHEAD),
            Hop::Device(_) => tunnelled(UDP_OVERHEAD),
            Hop::Onlink(..) => tunnelled(VXLAN_OVERHEAD),
        };
        inner.filter(|inner| self.mtus.get(&peer.by).is_some_and(|usual| inner < usual))
    }
}

/// The tables this host should have, given its peers.
///
/// With `udp` there is one route for the whole network into the device; where each packet goes from
/// there is [`tunnel_peers`]. Peers that are not reached by it, or by a way that carries less, have
/// longer routes, which win. While
/// `udp` is not what the configuration says any more, those that still use it have routes of their own.
///
/// So it is with `wireguard`, for a reason of its own: what goes to a block that nobody has ends in the device,
/// and never leaves in the clear by the default route.
#[must_use]
pub fn desired(paths: &Paths, peers: &[Peer]) -> Tables {
    let mut tables = Tables::default();
    let whole = paths.whole();
    tables.routes.extend(whole.map(|device| (paths.network, Hop::Device(device).into())));
    for peer in peers {
        let via = Hop::Via(paths.uplink, peer.underlay);
        let device = paths.devices.get(&peer.by).copied();
        // One that has moved on may still send by the way that it knows.
        let keyed = paths.devices.get(&Way::Wireguard).copied();
        if let (Some(device), Some(contact)) = (keyed, peer.contact) {
            let Shared { psk, keepalive } = paths.shared;
            let endpoint = Some(SocketAddr::new(peer.underlay.0, contact.port));
            let wire = Wire { endpoint, allowed: Some(peer.subnet), psk, keepalive };
            tables.wires.insert((device, contact.key), wire);
        }
        let direct = paths.direct && peer.by == paths.current && paths.link.holds(peer.underlay);
        let hop = match (peer.by, device) {
            (Way::HostGw, _) if paths.link.holds(peer.underlay) => via,
            (Way::Udp(_), Some(_)) if direct => via,
            (Way::Udp(_) | Way::Wireguard, Some(device))
                if whole != Some(device) || paths.narrow(peer, Hop::Device(device)).is_some() =>
            {
                Hop::Device(device)
            }
            (Way::Vxlan(..), Some(device)) => {
                let Some(mac) = peer.mac else { continue };
                let gateway = peer.subnet.gateway();
                tables.forwarding.insert((device, mac, peer.underlay));
                tables.neighbours.insert((device, gateway), mac);
                if direct { via } else { Hop::Onlink(device, gateway) }
            }
            _without_a_row => continue,
        };
        tables.routes.insert((peer.subnet, Route { hop, mtu: paths.narrow(peer, hop) }));
    }
    tables
}

/// Peers that this host could send to but for the network between them, and why it cannot.
#[must_use]
pub fn out_of_reach(paths: &Paths, peers: &[Peer]) -> Vec<Ignored> {
    let far =
        peers.iter().filter(|peer| peer.by == Way::HostGw && !paths.link.holds(peer.underlay));
    far.map(|peer| Ignored {
        key: crate::lease::Key::from(peer.subnet).to_string(),
        why: format!("host-gw needs a common link, and {} is behind a router", peer.underlay),
        reason: Reason::OutOfReach,
    })
    .collect()
}

/// Where the process behind a TUN device sends the packets for each block. All peers are in it, however
/// they are reached from here: what they send may still come this way.
#[must_use]
pub fn tunnel_peers(peers: &[Peer]) -> Vec<(Subnet, IpAddr)> {
    peers.iter().map(|peer| (peer.subnet, peer.underlay.0)).collect()
}

/// Those of them that packets may leave for unfinished, with checksums and cuts left to whoever takes them up.
#[must_use]
pub fn finishing_peers(peers: &[Peer]) -> BTreeSet<IpAddr> {
    peers.iter().filter(|peer| peer.twill).map(|peer| peer.underlay.0).collect()
}

/// The shortest list of writes that turns `actual` into `desired`.
///
/// Order is part of the answer: a row is written after the row it points at and dropped before
/// it, so that no packet ever meets half a path.
#[must_use]
pub fn plan(desired: &Tables, actual: &Tables) -> Vec<Change> {
    let mut changes = wires(&desired.wires, &actual.wires);
    let missing = |(device, mac, host)| Change::PutForwarding(device, mac, host);
    changes.extend(desired.forwarding.difference(&actual.forwarding).copied().map(missing));
    changes.extend(missing_neighbours(&desired.neighbours, &actual.neighbours));
    let missing = |(subnet, route)| Change::PutRoute(subnet, route);
    changes.extend(desired.routes.difference(&actual.routes).copied().map(missing));
    let key = |(subnet, _route): &(Subnet, Route)| *subnet;
    for (subnet, route) in stale((&desired.routes, &actual.routes), key) {
        changes.push(Change::DropRoute(subnet, route));
    }
    let gone = actual.neighbours.keys().filter(|key| !desired.neighbours.contains_key(key));
    changes.extend(gone.map(|(device, gateway)| Change::DropNeighbour(*device, *gateway)));
    let key = |(device, mac, _host): &(IfIndex, Mac, Underlay)| (*device, *mac);
    for (device, mac, host) in stale((&desired.forwarding, &actual.forwarding), key) {
        changes.push(Change::DropForwarding(device, mac, host));
    }
    // Shorter routes go last, and come last: who has a longer one must not be caught by them in between.
    changes.sort_by_key(|change| match change {
        // A block that two keys are to have goes to the one that is told last, and leaves the other.
        Change::PutWire(..) | Change::PutForwarding(..) => (0, 0),
        Change::PutNeighbour(..) => (1, 0),
        Change::PutRoute(subnet, _hop) => (2, u8::MAX - subnet.len()),
        Change::DropRoute(subnet, _hop) => (3, u8::MAX - subnet.len()),
        Change::DropNeighbour(..) => (4, 0),
        Change::DropForwarding(..) | Change::DropWire(..) => (5, 0),
    });
    changes
}

fn wires(
    desired: &BTreeMap<(IfIndex, PublicKey), Wire>,
    actual: &BTreeMap<(IfIndex, PublicKey), Wire>,
) -> Vec<Change> {
    let unmet = desired.iter().filter(|(key, wire)| actual.get(key) != Some(wire));
    let put = unmet.map(|((device, key), wire)| Change::PutWire(*device, *key, *wire));
    let gone = actual.keys().filter(|key| !desired.contains_key(key));
    put.chain(gone.map(|(device, key)| Change::DropWire(*device, *key))).collect()
}

// The value must agree too: a known gateway behind a new mac is still work to do.
fn missing_neighbours(
    desired: &BTreeMap<(IfIndex, Gateway), Mac>,
    actual: &BTreeMap<(IfIndex, Gateway), Mac>,
) -> impl Iterator<Item = Change> {
    let unmet = desired.iter().filter(|(key, mac)| actual.get(key) != Some(mac));
    unmet.map(|((device, gateway), mac)| Change::PutNeighbour(*device, *gateway, *mac))
}

/// The rows to drop: all that are not wanted, but for one that is alone under its key and whose place
/// the wanted one takes.
fn stale<R: Copy + Ord, K: Ord>(
    (desired, actual): (&BTreeSet<R>, &BTreeSet<R>),
    key: impl Fn(&R) -> K,
) -> Vec<R> {
    let put: BTreeSet<K> = desired.difference(actual).map(&key).collect();
    let mut held: BTreeMap<K, usize> = BTreeMap::new();
    for row in actual {
        *held.entry(key(row)).or_default() += 1;
    }
    let replaced = |row: &R| put.contains(&key(row)) && held.get(&key(row)) == Some(&1);
    actual.difference(desired).filter(|row| !replaced(row)).copied().collect()
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(_) => f.write_str("into the tunnel device"),
            Self::Onlink(_, gateway) => write!(f, "via {gateway}"),
            Self::Via(_, host) => write!(f, "via {host}"),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hop.fmt(f)?;
        self.mtu.map_or(Ok(()), |mtu| write!(f, " with mtu {mtu}"))
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, allowed, psk, keepalive } = self;
        match endpoint {
            Some(endpoint) => write!(f, "at {endpoint}")?,
            None => f.write_str("without an address")?,
        }
        match allowed {
            Some(allowed) => write!(f, " for {allowed}")?,
            None => f.write_str(" for other addresses than its subnet")?,
        }
        let seconds = |seconds| format!(", {seconds} s of silence at most");
        let keepalive = Some(*keepalive).filter(|it| *it != 0).map(seconds);
        f.write_str(if psk.is_some() { ", with the second secret" } else { "" })?;
        f.write_str(&keepalive.unwrap_or_default())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutWire(_, key, wire) => write!(f, "make {key} a peer {wire}"),
            Self::DropWire(_, key) => write!(f, "drop the peer {key}"),
            Self::PutForwarding(_, mac, host) => write!(f, "send frames for {mac} to {host}"),
            Self::PutNeighbour(_, gateway, mac) => {
                write!(f, "make {gateway} a neighbour at {mac}")
            }
            Self::PutRoute(subnet, route) => write!(f, "route {subnet} {route}"),
            Self::DropRoute(subnet, route) => write!(f, "drop the route of {subnet} {route}"),
            Self::DropNeighbour(_, gateway) => write!(f, "drop the neighbour {gateway}"),
            Self::DropForwarding(_, mac, host) => {
                write!(f, "stop sending frames for {mac} to {host}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
