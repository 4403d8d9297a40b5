//! Interfaces as they are, and in what a tunnel device differs from what it should be.

use std::net::IpAddr;

use super::{DeviceSpec, IfIndex, Vxlan};
use crate::config::LINUX_PORT;
use crate::ids::{Family, Mac};
use crate::wireguard::PublicKey;

/// One interface of a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Its number.
    pub index: IfIndex,
    /// Its name.
    pub name: String,
    /// What sort of interface it is.
    pub sort: Sort,
    /// What it carries, in bytes.
    pub mtu: u32,
    /// Is it up?
    pub up: bool,
    /// Is there anybody at its other end?
    pub carrier: bool,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// The bridge that it is a port of.
    pub bridge: Option<IfIndex>,
    /// Its addresses, each with the length of its prefix.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// What sort of interface it is, as far as it matters here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Sort {
    /// A VXLAN device.
    Vxlan(Tunnelled),
    /// A TUN device.
    Tun,
    /// A `WireGuard` device.
    Wireguard(Keyed),
    /// Anything else.
    Other,
}

/// What makes one VXLAN device differ from another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tunnelled {
    /// Its network identifier.
    pub vni: u32,
    /// Its UDP port.
    pub port: u16,
    /// The source address of its packets.
    pub local: Option<IpAddr>,
    /// The interface that carries its packets.
    pub link: u32,
    /// Does it learn from what it receives?
    pub learning: bool,
    /// Does it carry group policy bits?
    pub gbp: bool,
    /// Has it anything that a device of ours never has?
    pub alien: bool,
}

/// What makes one `WireGuard` device differ from another.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Keyed {
    /// Its UDP port.
    pub port: u16,
    /// Who it is, if it is somebody.
    pub key: Option<PublicKey>,
}

impl Seen {
    /// Has it that address?
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|(found, _len)| *found == address)
    }
}

/// In what the tunnel device is not as `spec` says, in words; `all` are the host's interfaces.
#[must_use]
pub fn differences(spec: &DeviceSpec, all: &[Seen]) -> Vec<String> {
    let name = spec.name();
    let Some(seen) = all.iter().find(|seen| seen.name == name) else {
        return vec![missing(spec, all)];
    };
    let mut found = Vec::new();
    match (spec, &seen.sort) {
        (DeviceSpec::Vxlan(spec), Sort::Vxlan(shape)) => {
            found.extend(shape_of(spec, shape));
            if seen.mac != Some(spec.mac) {
                let mac = seen.mac.map_or_else(|| "none".to_owned(), |mac| mac.to_string());
                let wanted = spec.mac;
                found.push(format!("the hardware address of {name} is {mac}, peers know {wanted}"));
            }
        }
        (DeviceSpec::Tun(_), Sort::Tun) => {}
        (DeviceSpec::Wireguard(spec), Sort::Wireguard(keyed)) => {
            if keyed.port != spec.port {
                found.push(format!("the port of {name} is {}, not {}", keyed.port, spec.port));
            }
            if keyed.key != Some(spec.key.public()) {
                let key = keyed.key.map_or_else(|| "none".to_owned(), |key| key.to_string());
                let wanted = spec.key.public();
                found.push(format!("the public key of {name} is {key}, peers know {wanted}"));
            }
        }
        _other => return vec![format!("{name} is an interface of another kind")],
    }
    if !seen.up {
        found.push(format!("{name} is down"));
    }
    if seen.mtu != spec.mtu().bytes() {
        found.push(format!("{name} carries {} bytes, not {}", seen.mtu, spec.mtu()));
    }
    found
}

/// What is wrong with the addresses of the tunnel device, in words.
#[must_use]
pub fn address_differences(spec: &DeviceSpec, all: &[Seen]) -> Vec<String> {
    let (name, wanted) = (spec.name(), spec.address().0);
    let Some(seen) = all.iter().find(|seen| seen.name == name) else { return Vec::new() };
    let whole = Family::of(wanted).bits();
    let own = |(address, len): &&(IpAddr, u8)| *len == whole && same_family(*address, wanted);
    let host: Vec<IpAddr> =
        seen.addresses.iter().filter(own).map(|(address, _)| *address).collect();
    let mut found = Vec::new();
    if !host.contains(&wanted) {
        found.push(format!("{name} has not its address {wanted}"));
    }
    let others = host.iter().filter(|address| **address != wanted && !is_link_local(**address));
    found.extend(
        others.map(|address| format!("{name} has the address {address}, which is not its own")),
    );
    found
}

fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn missing(spec: &DeviceSpec, all: &[Seen]) -> String {
    let name = spec.name();
    let alike = |seen: &&Seen| match (spec, &seen.sort) {
        (DeviceSpec::Vxlan(spec), Sort::Vxlan(shape)) => {
            shape.vni == spec.vni.number() && seen.mac == Some(spec.mac)
        }
        (DeviceSpec::Wireguard(spec), Sort::Wireguard(keyed)) => {
            *keyed == Keyed { port: spec.port, key: Some(spec.key.public()) }
        }
        _other => false,
    };
    match all.iter().find(alike) {
        Some(renamed) => format!("{name} has another name: {}", renamed.name),
        None => format!("there is no interface {name}"),
    }
}

fn shape_of(spec: &Vxlan, shape: &Tunnelled) -> Vec<String> {
    let name = &spec.name;
    let mut found = Vec::new();
    let mut differs = |what: &str, is: String, wanted: String| {
        if is != wanted {
            found.push(format!("the {what} of {name} is {is}, not {wanted}"));
        }
    };
    differs("VNI", shape.vni.to_string(), spec.vni.to_string());
    differs("port", shape.port.to_string(), spec.port.unwrap_or(LINUX_PORT).to_string());
    let local = shape.local.map_or_else(|| "none".to_owned(), |local| local.to_string());
    differs("source address", local, spec.local.to_string());
    let on = |on: bool| if on { "on" } else { "off" }.to_owned();
    differs("learning", on(shape.learning), on(spec.learning));
    differs("group policy", on(shape.gbp), on(spec.gbp));
    if shape.link != spec.uplink.0 {
        found.push(format!("{name} lies on another interface than the uplink"));
    }
    if shape.alien {
        found.push(format!("{name} has options that no device of ours has"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Tun, Wireguard};
    use crate::ids::{Gateway, Mtu, Underlay, Vni};
    use crate::wireguard::PrivateKey;

    #[test]
    fn a_device_as_it_should_be_has_no_differences() {
        assert_eq!(differences(&vxlan(), &[seen(|_| {})]), Vec::<String>::new());
        assert_eq!(address_differences(&vxlan(), &[seen(|_| {})]), Vec::<String>::new());
    }

    /// What is changed on it, and what is said.
    type Row = (&'static str, fn(&mut Seen), &'static str);

    #[test]
    fn each_difference_is_named() {
        let rows: [Row; 9] = [
            ("gone", |seen| seen.name = "x".to_owned(), "flannel.1 has another name: x"),
            ("down", |seen| seen.up = false, "flannel.1 is down"),
            ("MTU", |seen| seen.mtu = 1300, "flannel.1 carries 1300 bytes, not 1450"),
            (
                "hardware address",
                |seen| seen.mac = Some(Mac([2, 0, 0, 0, 0, 9])),
                "the hardware address of flannel.1 is 02:00:00:00:00:09, peers know \
                 02:00:00:00:00:01",
            ),
            ("kind", |seen| seen.sort = Sort::Tun, "flannel.1 is an interface of another kind"),
            (
                "learning",
                |seen| shape(seen).learning = true,
                "the learning of flannel.1 is on, not off",
            ),
            ("port", |seen| shape(seen).port = 4789, "the port of flannel.1 is 4789, not 8472"),
            (
                "uplink",
                |seen| shape(seen).link = 9,
                "flannel.1 lies on another interface than the uplink",
            ),
            (
                "options",
                |seen| shape(seen).alien = true,
                "flannel.1 has options that no device of ours has",
            ),
        ];
        for (name, change, said) in rows {
            assert_eq!(differences(&vxlan(), &[seen(change)]), [said], "{name}");
        }
        assert_eq!(differences(&vxlan(), &[]), ["there is no interface flannel.1"]);
        let tun = DeviceSpec::Tun(Tun {
            name: "flannel0".to_owned(),
            mtu: Mtu::new(1472).unwrap(),
            address: Gateway([10, 88, 1, 0].into()),
        });
        assert_eq!(differences(&tun, &[]), ["there is no interface flannel0"]);
    }

    #[test]
    fn a_key_that_peers_do_not_know_is_named_and_secrets_are_not() {
        let key = PrivateKey::from_random([7; 32]);
        let spec = DeviceSpec::Wireguard(Wireguard {
            name: "flannel-wg".to_owned(),
            mtu: Mtu::new(1450).unwrap(),
            port: 51820,
            key,
            address: Gateway([10, 88, 1, 0].into()),
        });
        let keyed = |port, key: PrivateKey| {
            let sort = Sort::Wireguard(Keyed { port, key: Some(key.public()) });
            Seen { name: "flannel-wg".to_owned(), sort, ..seen(|_| {}) }
        };
        assert_eq!(differences(&spec, &[keyed(51820, key)]), Vec::<String>::new());
        let other = PrivateKey::from_random([8; 32]);
        let said = differences(&spec, &[keyed(51821, other)]).join("; ");
        let (ours, theirs) = (key.public(), other.public());
        assert_eq!(
            said,
            format!(
                "the port of flannel-wg is 51821, not 51820; the public key of flannel-wg is {theirs}, \
                 peers know {ours}"
            )
        );
        let renamed = Seen { name: "wg0".to_owned(), ..keyed(51820, key) };
        assert_eq!(differences(&spec, &[renamed]), ["flannel-wg has another name: wg0"]);
    }

    #[test]
    fn addresses_that_are_not_its_own_are_named() {
        let said = |change: fn(&mut Seen)| address_differences(&vxlan(), &[seen(change)]);
        let missing = said(|seen| seen.addresses.clear());
        assert_eq!(missing, ["flannel.1 has not its address 10.88.1.0"]);
        let other = said(|seen| seen.addresses.push(([10, 88, 7, 0].into(), 32)));
        assert_eq!(other, ["flannel.1 has the address 10.88.7.0, which is not its own"]);
        let range = said(|seen| seen.addresses.push(([172, 31, 0, 1].into(), 24)));
        assert!(range.is_empty(), "somebody else's: {range:?}");
    }

    fn shape(seen: &mut Seen) -> &mut Tunnelled {
        match &mut seen.sort {
            Sort::Vxlan(shape) => shape,
            _other => panic!("a VXLAN device"),
        }
    }

    fn seen(change: fn(&mut Seen)) -> Seen {
        let mut seen = Seen {
            index: IfIndex(3),
            name: "flannel.1".to_owned(),
            sort: Sort::Vxlan(Tunnelled {
                vni: 1,
                port: 8472,
                local: Some([192, 0, 2, 1].into()),
                link: 2,
                ..Tunnelled::default()
            }),
            mtu: 1450,
            up: true,
            carrier: true,
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            bridge: None,
            addresses: vec![([10, 88, 1, 0].into(), 32)],
        };
        change(&mut seen);
        seen
    }

    fn vxlan() -> DeviceSpec {
        DeviceSpec::Vxlan(Vxlan {
            name: "flannel.1".to_owned(),
            vni: Vni::ONE,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            mtu: Mtu::new(1450).unwrap(),
            port: None,
            local: Underlay([192, 0, 2, 1].into()),
            uplink: IfIndex(2),
            gbp: false,
            learning: false,
            address: Gateway([10, 88, 1, 0].into()),
        })
    }
}
