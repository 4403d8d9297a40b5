//! The firewall rules of a host, as values: what they depend on, and what follows from it for each of
//! Linux's two engines.
//!
//! [`iptables`] makes one `iptables-restore --noflush` of it, [`nftables`] one `nft -f`; [`choose`]
//! says which of the two. Chains, rules and comments of flannel's kind are flannel's, so that a
//! flanneld which ran here before, or runs here after, finds its own rules.

pub mod choose;
pub mod gate;
pub mod iptables;
pub mod nftables;
pub mod ports;

use crate::ids::{Family, Subnet};

pub use choose::{Engine, Variant};

/// What the rules depend on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// The whole overlay network.
    pub network: Subnet,
    /// This host's block.
    pub subnet: Subnet,
    /// Masquerade what leaves the overlay?
    pub masquerade: Option<Masquerade>,
    /// Accept forwarded packets from and to the overlay?
    pub forward: bool,
    /// Where packets of the overlay come in from other hosts, and leave to them.
    pub entrances: Vec<Entrance>,
    /// Does the network's configuration ask for nftables?
    pub nftables: bool,
}

/// An interface that leads to other hosts of the overlay.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Entrance {
    /// Nothing but packets of the overlay come through it.
    Tunnel(String),
    /// The uplink, where they come unwrapped beside all others.
    Uplink(String),
}

impl Entrance {
    /// Its name.
    #[must_use]
    pub fn interface(&self) -> &str {
        let (Self::Tunnel(name) | Self::Uplink(name)) = self;
        name
    }
}

/// How packets are masqueraded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Masquerade {
    /// How their source ports are chosen.
    pub ports: Ports,
    /// What becomes of the address of a client outside who speaks to a container of another host.
    pub clients: Clients,
}

/// How source ports of masqueraded packets are chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ports {
    /// At random, so that two flows never race for one port.
    FullyRandom,
    /// The kernel's choice.
    Plain,
}

/// What a container sees of a client that reaches it through another host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Clients {
    /// That host's address in the overlay, so that the answer goes back the same way. As flannel.
    Hidden,
    /// The client's own address. The answer goes the straight way.
    Kept,
}

/// Each network with each other one of the host that packets could go to: none goes from the first to
/// the second.
fn apart(policies: &[Policy]) -> impl Iterator<Item = (Subnet, Subnet)> {
    let networks = || policies.iter().map(|policy| policy.network);
    networks().flat_map(move |from| {
        let other = move |to: &Subnet| *to != from && to.family() == from.family();
        networks().filter(other).map(move |to| (from, to))
    })
}

/// A packet with this bit was marked by somebody who masquerades it elsewhere; Kubernetes does.
const MARK: u32 = 0x4000;

impl Policy {
    /// Of which family its packets are.
    #[must_use]
    pub fn family(&self) -> Family {
        self.network.family()
    }

    /// Nobody answers to these, so nothing is to be gained from rewriting where they come from.
    fn multicast(&self) -> &'static str {
        match self.family() {
            Family::V4 => "224.0.0.0/4",
            Family::V6 => "ff00::/8",
        }
    }
}

#[cfg(test)]
mod tests;
