//! Several networks of one host: what they must not share, and who goes first.
//!
//! Whoever has a thing keeps it while its network is served, whatever the configuration of another network
//! says: a mistake in one network takes nothing away from another. Of networks that come at the same
//! time the one that is named first goes first.

pub mod catalogue;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::config::{Backend, NetworkConfig};
use crate::ids::{NetworkName, Subnet, Vni};
use crate::serving::Serving;

pub use words::{Networks, NoNetworks};

/// What one network uses of its host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claims {
    ranges: BTreeSet<Subnet>,
    devices: BTreeSet<String>,
    segments: BTreeSet<(Vni, u16)>,
    /// UDP ports of tunnels in user space.
    ports: BTreeSet<u16>,
    /// UDP ports of VXLAN, each with group policy or without.
    sockets: BTreeMap<u16, bool>,
}

/// Something that two networks of one host cannot both have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Shared {
    /// Overlapping addresses: the range of the one, and that of the other.
    Range(Subnet, Subnet),
    /// A VXLAN segment on one port.
    Segment(Vni, u16),
    /// A tunnel device.
    Device(String),
    /// A UDP port.
    Port(u16),
    /// The kernel's VXLAN socket of a port, with group policy and without.
    GroupPolicy(u16),
}

/// Why a network cannot be served beside another one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conflict {
    /// The one that is refused.
    pub network: NetworkName,
    /// The one that has it.
    pub holder: NetworkName,
    /// What.
    pub shared: Shared,
}

/// What the networks of one host use.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ledger {
    order: Vec<NetworkName>,
    claims: BTreeMap<NetworkName, Claims>,
    /// Those that have nothing to claim at the moment.
    passed: BTreeSet<NetworkName>,
}

impl Claims {
    /// What it takes to serve a network under that configuration.
    #[must_use]
    pub fn of(config: &NetworkConfig, serving: &Serving) -> Self {
        let mut claims = Self { ranges: config.networks().collect(), ..Self::default() };
        for served in serving.all() {
            let device = |network: Subnet| served.device_of(network.family());
            claims.devices.extend(config.networks().filter_map(device));
            match &served.backend {
                Backend::Vxlan(vxlan) => {
                    claims.segments.insert((vxlan.vni, vxlan.udp_port()));
                    claims.sockets.insert(vxlan.udp_port(), vxlan.gbp);
                }
                Backend::Udp(udp) => _ = claims.ports.insert(udp.port),
                // The kernel's sockets of one device are of both families.
                Backend::Wireguard(options) => {
                    let ports = config.networks().map(|it| options.port_of(it.family()));
                    claims.ports.extend(ports);
                }
                Backend::HostGw | Backend::Alloc | Backend::Extension(_) => {}
            }
        }
        claims
    }

    /// And other ranges besides, for as long as a host is on its way from one to the other.
    #[must_use]
    pub fn and(mut self, ranges: impl IntoIterator<Item = Subnet>) -> Self {
        self.ranges.extend(ranges);
        self
    }

    /// All UDP ports, of whichever kind.
    #[must_use]
    pub fn udp_ports(&self) -> BTreeSet<u16> {
        self.ports.iter().chain(self.sockets.keys()).copied().collect()
    }

    /// The first thing that both would have.
    fn shared(&self, other: &Self) -> Option<Shared> {
        // From what people choose to what follows from it.
        self.range(other)
            .or_else(|| self.segment(other))
            .or_else(|| self.port(other))
            .or_else(|| {
                self.devices.intersection(&other.devices).next().cloned().map(Shared::Device)
            })
            .or_else(|| self.group_policy(other))
    }

    fn range(&self, other: &Self) -> Option<Shared> {
        let pairs =
            self.ranges.iter().flat_map(|own| other.ranges.iter().map(move |it| (*own, *it)));
        let mut overlapping = pairs.filter(|(own, theirs)| own.overlaps(*theirs));
        overlapping.next().map(|(own, theirs)| Shared::Range(own, theirs))
    }

    fn segment(&self, other: &Self) -> Option<Shared> {
        let mut both = self.segments.intersection(&other.segments);
        both.next().map(|(vni, port)| Shared::Segment(*vni, *port))
    }

    fn port(&self, other: &Self) -> Option<Shared> {
        let taken = |of: &Self, port| of.ports.contains(port) || of.sockets.contains_key(port);
        let own = self.ports.iter().find(|port| taken(other, port));
        own.or_else(|| other.ports.iter().find(|port| taken(self, port))).copied().map(Shared::Port)
    }

    fn group_policy(&self, other: &Self) -> Option<Shared> {
        let differs = |(port, gbp): &(&u16, &bool)| {
            other.sockets.get(port).is_some_and(|theirs| theirs != *gbp)
        };
        self.sockets.iter().find(differs).map(|(port, _gbp)| Shared::GroupPolicy(*port))
    }
}

impl Ledger {
    /// Nobody has anything yet; the first goes first.
    #[must_use]
    pub fn new(order: Vec<NetworkName>) -> Self {
        Self { order, ..Self::default() }
    }

    /// From now on these go first, in this order. Who is not among them waits for all of them.
    pub fn arrange(&mut self, order: Vec<NetworkName>) {
        self.order = order;
    }

    /// The host is in that network no more: it has nothing, and if it comes again it comes for the first
    /// time.
    pub fn forget(&mut self, network: &NetworkName) {
        self.order.retain(|name| name != network);
        self.claims.remove(network);
        self.passed.remove(network);
    }

    /// What a network had when the host was up last: it is served before anybody can claim the same.
    pub fn had(&mut self, network: &NetworkName, claims: Claims) {
        if self.conflict(network, &claims).is_none() {
            self.claims.insert(network.clone(), claims);
        }
    }

    /// Has everybody before it said what it wants, or that it wants nothing now?
    #[must_use]
    pub fn is_its_turn(&self, network: &NetworkName) -> bool {
        let mut before = self.order.iter().take_while(|name| *name != network);
        let spoken =
            |name: &NetworkName| self.claims.contains_key(name) || self.passed.contains(name);
        before.all(spoken)
    }

    /// From now on that network uses this in place of what it had; if it cannot have it, all stays as it
    /// was.
    pub fn claim(&mut self, network: &NetworkName, claims: Claims) -> Result<(), Conflict> {
        if let Some(conflict) = self.conflict(network, &claims) {
            self.passed.insert(network.clone());
            return Err(conflict);
        }
        self.claims.insert(network.clone(), claims);
        Ok(())
    }

    /// It wants nothing at the moment: nobody waits for it, and what it has stays its own.
    pub fn pass(&mut self, network: &NetworkName) {
        self.passed.insert(network.clone());
    }

    /// It has nothing any more.
    pub fn release(&mut self, network: &NetworkName) {
        self.claims.remove(network);
        self.pass(network);
    }

    /// The tunnel devices of all networks but that one.
    pub fn devices_beside(&self, network: &NetworkName) -> impl Iterator<Item = &String> {
        self.beside(network).flat_map(|(_name, claims)| &claims.devices)
    }

    /// Does any network but that one have addresses in there?
    #[must_use]
    pub fn is_taken_beside(&self, network: &NetworkName, range: Subnet) -> bool {
        self.beside(network)
            .any(|(_name, claims)| claims.ranges.iter().any(|it| it.overlaps(range)))
    }

    fn beside(&self, network: &NetworkName) -> impl Iterator<Item = (&NetworkName, &Claims)> {
        self.claims.iter().filter(move |(name, _claims)| *name != network)
    }

    fn conflict(&self, network: &NetworkName, claims: &Claims) -> Option<Conflict> {
        self.beside(network).find_map(|(holder, theirs)| {
            let shared = claims.shared(theirs)?;
            Some(Conflict { network: network.clone(), holder: holder.clone(), shared })
        })
    }
}

impl std::error::Error for Conflict {}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, holder, shared } = self;
        write!(f, "network {network} cannot be served beside network {holder}: ")?;
        match shared {
            Shared::Range(own, theirs) => write!(f, "{own} overlaps {theirs}"),
            Shared::Segment(vni, port) => write!(f, "both use vxlan {vni} on port {port}"),
            Shared::Device(device) => write!(f, "both need the device {device}"),
            Shared::Port(port) => write!(f, "both use UDP port {port}"),
            Shared::GroupPolicy(port) => {
                write!(f, "one uses UDP port {port} with group policy, the other without")
            }
        }
    }
}

impl Conflict {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        let Self { network, shared, .. } = self;
        let change = match shared {
            Shared::Range(..) => "--network 10.99.0.0/16",
            Shared::Segment(..) | Shared::Device(_) => "--vni 99",
            Shared::Port(_) | Shared::GroupPolicy(_) => "--port 8999",
        };
        format!(
            "change one of them, such as `twillctl --network-name {network} network set {change}`, or \
             take one out of --networks"
        )
    }
}

#[cfg(test)]
mod tests;
