//! Folds what happens in etcd into the set of hosts that this one sends to.
//!
//! One key can never take another's place: whatever is malformed or in conflict is left out alone,
//! with the reason, and a full snapshot replaces all that was known.

use std::collections::BTreeMap;

use crate::config::Backend;
use crate::ids::{Mac, NodeId, Subnet, Underlay};
use crate::lease::{Event, Key, Lease, LeaseBackend, Listing, Malformed};
use crate::status::Ignored;

/// Another host, with all that is needed to send to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// The block of addresses it owns.
    pub subnet: Subnet,
    /// Where its end of the tunnel listens.
    pub underlay: Underlay,
    /// The hardware address of its tunnel device; `udp` has none.
    pub mac: Option<Mac>,
}

/// What tells this host's lease from the others', and what it can send to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Own {
    /// Which host this is.
    pub node: NodeId,
    /// The whole overlay network.
    pub network: Subnet,
    /// The block of addresses it owns.
    pub subnet: Subnet,
    /// Where its end of the tunnel listens.
    pub public_ip: Underlay,
    /// The hardware address of its tunnel device; `udp` has none.
    pub mac: Option<Mac>,
    /// How packets travel between hosts.
    pub backend: Backend,
}

/// The peers of one host, and what it makes no use of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct View {
    /// Ordered by subnet; no two share a block, a hardware address or an underlay address.
    pub peers: Vec<Peer>,
    /// Leases and keys left out, and why.
    pub ignored: Vec<Ignored>,
}

/// All that is known of `subnets/` in etcd.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Known {
    leases: BTreeMap<Key, Lease>,
    malformed: BTreeMap<String, Malformed>,
}

impl Known {
    /// Takes one event in. The order must be etcd's.
    pub fn fold(&mut self, event: Event) {
        match event {
            Event::Put(lease) => {
                self.malformed.remove(&lease.key.to_string());
                self.leases.insert(lease.key, lease);
            }
            Event::Gone(key, _revision) => {
                self.malformed.remove(&key.to_string());
                self.leases.remove(&key);
            }
            // A host whose value was spoilt by hand goes on running: its last good one stays.
            Event::Malformed(malformed) => {
                self.malformed.insert(malformed.key.clone(), malformed);
            }
            Event::GoneMalformed(key, _revision) => {
                self.malformed.remove(&key);
            }
            Event::Snapshot(listing) => self.replace(listing),
        }
    }

    fn replace(&mut self, listing: Listing) {
        let before = std::mem::take(self);
        let spoilt = listing.malformed.iter().filter_map(|malformed| malformed.lease);
        let kept = spoilt.filter_map(|key| before.leases.get_key_value(&key));
        self.leases = kept.map(|(key, lease)| (*key, lease.clone())).collect();
        self.leases.extend(listing.leases.into_iter().map(|lease| (lease.key, lease)));
        self.malformed =
            listing.malformed.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
    }

    /// How many keys are malformed.
    #[must_use]
    pub fn malformed(&self) -> usize {
        self.malformed.len()
    }

    /// What now stands under the key of `subnet`: `None` also if somebody spoilt the value.
    #[must_use]
    pub fn lease(&self, subnet: Subnet) -> Option<&Lease> {
        let key = Key::from(subnet);
        self.leases.get(&key).filter(|_lease| !self.malformed.contains_key(&key.to_string()))
    }

    /// Sorts every known lease into peers and leases of which `own` makes no use.
    ///
    /// Two leases with one owner or one underlay address are one host that moved: the newest holds.
    /// Two hosts with one hardware address, or with blocks that overlap, are somebody's mistake:
    /// the lower subnet holds, which every host agrees on and no renewal changes.
    #[must_use]
    pub fn view(&self, own: &Own) -> View {
        let mut view = View::default();
        let mut usable = Vec::new();
        for lease in self.leases.values() {
            match own.judge(lease) {
                Verdict::Own => {}
                Verdict::Usable(peer) => usable.push((lease, peer)),
                Verdict::Unusable(why) => view.ignored.push(ignored(lease, why)),
            }
        }
        let mut superseded = older_ones(&usable);
        let mut macs: BTreeMap<Mac, Subnet> = BTreeMap::new();
        for (lease, peer) in usable {
            let overlap = view.peers.last().filter(|last| last.subnet.overlaps(peer.subnet));
            let clash = peer.mac.and_then(|mac| macs.get(&mac));
            let why = match (superseded.remove(&lease.key), overlap, clash) {
                (Some(why), _, _) => Some(why),
                (None, Some(last), _) => Some(format!("its subnet overlaps {}", last.subnet)),
                (None, None, Some(other)) => Some(format!(
                    "{other} has the same hardware address; one of the two must change"
                )),
                (None, None, None) => None,
            };
            if let Some(why) = why {
                view.ignored.push(ignored(lease, why));
                continue;
            }
            macs.extend(peer.mac.map(|mac| (mac, peer.subnet)));
            view.peers.push(peer);
        }
        let spoilt = self.malformed.values();
        view.ignored
            .extend(spoilt.map(|entry| Ignored { key: entry.key.clone(), why: entry.why.clone() }));
        view
    }
}

enum Verdict {
    Own,
    Usable(Peer),
    Unusable(String),
}

impl Own {
    fn judge(&self, lease: &Lease) -> Verdict {
        let Lease { key, value, .. } = lease;
        if key.subnet == self.subnet && key.ipv6.is_none() {
            return Verdict::Own;
        }
        let mac = match self.path_to(&value.backend) {
            Ok(mac) => mac,
            Err(why) => return Verdict::Unusable(why),
        };
        let why = if value.node == Some(self.node) {
            "it is an earlier lease of this host"
        } else if value.public_ip == self.public_ip {
            "it has the public address of this host"
        } else if let Some(why) = self.unreachable(value.public_ip) {
            why
        } else if key.subnet.overlaps(self.subnet) {
            "it overlaps the subnet of this host"
        } else if key.subnet.len() < self.network.len() || !self.network.contains(key.subnet.base())
        {
            // It would draw packets for hosts of the world, etcd's perhaps, into the tunnel.
            "its subnet is not part of the network"
        } else if mac.is_some_and(|mac| !mac.is_unicast()) {
            // In the forwarding database it would draw everybody's packets.
            "its hardware address is not that of one device"
        } else if mac.is_some() && mac == self.mac {
            "it has the hardware address of this host"
        } else {
            let Key { subnet, .. } = *key;
            return Verdict::Usable(Peer { subnet, underlay: value.public_ip, mac });
        };
        Verdict::Unusable(why.to_owned())
    }

    /// Why nothing can be sent to that address, if so.
    fn unreachable(&self, Underlay(address): Underlay) -> Option<&'static str> {
        if address.is_unspecified() {
            Some("it has no public address")
        } else if address.is_multicast() || address.is_broadcast() || address.is_loopback() {
            Some("its public address is not that of another host")
        } else if self.network.contains(address) {
            // A tunnel through itself.
            Some("its public address lies inside the overlay network")
        } else {
            None
        }
    }

    fn path_to(&self, theirs: &LeaseBackend) -> Result<Option<Mac>, String> {
        match (&self.backend, theirs) {
            (Backend::Udp(_), LeaseBackend::Unnamed) => Ok(None),
            (Backend::Vxlan(ours), LeaseBackend::Vxlan { vni, mac }) => match vni {
                // Leases of old flannels do not tell.
                None => Ok(Some(*mac)),
                Some(vni) if *vni == ours.vni => Ok(Some(*mac)),
                Some(vni) => Err(format!("its VNI is {vni}, ours is {}", ours.vni)),
            },
            (ours, LeaseBackend::Unnamed) => {
                Err(format!("it names no backend, ours is {}", ours.name()))
            }
            (ours, theirs) => {
                Err(format!("its backend is {}, ours is {}", theirs.name(), ours.name()))
            }
        }
    }
}

/// Leases that a newer one of the same host replaces, with the reason.
fn older_ones(usable: &[(&Lease, Peer)]) -> BTreeMap<Key, String> {
    let mut newest_first: Vec<&Lease> = usable.iter().map(|(lease, _peer)| *lease).collect();
    newest_first.sort_by_key(|lease| std::cmp::Reverse((lease.revision, lease.key)));
    let mut nodes = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    let mut older = BTreeMap::new();
    for lease in newest_first {
        let node = lease.value.node;
        let by_node = node.and_then(|node| nodes.get(&node)).copied();
        let by_address = addresses.get(&lease.value.public_ip.0).copied();
        let why = match (by_node, by_address) {
            (Some(newer), _) => format!("its host has the newer lease {newer}"),
            (None, Some(newer)) => format!("{newer} has the same public address and is newer"),
            (None, None) => {
                nodes.extend(node.map(|node| (node, lease.subnet())));
                addresses.insert(lease.value.public_ip.0, lease.subnet());
                continue;
            }
        };
        older.insert(lease.key, why);
    }
    older
}

fn ignored(lease: &Lease, why: impl Into<String>) -> Ignored {
    Ignored { key: lease.key.to_string(), why: why.into() }
}

#[cfg(test)]
mod tests;
