//! The network's configuration, the value of `<prefix>/config`.
//!
//! Read by flannel's rules, and by one that flannel lacks: `SubnetMin` must not lie above
//! `SubnetMax`.

mod change;
mod draft;
mod error;
mod keyed;
mod text;

use crate::extension::Extension;
use crate::ids::{Family, Mtu, Subnet, Vni};
use crate::lease::Key;
use crate::wireguard::{self, PresharedKey};

pub use change::{Difference, Effect, changes};
pub use draft::{Draft, DraftRange};
pub use error::Error;
pub(crate) use text::{backend as backend_from_json, options as backend_to_json};

/// The port that Linux gives a VXLAN device which asks for none. It predates the one that IANA
/// assigned, 4789, and is what flannel uses.
pub(crate) const LINUX_PORT: u16 = 8472;

/// A configuration that keeps every rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NetworkConfig {
    /// The whole overlay network: its addresses of IPv4, or those of IPv6 if there are no others.
    pub network: Subnet,
    /// The prefix length of every host's block.
    pub subnet_len: u8,
    /// The lowest block that a host may get.
    pub subnet_min: Subnet,
    /// The highest block that a host may get.
    pub subnet_max: Subnet,
    /// Its addresses of IPv6 beside those of IPv4; every host gets a block of each.
    pub ipv6: Option<Range>,
    /// How packets travel between hosts.
    pub backend: Backend,
    /// Should hosts write their firewall with nftables?
    pub nftables: bool,
}

/// How packets travel between hosts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Backend {
    /// Bare packets in UDP datagrams, through a TUN device and our own process.
    Udp(Udp),
    /// VXLAN in the kernel.
    Vxlan(Vxlan),
    /// Encrypted, by `WireGuard` in the kernel.
    Wireguard(Wireguard),
    /// Plain routes to hosts on the same link; nothing is wrapped.
    HostGw,
    /// Nothing but the subnet: others carry the packets.
    Alloc,
    /// Commands of the administrator's.
    Extension(Box<Extension>),
}

/// Options of the `udp` backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Udp {
    /// The UDP port of every host.
    pub port: u16,
    /// Route to peers on the same link without the tunnel. flannel has it for `vxlan` only, and does
    /// not mind it here.
    pub direct_routing: bool,
}

/// Options of the `vxlan` backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vxlan {
    /// The network identifier.
    pub vni: Vni,
    /// The UDP port; `None` is the kernel's own, 8472.
    pub port: Option<u16>,
    /// The MTU outside the tunnel; `None` is the uplink's.
    pub mtu: Option<Mtu>,
    /// Carry group policy bits.
    pub gbp: bool,
    /// Learn addresses from what arrives.
    pub learning: bool,
    /// Route to peers on the same link without the tunnel.
    pub direct_routing: bool,
}

/// Options of the `wireguard` backend: a device for each family, which flannel calls `separate`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wireguard {
    /// The UDP port of the device that carries IPv4.
    pub port: u16,
    /// The UDP port of the one that carries IPv6.
    pub port_v6: u16,
    /// The MTU outside the tunnel; `None` is the uplink's.
    pub mtu: Option<Mtu>,
    /// A second secret, the same on all hosts.
    pub psk: Option<PresharedKey>,
    /// Seconds of silence after which an empty packet goes out; none if zero.
    pub keepalive: u16,
}

/// The addresses of one family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    /// All of them.
    pub network: Subnet,
    /// The prefix length of every host's block.
    pub subnet_len: u8,
    /// The lowest block that a host may get.
    pub subnet_min: Subnet,
    /// The highest block that a host may get.
    pub subnet_max: Subnet,
}

impl NetworkConfig {
    /// Reads the value of `<prefix>/config` as flannel does: member names in any case, unknown
    /// members ignored, the last of several counts, no conversion between kinds of value.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        text::read(text)?.build()
    }

    /// The value of `<prefix>/config` that reads back as this, in compact JSON. What flannel would
    /// assume anyway is left out of `Backend`; the subnets are always spelled out.
    #[must_use]
    pub fn to_json(&self) -> String {
        text::write(self)
    }

    /// Could a host with this configuration own what `key` names?
    #[must_use]
    pub fn admits(&self, key: Key) -> bool {
        let mut blocks = key.blocks();
        self.ranges().all(|range| blocks.next().is_some_and(|block| range.admits(block)))
            && blocks.next().is_none()
    }

    /// What a host has whose block of one family is that: with both, the block of the other that has the
    /// same number. `None` if no host can have it.
    #[must_use]
    pub fn key_with(&self, subnet: Subnet) -> Option<Key> {
        let first = self.first();
        let Some(second) = self.ipv6 else {
            return first.admits(subnet).then(|| subnet.into());
        };
        let (subnet, ipv6) = if first.admits(subnet) {
            (subnet, first.beside(subnet, &second)?)
        } else {
            (second.beside(subnet, &first)?, subnet)
        };
        Some(Key { subnet, ipv6: Some(ipv6) })
    }

    /// The addresses of each family that there is, IPv4 first.
    pub fn ranges(&self) -> impl Iterator<Item = Range> + use<> {
        [Some(self.first()), self.ipv6].into_iter().flatten()
    }

    /// The addresses of IPv4, or those of IPv6 if there are no others.
    #[must_use]
    pub fn first(&self) -> Range {
        let Self { network, subnet_len, subnet_min, subnet_max, .. } = *self;
        Range { network, subnet_len, subnet_min, subnet_max }
    }

    /// The whole overlay network, in each family that there is.
    pub fn networks(&self) -> impl Iterator<Item = Subnet> + use<> {
        self.ranges().map(|range| range.network)
    }

    /// The same as far as one family is concerned, as a network of that alone; `None` without addresses
    /// of it.
    #[must_use]
    pub fn half(&self, family: Family) -> Option<Self> {
        let Range { network, subnet_len, subnet_min, subnet_max } =
            self.ranges().find(|range| range.network.family() == family)?;
        let (backend, nftables) = (self.backend.clone(), self.nftables);
        let ipv6 = None;
        Some(Self { network, subnet_len, subnet_min, subnet_max, ipv6, backend, nftables })
    }

    /// The networks for people: `10.88.0.0/16, fd00:88::/48`.
    #[must_use]
    pub fn words(&self) -> String {
        self.networks().map(|network| network.to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl Range {
    /// Could a host own `subnet`?
    #[must_use]
    pub fn admits(&self, subnet: Subnet) -> bool {
        subnet.len() == self.subnet_len && (self.subnet_min..=self.subnet_max).contains(&subnet)
    }

    /// The block of another range that has the number of this one here.
    pub(crate) fn beside(&self, subnet: Subnet, other: &Self) -> Option<Subnet> {
        let number =
            self.subnet_min.count_to(subnet).checked_sub(1).filter(|_| self.admits(subnet))?;
        other.subnet_min.ahead(number).filter(|found| other.admits(*found))
    }
}

impl Backend {
    /// The name in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Udp(_) => "udp",
            Self::Vxlan(_) => "vxlan",
            Self::Wireguard(_) => "wireguard",
            Self::HostGw => "host-gw",
            Self::Alloc => "alloc",
            Self::Extension(_) => "extension",
        }
    }
}

impl Default for Backend {
    fn default() -> Self {
        Self::Udp(Udp::default())
    }
}

impl Default for Udp {
    fn default() -> Self {
        Self { port: 8285, direct_routing: false }
    }
}

impl Wireguard {
    /// The UDP port of the device that carries that family.
    #[must_use]
    pub fn port_of(&self, family: Family) -> u16 {
        match family {
            Family::V4 => self.port,
            Family::V6 => self.port_v6,
        }
    }
}

impl Default for Wireguard {
    fn default() -> Self {
        let (port, port_v6) = (wireguard::PORT, wireguard::PORT_V6);
        Self { port, port_v6, mtu: None, psk: None, keepalive: 0 }
    }
}

impl Vxlan {
    /// The UDP port that this means: flannel's, which is Linux's own, unless it says another.
    #[must_use]
    pub fn udp_port(&self) -> u16 {
        self.port.unwrap_or(LINUX_PORT)
    }
}

impl Default for Vxlan {
    fn default() -> Self {
        let vni = Vni::ONE;
        Self { vni, port: None, mtu: None, gbp: false, learning: false, direct_routing: false }
    }
}

#[cfg(test)]
mod tests;
