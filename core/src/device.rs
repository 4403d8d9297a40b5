//! The tunnel device that a host needs, as a value.

use crate::config::{Backend, NetworkConfig};
use crate::ids::{Gateway, Mac, Mtu, Subnet, Underlay, Vni};

/// The kernel's number for an interface of one network namespace.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IfIndex(pub u32);

/// The interface that carries tunnel packets to the other hosts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Uplink {
    /// Its number.
    pub index: IfIndex,
    /// Its name.
    pub name: String,
    /// Its own address on the network that joins the hosts.
    pub address: Underlay,
    /// What it carries.
    pub mtu: Mtu,
}

/// A tunnel device: how to make it, and how to tell that it is still right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DeviceSpec {
    /// The TUN device of the `udp` backend.
    Tun(Tun),
    /// The device of the `vxlan` backend.
    Vxlan(Vxlan),
}

/// A TUN device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tun {
    /// Its name, `flannel0`.
    pub name: String,
    /// What it carries.
    pub mtu: Mtu,
    /// Its only address, with prefix length 32.
    pub address: Gateway,
}

/// A VXLAN device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vxlan {
    /// Its name, `flannel.<VNI>`.
    pub name: String,
    /// Its network identifier.
    pub vni: Vni,
    /// Its hardware address, which peers know from our lease.
    pub mac: Mac,
    /// What it carries.
    pub mtu: Mtu,
    /// Its UDP port; `None` leaves the choice to the kernel (8472).
    pub port: Option<u16>,
    /// The source address of its packets.
    pub local: Underlay,
    /// The interface that carries its packets.
    pub uplink: IfIndex,
    /// Does it carry group policy bits?
    pub gbp: bool,
    /// Does it learn from what it receives?
    pub learning: bool,
    /// Its only address inside the network, with prefix length 32.
    pub address: Gateway,
}

impl DeviceSpec {
    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Tun(tun) => &tun.name,
            Self::Vxlan(vxlan) => &vxlan.name,
        }
    }

    /// What the device carries, which is what containers may send.
    #[must_use]
    pub fn mtu(&self) -> Mtu {
        match self {
            Self::Tun(tun) => tun.mtu,
            Self::Vxlan(vxlan) => vxlan.mtu,
        }
    }
}

/// IPv4 header and UDP header around a bare packet.
const UDP_OVERHEAD: u32 = 28;
/// IPv4, UDP, VXLAN and inner Ethernet headers (RFC 7348 section 5).
const VXLAN_OVERHEAD: u32 = 50;

/// The uplink cannot carry the tunnel.
#[derive(Debug, thiserror::Error, Eq, PartialEq)]
#[error("an MTU of {outer} leaves no room for the tunnel's {overhead} bytes of headers")]
pub struct TooSmall {
    outer: Mtu,
    overhead: u32,
}

/// The device for this host: `subnet` is its own, `mac` the hardware address it keeps for life.
pub fn device(
    config: &NetworkConfig,
    uplink: &Uplink,
    subnet: Subnet,
    mac: Mac,
) -> Result<DeviceSpec, TooSmall> {
    let inside = |outer: Mtu, overhead| outer.inside(overhead).ok_or(TooSmall { outer, overhead });
    Ok(match &config.backend {
        Backend::Udp(_port) => DeviceSpec::Tun(Tun {
            name: "flannel0".to_owned(),
            mtu: inside(uplink.mtu, UDP_OVERHEAD)?,
            address: subnet.gateway(),
        }),
        Backend::Vxlan(vxlan) => DeviceSpec::Vxlan(Vxlan {
            name: format!("flannel.{}", vxlan.vni),
            vni: vxlan.vni,
            mac,
            mtu: inside(vxlan.mtu.unwrap_or(uplink.mtu), VXLAN_OVERHEAD)?,
            port: vxlan.port,
            local: uplink.address,
            uplink: uplink.index,
            gbp: vxlan.gbp,
            learning: vxlan.learning,
            address: subnet.gateway(),
        }),
    })
}
