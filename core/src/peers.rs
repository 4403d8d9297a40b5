//! Folds what happens in etcd into the set of hosts that this one sends to.
//!
//! One key can never take another's place: whatever is malformed or in conflict is left out alone,
//! with the reason, and a full snapshot replaces all that was known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::config::Backend;
use crate::ids::{Family, Mac, NodeId, Revision, Subnet, Underlay};
use crate::lease::{Event, Key, Lease, LeaseBackend, Listing, Malformed, Vtep};
use crate::serving::{Served, Serving, Way};
use crate::status::{Ignored, Reason};
use crate::wireguard::{Contact, End, PublicKey};

/// Another host, with all that is needed to send to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// The block of addresses it owns.
    pub subnet: Subnet,
    /// Where its end of the tunnel listens.
    pub underlay: Underlay,
    /// The hardware address of its tunnel device; only `vxlan` has one.
    pub mac: Option<Mac>,
    /// Who its tunnel device is, and where, if it is reached by `wireguard` or was just before.
    pub contact: Option<Contact>,
    /// How it is reached: one of the ways that this host serves.
    pub by: Way,
    /// Is it Twill that runs there? It finishes packets which a kernel left unfinished.
    pub twill: bool,
}

/// What tells this host's lease from the others', and what it can send to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Own {
    /// Which host this is.
    pub node: NodeId,
    /// Its place among the addresses of IPv4, or of IPv6 if there are no others.
    pub home: Home,
    /// Its place among those of IPv6, beside IPv4.
    pub ipv6: Option<Home>,
    /// The hardware address of its VXLAN devices, if it has any.
    pub mac: Option<Mac>,
    /// The public key of its `WireGuard` devices, if it has any.
    pub key: Option<PublicKey>,
    /// How packets travel between hosts, now and for as long as somebody still does it otherwise.
    pub serving: Serving,
}

/// A host's place among the addresses of one family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Home {
    /// The whole overlay network.
    pub network: Subnet,
    /// The block of addresses it owns.
    pub subnet: Subnet,
    /// Where its end of the tunnel listens.
    pub public_ip: Underlay,
}

/// The peers of one host, and what it makes no use of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct View {
    /// Ordered by subnet; no two share a block, a hardware address, a key or an underlay address.
    pub peers: Vec<Peer>,
    /// Leases and keys left out, and why.
    pub ignored: Vec<Ignored>,
    /// Which of the served backends some host uses, by [`Served::since`]: the one that this host's own
    /// lease names, as etcd has it, is among them.
    pub used: BTreeSet<Revision>,
    /// What peers that are reached by commands tell them, by their subnets.
    pub data: BTreeMap<Subnet, String>,
    /// The way that this host's own lease names, as etcd has it.
    pub told: Option<Way>,
}

/// All that is known of `subnets/` in etcd.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Known {
    leases: BTreeMap<Key, Lease>,
    /// What a host said before it named another backend.
    before: BTreeMap<Key, Lease>,
    malformed: BTreeMap<String, Malformed>,
}

impl Known {
    /// Takes one event in. The order must be etcd's.
    pub fn fold(&mut self, event: Event) {
        match event {
            Event::Put(lease) => {
                self.malformed.remove(&lease.key.to_string());
                let old = self.leases.insert(lease.key, lease.clone());
                self.remember(old, &lease);
            }
            Event::Gone(key, _revision) => {
                self.malformed.remove(&key.to_string());
                self.leases.remove(&key);
                self.before.remove(&key);
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
        self.before = before.before;
        self.before.retain(|key, _lease| self.leases.contains_key(key));
        for (key, old) in before.leases {
            if let Some(new) = self.leases.get(&key).cloned() {
                self.remember(Some(old), &new);
            }
        }
        self.malformed =
            listing.malformed.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
    }

    /// A host that has moved to a backend which this one does not serve yet goes on taking packets
    /// the old way, so what it said before is worth keeping.
    fn remember(&mut self, old: Option<Lease>, new: &Lease) {
        let same_host = |old: &Lease| {
            let (old, new) = (&old.value, &new.value);
            if old.node.is_some() { old.node == new.node } else { old.public_ip == new.public_ip }
        };
        match old {
            Some(old) if !same_host(&old) => drop(self.before.remove(&new.key)),
            Some(old) if old.value.backend != new.value.backend => {
                self.before.insert(new.key, old);
            }
            _other => {}
        }
    }

    /// How many keys are malformed.
    #[must_use]
    pub fn malformed(&self) -> usize {
        self.malformed.len()
    }

    /// Every lease that can be read, or could be before somebody spoilt it.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// What now stands under the key: `None` also if somebody spoilt the value.
    #[must_use]
    pub fn lease(&self, key: Key) -> Option<&Lease> {
        self.leases.get(&key).filter(|_lease| !self.malformed.contains_key(&key.to_string()))
    }

    /// Sorts every known lease into peers and leases of which `own` makes no use.
    ///
    /// Two leases with one owner or one underlay address are one host that moved: the newest holds.
    /// Two hosts with one hardware address, or with blocks that overlap, are somebody's mistake:
    /// the lower subnet holds, which every host agrees on and no renewal changes.
    ///
    /// A host with both families is two peers, and may be known by one of its halves alone.
    #[must_use]
    pub fn view(&self, own: &Own) -> View {
        let mut view = View::default();
        for home in own.homes() {
            self.sort(&mut view, (own, home));
        }
        let spoilt = self.malformed.values();
        view.ignored.extend(spoilt.map(|entry| Ignored {
            key: entry.key.clone(),
            why: entry.why.clone(),
            reason: Reason::Malformed,
        }));
        if own.ipv6.is_some() {
            // What is wrong with both halves is told once.
            let mut told = BTreeSet::new();
            view.ignored.retain(|entry| told.insert((entry.key.clone(), entry.why.clone())));
        }
        view
    }

    /// As far as the addresses of one family go.
    fn sort(&self, view: &mut View, (own, home): (&Own, Home)) {
        let family = home.network.family();
        let mut usable = Vec::new();
        let now = own.serving.current().backend.way();
        let ours = self.leases.get(&own.key()).and_then(|lease| own.serving.behind(lease));
        let told = ours.is_none_or(|served| served.backend.way() == now);
        for lease in self.leases.values() {
            if lease.key == own.key() {
                view.own_lease(own, lease);
                continue;
            }
            let Some(half) = lease.half(family) else {
                let why = format!("it has no subnet of {family}");
                view.ignored.push(ignored(lease, Reason::OutsideNetwork, why));
                continue;
            };
            let before = self.before.get(&lease.key).and_then(|before| before.half(family));
            match own.judge((home, told), (&half, before.as_ref())) {
                Verdict::Usable(peer, since) => usable.push((lease, half, peer, since)),
                Verdict::Unusable(reason, why) => {
                    view.ignored.push(ignored(lease, reason, why));
                }
            }
        }
        let mut superseded = older_ones(usable.iter().map(|(lease, ..)| *lease).collect());
        let mut taken = Taken::default();
        for (lease, half, peer, since) in usable {
            let overlap = view.peers.last().filter(|last| last.subnet.overlaps(peer.subnet));
            let why = match (superseded.remove(&lease.key), overlap) {
                (Some(why), _) => Some((Reason::Superseded, why)),
                (None, Some(last)) => {
                    Some((Reason::Overlap, format!("its subnet overlaps {}", last.subnet)))
                }
                (None, None) => taken.clash(&peer),
            };
            if let Some((reason, why)) = why {
                view.ignored.push(ignored(lease, reason, why));
                continue;
            }
            taken.add(&peer);
            if let (Way::Extension, LeaseBackend::Extension { data: Some(data) }) =
                (peer.by, &half.value.backend)
            {
                view.data.insert(peer.subnet, data.clone());
            }
            view.peers.push(peer);
            view.used.insert(since);
        }
    }
}

/// What one host alone may have in a network.
#[derive(Default)]
struct Taken {
    macs: BTreeMap<Mac, Subnet>,
    keys: BTreeMap<PublicKey, Subnet>,
}

impl Taken {
    fn add(&mut self, peer: &Peer) {
        self.macs.extend(peer.mac.map(|mac| (mac, peer.subnet)));
        self.keys.extend(peer.contact.map(|contact| (contact.key, peer.subnet)));
    }

    fn clash(&self, peer: &Peer) -> Option<(Reason, String)> {
        let clash = |reason, what: &str, other: &Subnet| {
            (reason, format!("{other} has the same {what}; one of the two must change"))
        };
        let mac = peer.mac.and_then(|mac| self.macs.get(&mac));
        let mac = mac.map(|other| clash(Reason::HardwareAddress, "hardware address", other));
        let key = peer.contact.and_then(|contact| self.keys.get(&contact.key));
        mac.or_else(|| key.map(|other| clash(Reason::PublicKey, "public key", other)))
    }
}

impl View {
    fn own_lease(&mut self, own: &Own, lease: &Lease) {
        let served = own.serving.behind(lease);
        self.used.extend(served.map(|served| served.since));
        self.told = served.map(|served| served.backend.way());
    }
}

enum Verdict {
    /// Since when there is the backend by which it is reached.
    Usable(Peer, Revision),
    Unusable(Reason, String),
}

impl Own {
    /// Its place in each family that there is.
    pub fn homes(&self) -> impl Iterator<Item = Home> + use<> {
        [Some(self.home), self.ipv6].into_iter().flatten()
    }

    /// Where its lease is.
    #[must_use]
    pub fn key(&self) -> Key {
        Key { subnet: self.home.subnet, ipv6: self.ipv6.map(|home| home.subnet) }
    }

    /// The half of a lease, and what its owner said before it named another backend.
    /// `told`: does etcd say of this host what it does now?
    fn judge(
        &self,
        (home, told): (Home, bool),
        (lease, before): (&Lease, Option<&Lease>),
    ) -> Verdict {
        let Lease { key, value, .. } = lease;
        let path = self.path_to(lease);
        // Who does not know our key takes nothing from us, whatever it says of itself.
        let known = |served: &Served| told || served.backend.way() != Way::Wireguard;
        let path =
            path.filter(|(served, _)| known(served)).or_else(|| self.path_to(before?)).or(path);
        let Some((served, theirs)) = path else {
            let (reason, why) = self.why_no_path_to(&value.backend);
            return Verdict::Unusable(reason, why);
        };
        let mac = match theirs {
            LeaseBackend::Vxlan(Vtep { mac, .. }) => Some(*mac),
            _other => None,
        };
        let contact = self.contact(lease).or_else(|| self.contact(before?));
        let (reason, why) = if value.node == Some(self.node) {
            (Reason::ThisHost, "it is an earlier lease of this host")
        } else if value.public_ip == home.public_ip {
            (Reason::ThisHost, "it has the public address of this host")
        } else if let Some(why) = home.unreachable(value.public_ip) {
            (Reason::PublicAddress, why)
        } else if Family::of(value.public_ip.0) != key.subnet.family() {
            (Reason::PublicAddress, "its public address and its subnet are of two families")
        } else if key.subnet.overlaps(home.subnet) {
            (Reason::Overlap, "it overlaps the subnet of this host")
        } else if !home.network.holds(key.subnet) {
            // It would draw packets for hosts of the world, etcd's perhaps, into the tunnel.
            (Reason::OutsideNetwork, "its subnet is not part of the network")
        } else if mac.is_some_and(|mac| !mac.is_unicast()) {
            // In the forwarding database it would draw everybody's packets.
            (Reason::HardwareAddress, "its hardware address is not that of one device")
        } else if mac.is_some() && mac == self.mac {
            (Reason::HardwareAddress, "it has the hardware address of this host")
        } else if contact.is_some_and(|contact| Some(contact.key) == self.key) {
            (Reason::PublicKey, "it has the public key of this host")
        } else {
            let Key { subnet, .. } = *key;
            let (underlay, by) = (value.public_ip, served.backend.way());
            let twill = value.node.is_some();
            let peer = Peer { subnet, underlay, mac, contact, by, twill };
            return Verdict::Usable(peer, served.since);
        };
        Verdict::Unusable(reason, why.to_owned())
    }

    /// By which of the served backends, and what the lease says of it.
    fn path_to<'a>(&'a self, lease: &'a Lease) -> Option<(&'a Served, &'a LeaseBackend)> {
        self.serving.behind(lease).map(|served| (served, &lease.value.backend))
    }

    /// A lease without a port means the one that whoever reads it has.
    fn contact(&self, lease: &Lease) -> Option<Contact> {
        let LeaseBackend::Wireguard(End { key, port }) = lease.value.backend else { return None };
        let options = self.serving.all().filter_map(|served| match &served.backend {
            Backend::Wireguard(options) => Some(options),
            _other => None,
        });
        let own = options.last()?.port_of(lease.key.subnet.family());
        Some(Contact { key, port: port.unwrap_or(own) })
    }

    fn why_no_path_to(&self, theirs: &LeaseBackend) -> (Reason, String) {
        let ours = self.serving.current().backend.name();
        match (self.serving.current().backend.way(), theirs) {
            (Way::Vxlan(ours, _), LeaseBackend::Vxlan(Vtep { vni: Some(vni), .. })) => {
                (Reason::OtherVni, format!("its VNI is {vni}, ours is {ours}"))
            }
            (_, LeaseBackend::Unnamed) => {
                (Reason::OtherBackend, format!("it names no backend, ours is {ours}"))
            }
            (_, theirs) => {
                (Reason::OtherBackend, format!("its backend is {}, ours is {ours}", theirs.name()))
            }
        }
    }
}

impl Home {
    /// Why nothing can be sent to that address, if so.
    fn unreachable(&self, Underlay(address): Underlay) -> Option<&'static str> {
        if address.is_unspecified() {
            Some("it has no public address")
        } else if address.is_multicast()
            || address.is_loopback()
            || address == IpAddr::from(Ipv4Addr::BROADCAST)
        {
            Some("its public address is not that of another host")
        } else if self.network.contains(address) {
            // A tunnel through itself.
            Some("its public address lies inside the overlay network")
        } else {
            None
        }
    }
}

/// Leases that a newer one of the same host replaces, with the reason.
fn older_ones(usable: Vec<&Lease>) -> BTreeMap<Key, String> {
    let mut newest_first = usable;
    newest_first.sort_by_key(|lease| std::cmp::Reverse((lease.revision, lease.key)));
    let mut nodes = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    let mut older = BTreeMap::new();
    for lease in newest_first {
        let node = lease.value.node;
        let by_node = node.and_then(|node| nodes.get(&node));
        let by_address = addresses.get(&lease.value.public_ip.0);
        let why = match (by_node, by_address) {
            (Some(newer), _) => format!("its host has the newer lease {newer}"),
            (None, Some(newer)) => format!("{newer} has the same public address and is newer"),
            (None, None) => {
                nodes.extend(node.map(|node| (node, lease.key.words())));
                addresses.insert(lease.value.public_ip.0, lease.key.words());
                continue;
            }
        };
        older.insert(lease.key, why);
    }
    older
}

fn ignored(lease: &Lease, reason: Reason, why: String) -> Ignored {
    Ignored { key: lease.key.to_string(), why, reason }
}

#[cfg(test)]
mod tests;
