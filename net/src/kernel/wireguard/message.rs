//! What the kernel says of a device and its peers, and what it is told of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute,
    WireguardMessage, WireguardPeer, WireguardPeerAttribute as Part, WireguardPeerFlags,
};
use twill_core::device::IfIndex;
use twill_core::ids::{Family, Subnet};
use twill_core::plan::{Change, Wire};
use twill_core::wireguard::{PresharedKey, PublicKey};

use super::{Device, Met};

/// The device, of all parts of its description.
pub(super) fn told(parts: Vec<WireguardMessage>) -> Device {
    let (mut device, mut blocks) = (Device::default(), Blocks::new());
    for attribute in parts.into_iter().flat_map(|part| part.attributes) {
        match attribute {
            WireguardAttribute::ListenPort(port) => device.keyed.port = port,
            WireguardAttribute::PublicKey(key) => device.keyed.key = somebody(key),
            WireguardAttribute::Fwmark(mark) => device.mark = mark,
            WireguardAttribute::Peers(peers) => {
                for peer in peers {
                    meet(&mut device, &mut blocks, &peer);
                }
            }
            // The private key is among them.
            _other => {}
        }
    }
    for (key, blocks) in blocks {
        if let (Some(met), [block]) = (device.peers.get_mut(&key), &blocks[..]) {
            met.wire.allowed = *block;
        }
    }
    device
}

/// Of each peer, over all parts; `None` is one that cannot be.
type Blocks = BTreeMap<PublicKey, Vec<Option<Subnet>>>;

fn somebody(key: [u8; 32]) -> Option<PublicKey> {
    Some(PublicKey(key)).filter(|_key| key != [0; 32])
}

/// A peer whose blocks do not fit, be it the only one, goes on in the next part, with its key and the rest.
fn meet(device: &mut Device, blocks: &mut Blocks, peer: &WireguardPeer) {
    let key = peer.iter().find_map(|part| match part {
        Part::PublicKey(key) => Some(PublicKey(*key)),
        _other => None,
    });
    let Some(key) = key else { return };
    let blocks = blocks.entry(key).or_default();
    let (mut endpoint, mut psk, mut keepalive, mut handshake) = (None, None, 0, None);
    for part in peer.iter() {
        match part {
            Part::Endpoint(address) => endpoint = Some(*address),
            Part::PresharedKey(key) => psk = PresharedKey::told(*key),
            Part::PersistentKeepalive(seconds) => keepalive = *seconds,
            Part::LastHandshake(time) => {
                let time =
                    u64::try_from(time.seconds).ok().zip(u32::try_from(time.nano_seconds).ok());
                let time = time.filter(|time| *time != (0, 0));
                handshake = time.map(|(s, ns)| SystemTime::UNIX_EPOCH + Duration::new(s, ns));
            }
            Part::AllowedIps(ranges) => blocks.extend(ranges.iter().map(block)),
            _other => {}
        }
    }
    let wire = Wire { endpoint, allowed: None, psk, keepalive };
    device.peers.entry(key).or_insert(Met { wire, handshake });
}

fn block(range: &WireguardAllowedIp) -> Option<Subnet> {
    let (mut base, mut len) = (None, None);
    for part in range.iter() {
        match part {
            WireguardAllowedIpAttr::IpAddr(address) => base = Some(*address),
            WireguardAllowedIpAttr::Cidr(bits) => len = Some(*bits),
            _other => {}
        }
    }
    Subnet::new(base?, len?)
}

/// What the kernel is told to make of a change; `None` if it is about something else.
pub(super) fn request(change: Change) -> Option<Vec<WireguardAttribute>> {
    let (IfIndex(device), parts) = match change {
        Change::PutWire(device, key, wire) => (device, put(key, &wire)),
        Change::DropWire(device, PublicKey(key)) => {
            let flags = Part::Flags(WireguardPeerFlags::RemoveMe);
            (device, vec![Part::PublicKey(key), flags])
        }
        _row => return None,
    };
    let peers = WireguardAttribute::Peers(vec![WireguardPeer(parts)]);
    Some(vec![WireguardAttribute::IfIndex(device), peers])
}

fn put(PublicKey(key): PublicKey, wire: &Wire) -> Vec<Part> {
    let Wire { endpoint, allowed, psk, keepalive } = wire;
    let mut parts = vec![
        Part::PublicKey(key),
        Part::Flags(WireguardPeerFlags::ReplaceAllowedIps),
        Part::PresharedKey(psk.map_or([0; 32], PresharedKey::bytes)),
        Part::PersistentKeepalive(*keepalive),
    ];
    parts.extend(endpoint.map(Part::Endpoint));
    let ranges = allowed.iter().map(|block| range(*block)).collect();
    parts.push(Part::AllowedIps(ranges));
    parts
}

fn range(block: Subnet) -> WireguardAllowedIp {
    let family = match block.family() {
        Family::V4 => WireguardAddressFamily::Ipv4,
        Family::V6 => WireguardAddressFamily::Ipv6,
    };
    let base: IpAddr = block.base();
    WireguardAllowedIp(vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(base),
        WireguardAllowedIpAttr::Cidr(block.len()),
    ])
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{Emitable, ParseableParametrized};
    use netlink_packet_generic::{GenlFamily, GenlHeader};
    use netlink_packet_wireguard::{WireguardCmd, WireguardTimeSpec};

    use twill_core::device::Keyed;

    use super::*;

    /// What we say is what the kernel would tell of it, through the bytes of the wire.
    #[test]
    fn what_is_written_reads_back() {
        for (name, wire) in [
            ("IPv4", wire("192.0.2.2:51820", "10.88.2.0/24")),
            ("IPv6", wire("[fd00:140::2]:51821", "fd00:88:0:2::/64")),
            (
                "a second secret, and packets in silence",
                Wire {
                    psk: PresharedKey::told([9; 32]),
                    keepalive: 25,
                    ..wire("192.0.2.2:51820", "10.88.2.0/24")
                },
            ),
        ] {
            let change = Change::PutWire(IfIndex(7), PublicKey([2; 32]), wire);
            let read = through_bytes(request(change).unwrap());
            assert_eq!(read[0], WireguardAttribute::IfIndex(7), "{name}");
            let device = told(vec![message(read)]);
            let met = device.peers.get(&PublicKey([2; 32])).copied();
            assert_eq!(met, Some(Met { wire, handshake: None }), "{name}");
        }
    }

    #[test]
    fn whom_we_drop_is_named_by_its_key_alone() {
        let request = request(Change::DropWire(IfIndex(7), PublicKey([2; 32]))).unwrap();
        let [_device, WireguardAttribute::Peers(peers)] = &through_bytes(request)[..] else {
            panic!("a device and a peer")
        };
        let flags = Part::Flags(WireguardPeerFlags::RemoveMe);
        assert_eq!(peers[0].0, [Part::PublicKey([2; 32]), flags]);
        let elsewhere = "10.88.2.0/24".parse().unwrap();
        let route = twill_core::plan::Hop::Device(IfIndex(1)).into();
        assert_eq!(super::request(Change::PutRoute(elsewhere, route)), None);
    }

    #[test]
    fn a_device_is_told_in_parts() {
        let peer = |key, blocks: &[&str], more: Vec<Part>| {
            let ranges = blocks.iter().map(|block| range(block.parse().unwrap())).collect();
            let mut parts = vec![Part::PublicKey([key; 32])];
            parts.extend(more);
            parts.push(Part::AllowedIps(ranges));
            WireguardPeer(parts)
        };
        let time = WireguardTimeSpec { seconds: 1_700_000_000, nano_seconds: 5 };
        let endpoint = Part::Endpoint("192.0.2.2:51820".parse().unwrap());
        let first = vec![
            WireguardAttribute::ListenPort(51820),
            WireguardAttribute::PublicKey([1; 32]),
            WireguardAttribute::PrivateKey([5; 32]),
            WireguardAttribute::Peers(vec![
                peer(2, &["10.88.2.0/24"], vec![endpoint, Part::LastHandshake(time)]),
                peer(3, &["10.88.3.0/24"], vec![]),
                peer(6, &[], vec![]),
            ]),
        ];
        let second = vec![WireguardAttribute::Peers(vec![
            peer(3, &["10.88.4.0/24"], vec![]),
            peer(6, &["10.88.6.0/24"], vec![]),
            peer(4, &[], vec![Part::LastHandshake(WireguardTimeSpec::default())]),
            peer(5, &["10.88.5.0/24", "10.88.6.0/24"], vec![]),
        ])];
        let device = told(vec![message(first), message(second)]);
        assert_eq!(device.keyed, Keyed { port: 51820, key: Some(PublicKey([1; 32])) });
        let met = |n: u8| device.peers[&PublicKey([n; 32])];
        assert_eq!(met(2).wire, wire("192.0.2.2:51820", "10.88.2.0/24"));
        let since = met(2).handshake.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since, Duration::new(1_700_000_000, 5));
        for (name, n) in [("two blocks, in two parts", 3), ("none", 4), ("two at once", 5)] {
            assert_eq!((met(n).wire.allowed, met(n).handshake), (None, None), "{name}");
        }
        // The message was full before its only one.
        assert_eq!(met(6).wire.allowed, "10.88.6.0/24".parse().ok());
        let nobody = told(vec![message(vec![WireguardAttribute::PublicKey([0; 32])])]);
        assert_eq!(nobody.keyed.key, None, "a device without a key");
        assert!(!format!("{device:?}").contains("5, 5, 5"), "the private key is not kept");
    }

    fn through_bytes(attributes: Vec<WireguardAttribute>) -> Vec<WireguardAttribute> {
        let message = message(attributes);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        let header = GenlHeader { cmd: message.command(), version: message.version() };
        WireguardMessage::parse_with_param(&bytes[..], header).unwrap().attributes
    }

    fn message(attributes: Vec<WireguardAttribute>) -> WireguardMessage {
        WireguardMessage { cmd: WireguardCmd::SetDevice, attributes }
    }

    fn wire(endpoint: &str, allowed: &str) -> Wire {
        let (endpoint, allowed) = (endpoint.parse().ok(), allowed.parse().ok());
        Wire { endpoint, allowed, psk: None, keepalive: 0 }
    }
}
