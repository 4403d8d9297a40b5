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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Draft, Udp};

    fn spec(backend: Backend, mtu: u32) -> Result<DeviceSpec, TooSmall> {
        let network = "10.88.0.0/16".parse().expect("a network");
        let config = Draft { backend, ..Draft::new(network) }.build().expect("it keeps the rules");
        let uplink = Uplink {
            index: IfIndex(7),
            name: "eth0".to_owned(),
            address: Underlay([192, 168, 140, 22].into()),
            mtu: Mtu::new(mtu).expect("in range"),
        };
        let subnet = "10.88.86.0/24".parse().expect("a subnet");
        device(&config, &uplink, subnet, Mac([2, 0, 0, 0, 0, 1]))
    }

    #[test]
    fn mtus_are_flannels() {
        let vxlan = |mtu| Backend::Vxlan(config::Vxlan { mtu, ..config::Vxlan::default() });
        let rows = [
            ("udp takes 28 bytes", Backend::default(), 1500, 1472),
            ("vxlan takes 50", vxlan(None), 1500, 1450),
            ("of jumbo frames too", vxlan(None), 9000, 8950),
            ("the option means the outside", vxlan(Mtu::new(1400)), 1500, 1350),
        ];
        for (name, backend, outer, inner) in rows {
            assert_eq!(spec(backend, outer).expect(name).mtu().bytes(), inner, "{name}");
        }
    }

    #[test]
    fn an_uplink_may_be_too_small() {
        assert_eq!(
            spec(Backend::Vxlan(config::Vxlan::default()), 100)
                .expect_err("50 are left")
                .to_string(),
            "an MTU of 100 leaves no room for the tunnel's 50 bytes of headers"
        );
    }

    #[test]
    fn vxlan_devices_carry_the_options() {
        let vni = Vni::new(7).expect("in range");
        let options =
            config::Vxlan { vni, port: Some(4789), gbp: true, ..config::Vxlan::default() };
        let spec = spec(Backend::Vxlan(options), 1500).expect("there is room");
        assert_eq!(spec.name(), "flannel.7");
        let DeviceSpec::Vxlan(vxlan) = spec else { panic!("the backend is vxlan") };
        assert_eq!(
            (vxlan.vni, vxlan.port, vxlan.gbp, vxlan.learning),
            (vni, Some(4789), true, false)
        );
        assert_eq!(
            vxlan.local,
            Underlay([192, 168, 140, 22].into()),
            "the address that it really has"
        );
        assert_eq!((vxlan.uplink, vxlan.address), (IfIndex(7), Gateway([10, 88, 86, 0].into())));
    }

    #[test]
    fn udp_has_flannels_tun() {
        let spec = spec(Backend::Udp(Udp { port: 7000 }), 1500).expect("there is room");
        let DeviceSpec::Tun(tun) = spec else { panic!("the backend is udp") };
        assert_eq!((tun.name.as_str(), tun.address), ("flannel0", Gateway([10, 88, 86, 0].into())));
    }
}
