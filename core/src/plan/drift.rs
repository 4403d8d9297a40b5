//! What changes say: which of them undo what somebody else did, and which peer they are for.

use std::collections::BTreeMap;

use super::{Change, Tables, Wire};
use crate::ids::{Family, Gateway, Mac, Subnet};
use crate::peers::Peer;
use crate::wireguard::PublicKey;

/// What of `changes` nobody meant: somebody undid it since the kernel was as `stood` says.
#[must_use]
pub fn drift(changes: &[Change], stood: &Tables) -> Vec<Change> {
    let undone = |change: &&Change| match **change {
        Change::PutWire(device, key, wire) => stood.wires.get(&(device, key)) == Some(&wire),
        Change::DropWire(device, key) => !stood.wires.contains_key(&(device, key)),
        Change::PutForwarding(device, mac, host) => stood.forwarding.contains(&(device, mac, host)),
        Change::PutNeighbour(device, gateway, mac) => {
            stood.neighbours.get(&(device, gateway)) == Some(&mac)
        }
        Change::PutRoute(subnet, route) => stood.routes.contains(&(subnet, route)),
        Change::DropRoute(subnet, route) => !stood.routes.contains(&(subnet, route)),
        Change::DropNeighbour(device, gateway) => {
            !stood.neighbours.contains_key(&(device, gateway))
        }
        Change::DropForwarding(device, mac, host) => {
            !stood.forwarding.contains(&(device, mac, host))
        }
    };
    changes.iter().filter(undone).copied().collect()
}

/// Which of `changes` concern which peer, in words.
#[must_use]
pub fn concerned(changes: &[Change], peers: &[Peer]) -> BTreeMap<Subnet, Vec<String>> {
    let mut concerned: BTreeMap<Subnet, Vec<String>> = BTreeMap::new();
    if changes.is_empty() {
        return concerned;
    }
    // A host with both families may have one address for two devices.
    let macs: BTreeMap<(Mac, Family), Subnet> = peers
        .iter()
        .filter_map(|peer| peer.mac.map(|mac| ((mac, Family::of(peer.underlay.0)), peer.subnet)))
        .collect();
    let gateways: BTreeMap<Gateway, Subnet> =
        peers.iter().map(|peer| (peer.subnet.gateway(), peer.subnet)).collect();
    let keys: BTreeMap<(PublicKey, Family), Subnet> = peers
        .iter()
        .filter_map(|peer| Some(((peer.contact?.key, peer.subnet.family()), peer.subnet)))
        .collect();
    for change in changes {
        let subnet = match change {
            Change::PutWire(_, _, Wire { allowed, .. }) => allowed.as_ref(),
            // Of which family its device is does not matter: one of its blocks names it.
            Change::DropWire(_, key) => {
                [Family::V4, Family::V6].iter().find_map(|family| keys.get(&(*key, *family)))
            }
            Change::PutForwarding(_, mac, host) | Change::DropForwarding(_, mac, host) => {
                macs.get(&(*mac, Family::of(host.0)))
            }
            Change::PutNeighbour(_, gateway, _) | Change::DropNeighbour(_, gateway) => {
                gateways.get(gateway)
            }
            Change::PutRoute(subnet, _) | Change::DropRoute(subnet, _) => Some(subnet),
        };
        if let Some(subnet) = subnet {
            concerned.entry(*subnet).or_default().push(change.to_string());
        }
    }
    concerned
}

impl Change {
    /// In which table, in one word.
    #[must_use]
    pub fn table(&self) -> &'static str {
        match self {
            Self::PutWire(..) | Self::DropWire(..) => "wireguard",
            Self::PutForwarding(..) | Self::DropForwarding(..) => "fdb",
            Self::PutNeighbour(..) | Self::DropNeighbour(..) => "neighbour",
            Self::PutRoute(..) | Self::DropRoute(..) => "route",
        }
    }
}
