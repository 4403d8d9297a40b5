//! The network's configuration, the value of `<prefix>/config`.

use crate::ids::{Mtu, Subnet, Vni};

/// A configuration that keeps every rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NetworkConfig {
    /// The whole overlay network.
    pub network: Subnet,
    /// The prefix length of every host's block.
    pub subnet_len: u8,
    /// The lowest block that a host may get.
    pub subnet_min: Subnet,
    /// The highest block that a host may get.
    pub subnet_max: Subnet,
    /// How packets travel between hosts.
    pub backend: Backend,
}

/// How packets travel between hosts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Backend {
    /// Bare packets in UDP datagrams, through a TUN device and our own process.
    Udp(Udp),
    /// VXLAN in the kernel.
    Vxlan(Vxlan),
}

/// Options of the `udp` backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Udp {
    /// The UDP port of every host.
    pub port: u16,
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
