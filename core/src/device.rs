//! The tunnel device that a host needs, as a value.

mod seen;

use crate::config::Backend;
use crate::ids::{Family, Gateway, Mac, Mtu, Subnet, Underlay, Vni};
use crate::serving::Served;
use crate::wireguard::PrivateKey;

pub use seen::{Keyed, Seen, Sort, Tunnelled, address_differences, differences};

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
    /// The device of the `wireguard` backend.
    Wireguard(Wireguard),
}

/// A `WireGuard` device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wireguard {
    /// Its name, `flannel-wg`, or `flannel-wg-v6` with IPv6.
    pub name: String,
    /// What it carries.
    pub mtu: Mtu,
    /// Its UDP port.
    pub port: u16,
    /// What makes it this host's.
    pub key: PrivateKey,
    /// Its only address inside the network, with prefix length 32, or 128 with IPv6.
    pub address: Gateway,
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
    /// Its name, `flannel.<VNI>`, or `flannel-v6.<VNI>` with IPv6.
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
    /// Its only address inside the network, with prefix length 32, or 128 with IPv6.
    pub address: Gateway,
}

impl DeviceSpec {
    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Tun(tun) => &tun.name,
            Self::Vxlan(vxlan) => &vxlan.name,
            Self::Wireguard(wireguard) => &wireguard.name,
        }
    }

    /// Its only address inside the network.
    #[must_use]
    pub fn address(&self) -> Gateway {
        match self {
            Self::Tun(tun) => tun.address,
            Self::Vxlan(vxlan) => vxlan.address,
            Self::Wireguard(wireguard) => wireguard.address,
        }
    }

    /// What the device carries, which is what containers may send.
    #[must_use]
    pub fn mtu(&self) -> Mtu {
        match self {
            Self::Tun(tun) => tun.mtu,
            Self::Vxlan(vxlan) => vxlan.mtu,
            Self::Wireguard(wireguard) => wireguard.mtu,
        }
    }
}

/// IPv4 header and UDP header around a bare packet.
pub(crate) const UDP_OVERHEAD: u32 = 28;
/// IPv4, UDP, VXLAN and inner Ethernet headers (RFC 7348 section 5).
pub(crate) const VXLAN_OVERHEAD: u32 = 50;
/// IPv4 and UDP headers, 16 bytes of `WireGuard` before a packet and 16 behind it. flannel takes 80 off in any
/// case, which is the same with headers of IPv6.
pub(crate) const WIREGUARD_OVERHEAD: u32 = 60;
/// How much longer than a header of IPv4 one of IPv6 is.
const IPV6_OVERHEAD: u32 = 20;
/// What every link that carries IPv6 must carry (RFC 8200 section 5): below it Linux takes IPv6 off an
/// interface.
const LEAST_IPV6: u32 = 1280;

/// The uplink cannot carry the tunnel.
#[derive(Debug, thiserror::Error, Eq, PartialEq)]
pub enum TooSmall {
    /// Nothing is left.
    #[error("an MTU of {outer} leaves no room for the tunnel's {overhead} bytes of headers")]
    NoRoom {
        /// What the uplink carries.
        outer: Mtu,
        /// What the tunnel takes of it.
        overhead: u32,
    },
    /// Less is left than IPv6 needs.
    #[error(
        "an MTU of {outer} leaves less than {LEAST_IPV6} bytes beside the tunnel's {overhead} bytes of \
         headers, and IPv6 needs as many"
    )]
    NoIpv6 {
        /// What the uplink carries.
        outer: Mtu,
        /// What the tunnel takes of it.
        overhead: u32,
    },
}

/// What containers may send with this backend over `uplink`.
pub fn mtu(backend: &Backend, uplink: &Uplink) -> Result<Mtu, TooSmall> {
    let (outer, overhead) = match backend {
        Backend::HostGw | Backend::Alloc | Backend::Extension(_) => return Ok(uplink.mtu),
        Backend::Udp(_port) => (uplink.mtu, UDP_OVERHEAD),
        Backend::Vxlan(vxlan) => (vxlan.mtu.unwrap_or(uplink.mtu), VXLAN_OVERHEAD),
        Backend::Wireguard(options) => (options.mtu.unwrap_or(uplink.mtu), WIREGUARD_OVERHEAD),
    };
    inside(outer, overhead, Family::of(uplink.address.0))
}

/// What is left inside a tunnel over a way that carries `outer`; `overhead` counts with headers of IPv4.
pub(crate) fn inside(outer: Mtu, overhead: u32, family: Family) -> Result<Mtu, TooSmall> {
    let (overhead, least) = match family {
        Family::V4 => (overhead, 0),
        Family::V6 => (overhead + IPV6_OVERHEAD, LEAST_IPV6),
    };
    let mtu = outer.inside(overhead).ok_or(TooSmall::NoRoom { outer, overhead })?;
    (mtu.bytes() >= least).then_some(mtu).ok_or(TooSmall::NoIpv6 { outer, overhead })
}

/// What peers know a host's devices by, whatever becomes of those.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Kept {
    /// The hardware address of those of `vxlan`.
    pub mac: Option<Mac>,
    /// The key of those of `wireguard`.
    pub key: Option<PrivateKey>,
}

/// The device for this host: `subnet` is its own. `None` for a backend that needs none.
pub fn device(
    served: &Served,
    uplink: &Uplink,
    subnet: Subnet,
    kept: Kept,
) -> Result<Option<DeviceSpec>, TooSmall> {
    let mtu = mtu(&served.backend, uplink)?;
    let name = served.device_of(subnet.family()).unwrap_or_default();
    let address = subnet.gateway();
    Ok(match &served.backend {
        Backend::HostGw | Backend::Alloc | Backend::Extension(_) => None,
        Backend::Udp(_port) => Some(DeviceSpec::Tun(Tun { name, mtu, address })),
        Backend::Vxlan(vxlan) => Some(DeviceSpec::Vxlan(Vxlan {
            name,
            vni: vxlan.vni,
            // Whoever has the backend has one.
            mac: kept.mac.unwrap_or(Mac([0; 6])),
            mtu,
            port: vxlan.port,
            local: uplink.address,
            uplink: uplink.index,
            gbp: vxlan.gbp,
            learning: vxlan.learning,
            address,
        })),
        Backend::Wireguard(options) => {
            let port = options.port_of(subnet.family());
            kept.key.map(|key| DeviceSpec::Wireguard(Wireguard { name, mtu, port, key, address }))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Udp};
    use crate::ids::Revision;
    use crate::serving::Serving;

    fn uplink(mtu: u32) -> Uplink {
        Uplink {
            index: IfIndex(7),
            name: "eth0".to_owned(),
            address: Underlay([192, 168, 140, 22].into()),
            mtu: Mtu::new(mtu).expect("in range"),
        }
    }

    fn spec(backend: Backend, mtu: u32) -> Result<Option<DeviceSpec>, TooSmall> {
        let serving = Serving::new(backend, Revision(1));
        let subnet = "10.88.86.0/24".parse().expect("a subnet");
        device(serving.current(), &uplink(mtu), subnet, kept())
    }

    fn kept() -> Kept {
        let key = Some(PrivateKey::from_random([7; 32]));
        Kept { mac: Some(Mac([2, 0, 0, 0, 0, 1])), key }
    }

    fn made(backend: Backend) -> DeviceSpec {
        spec(backend, 1500).expect("there is room").expect("it has a device")
    }

    #[test]
    fn mtus_are_flannels() {
        let vxlan = |mtu| Backend::Vxlan(config::Vxlan { mtu, ..config::Vxlan::default() });
        let wireguard =
            |mtu| Backend::Wireguard(config::Wireguard { mtu, ..config::Wireguard::default() });
        let rows = [
            ("udp takes 28 bytes", Backend::default(), 1500, 1472),
            ("vxlan takes 50", vxlan(None), 1500, 1450),
            ("of jumbo frames too", vxlan(None), 9000, 8950),
            ("the option means the outside", vxlan(Mtu::new(1400)), 1500, 1350),
            ("wireguard takes 60", wireguard(None), 1500, 1440),
            ("its option means the outside as well", wireguard(Mtu::new(1400)), 1500, 1340),
            ("host-gw takes nothing", Backend::HostGw, 1500, 1500),
            ("what nobody wraps neither", Backend::Alloc, 1500, 1500),
        ];
        for (name, backend, outer, inner) in rows {
            assert_eq!(mtu(&backend, &uplink(outer)).expect(name).bytes(), inner, "{name}");
            let device = spec(backend, outer).expect(name);
            assert!(device.is_none_or(|device| device.mtu().bytes() == inner), "{name}");
        }
    }

    #[test]
    fn ipv6_takes_twenty_bytes_more_and_leaves_at_least_1280() {
        let uplink =
            |mtu| Uplink { address: Underlay("fd00:140::22".parse().unwrap()), ..uplink(mtu) };
        let vxlan = || Backend::Vxlan(config::Vxlan::default());
        assert_eq!(mtu(&vxlan(), &uplink(1500)), Ok(Mtu::new(1430).unwrap()));
        assert_eq!(mtu(&vxlan(), &uplink(1350)), Ok(Mtu::new(1280).unwrap()));
        assert_eq!(mtu(&Backend::HostGw, &uplink(1500)), Ok(Mtu::new(1500).unwrap()));
        let wireguard = Backend::Wireguard(config::Wireguard::default());
        assert_eq!(
            mtu(&wireguard, &uplink(1500)),
            Ok(Mtu::new(1420).unwrap()),
            "as flannel has it"
        );
        let words = mtu(&vxlan(), &uplink(1349)).unwrap_err().to_string();
        assert_eq!(
            words,
            "an MTU of 1349 leaves less than 1280 bytes beside the tunnel's 70 bytes of headers, and \
             IPv6 needs as many"
        );
        let serving = Serving::new(vxlan(), Revision(1));
        let subnet = "fd00:88:0:5e::/64".parse().unwrap();
        let made = device(serving.current(), &uplink(1500), subnet, kept());
        let made = made.unwrap().unwrap();
        assert_eq!((made.name(), made.mtu().bytes()), ("flannel-v6.1", 1430));
        assert_eq!(made.address().to_string(), "fd00:88:0:5e::");
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
        let spec = made(Backend::Vxlan(options));
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
    fn wireguard_has_a_device_for_each_family_with_flannels_name_and_port() {
        let serving = Serving::new(Backend::Wireguard(config::Wireguard::default()), Revision(1));
        for (subnet, name, port) in
            [("10.88.86.0/24", "flannel-wg", 51820), ("fd00:88:0:5e::/64", "flannel-wg-v6", 51821)]
        {
            let subnet: Subnet = subnet.parse().unwrap();
            let made = device(serving.current(), &uplink(1500), subnet, kept()).unwrap();
            let Some(DeviceSpec::Wireguard(made)) = made else { panic!("{made:?}") };
            assert_eq!((made.name.as_str(), made.port), (name, port));
            assert_eq!(made.address, subnet.gateway());
        }
    }

    #[test]
    fn udp_has_flannels_tun() {
        let spec = made(Backend::Udp(Udp { port: 7000, ..Udp::default() }));
        let DeviceSpec::Tun(tun) = spec else { panic!("the backend is udp") };
        assert_eq!((tun.name.as_str(), tun.address), ("flannel0", Gateway([10, 88, 86, 0].into())));
    }
}
