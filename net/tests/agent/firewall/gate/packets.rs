//! Forged packets, and good ones.
//!
//! ```text
//!   peer     192.168.140.2 ┐
//!   stranger 192.168.140.7 ┴─ eth0 ─ host 192.168.140.22 ── docker0 ── container 10.5.1.2
//!                                    flannel.1
//! ```
//!
//! The peer has no tunnel device: its packets are built by hand, byte for byte.

use std::slice::from_ref;

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use super::gate;
use crate::host::{on_a_host, run};
use twill_core::firewall::gate::{Gate, Refusal, Refused, Sources, Table, Uplink};
use twill_net::firewall::{Gatekeeper, refused};
use twill_net::netns::{Netns, Scratch};
use twill_net::sysctl;

const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 140, 22);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 168, 140, 2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 168, 140, 7);
const CONTAINER: Ipv4Addr = Ipv4Addr::new(10, 5, 1, 2);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 5, 2, 2);
/// Of another container of the peer: one that has an address takes no packet from it.
const SPOOFED: Ipv4Addr = Ipv4Addr::new(10, 5, 2, 9);
const PORT: u16 = 8472;

#[test]
fn encapsulated_packets_come_from_peers_alone_and_each_in_its_own_name() {
    on_a_host(async |scratch| {
        let world = World::new(&scratch);
        Gatekeeper::default().ensure(from_ref(&gate(&[2, 3]))).await.unwrap();
        let [peer, stranger] = [PEER, STRANGER].map(|from| bound(&world.underlay, from));
        let mut refused = Refused::default();
        let arp = Inner { ethertype: 0x0806, ..Inner::default() };
        let from = |source| Inner { source, ..Inner::default() };
        let to = |destination| Inner { destination, ..Inner::default() };
        let segment = |vni| Inner { vni, ..Inner::default() };
        for (name, sender, inner, why) in [
            ("a peer", &peer, from(THEIRS), None),
            ("a peer's gateway", &peer, from([10, 5, 2, 0].into()), None),
            ("a stranger", &stranger, from(THEIRS), Some(Refusal::Stranger)),
            ("another peer's source", &peer, from([10, 5, 3, 2].into()), Some(Refusal::Inner)),
            ("a source of ours", &peer, from([10, 5, 1, 3].into()), Some(Refusal::Inner)),
            ("a source of nobody's", &peer, from([10, 5, 9, 9].into()), Some(Refusal::Inner)),
            ("a source in the world", &peer, from([8, 8, 8, 8].into()), Some(Refusal::Inner)),
            ("for a third host", &peer, to([10, 5, 3, 2].into()), Some(Refusal::Inner)),
            ("for the world", &peer, to([8, 8, 8, 8].into()), Some(Refusal::Inner)),
            ("no IP", &peer, arp, Some(Refusal::Inner)),
        ] {
            sender.send_to(&inner.frame(), (HOST, PORT)).unwrap();
            world.expect(name, why.is_none());
            count(&mut refused, why, name);
        }
        // Of another network, of which we know nothing.
        stranger.send_to(&segment(2).frame(), (HOST, PORT)).unwrap();
        world.expect("another segment", false);
        count(&mut refused, None, "another segment");
    });
}

#[test]
fn clients_of_peers_come_in_where_they_keep_their_address() {
    on_a_host(async |scratch| {
        let world = World::new(&scratch);
        let kept = Gate { sources: Sources::OwnAndOutside, ..gate(&[2, 3]) };
        Gatekeeper::default().ensure(from_ref(&kept)).await.unwrap();
        let [peer, stranger] = [PEER, STRANGER].map(|from| bound(&world.underlay, from));
        let mut refused = Refused::default();
        let client = Ipv4Addr::new(203, 0, 113, 5);
        let third = Ipv4Addr::new(10, 5, 3, 2);
        for (name, sender, source, why) in [
            ("a peer's container", &peer, THEIRS, None),
            ("a peer's client", &peer, client, None),
            ("a stranger's client", &stranger, client, Some(Refusal::Stranger)),
            ("another peer's source", &peer, third, Some(Refusal::Inner)),
        ] {
            let inner = Inner { source, ..Inner::default() };
            sender.send_to(&inner.frame(), (HOST, PORT)).unwrap();
            world.expect(name, why.is_none());
            count(&mut refused, why, name);
        }
    });
}

#[test]
fn a_packet_in_pieces_is_judged_as_a_whole() {
    on_a_host(async |scratch| {
        let world = World::new(&scratch);
        Gatekeeper::default().ensure(from_ref(&gate(&[2]))).await.unwrap();
        let [peer, stranger] = [PEER, STRANGER].map(|from| bound(&world.underlay, from));
        let mut refused = Refused::default();
        let long = Inner { payload: 1800, ..Inner::default() };
        peer.send_to(&long.frame(), (HOST, PORT)).unwrap();
        world.expect("a peer", true);
        count(&mut refused, None, "a peer");
        stranger.send_to(&long.frame(), (HOST, PORT)).unwrap();
        world.expect("a stranger", false);
        count(&mut refused, Some(Refusal::Stranger), "a stranger");
    });
}

#[test]
fn no_container_takes_an_address_that_lives_elsewhere() {
    on_a_host(async |scratch| {
        let world = World::new(&scratch);
        Gatekeeper::default().ensure(from_ref(&gate(&[2, 3]))).await.unwrap();
        let mut refused = Refused::default();
        let outside = bound(&world.underlay, STRANGER);
        let target = outside.local_addr().unwrap();
        let from = |source| bound(&world.container, source);
        from(CONTAINER).send_to(b"good", target).unwrap();
        assert!(comes(&outside), "its own address");
        count(&mut refused, None, "its own address");
        // Of a container of another host: the peer's answers would go there, and be trusted here.
        from(SPOOFED).send_to(b"spoofed", target).unwrap();
        assert!(!comes(&outside));
        count(&mut refused, Some(Refusal::Container), "another host's container");
        // In the name of a peer it would open any host's tunnel, this one's too.
        let forged = Inner::default().frame();
        for to in [HOST, STRANGER] {
            from(PEER).send_to(&forged, (to, PORT)).unwrap();
            world.expect("a peer's outer address", false);
            count(&mut refused, Some(Refusal::Container), "a peer's outer address");
        }
        from(CONTAINER).send_to(&forged, (HOST, PORT)).unwrap();
        world.expect("its own outer address", false);
        count(&mut refused, Some(Refusal::Stranger), "its own outer address");
    });
}

#[test]
fn nobody_on_the_underlay_takes_the_address_of_a_container() {
    on_a_host(async |scratch| {
        let world = World::new(&scratch);
        let plain = Uplink::Plain("eth0".to_owned());
        let (wrapped, plain) = (gate(&[2]), Gate { uplink: plain, ..gate(&[2]) });
        let own = Ipv4Addr::new(10, 5, 1, 9);
        let listens = world.listener.local_addr().unwrap();
        let mut refused = Refused::default();
        for (name, gate, source, why) in [
            ("a peer's, where tunnels carry all", &wrapped, THEIRS, Some(Refusal::Underlay)),
            ("ours, where tunnels carry all", &wrapped, own, Some(Refusal::Underlay)),
            ("one of the underlay", &wrapped, STRANGER, None),
            ("a peer's, where it may come so", &plain, THEIRS, None),
            ("ours, where others may come so", &plain, own, Some(Refusal::Underlay)),
        ] {
            Gatekeeper::default().ensure(from_ref(gate)).await.unwrap();
            bound(&world.underlay, source).send_to(b"plain", listens).unwrap();
            world.expect(name, why.is_none());
            count(&mut refused, why, name);
        }
    });
}

#[test]
fn counts_outlive_a_table_that_was_spoilt() {
    on_a_host(async |scratch| {
        let world = World::new(&scratch);
        let mut keeper = Gatekeeper::default();
        keeper.ensure(from_ref(&gate(&[2]))).await.unwrap();
        let stranger = bound(&world.underlay, STRANGER);
        stranger.send_to(&Inner::default().frame(), (HOST, PORT)).unwrap();
        world.expect("a stranger", false);
        run("nft flush chain ip twill-peers encapsulated");
        keeper.ensure(from_ref(&gate(&[2]))).await.unwrap();
        assert_eq!(refused(&Table::default()).unwrap().count(Refusal::Stranger).packets, 1);
        stranger.send_to(&Inner::default().frame(), (HOST, PORT)).unwrap();
        world.expect("a stranger again", false);
        assert_eq!(refused(&Table::default()).unwrap().count(Refusal::Stranger).packets, 2);
    });
}

struct World {
    underlay: Netns,
    container: Netns,
    /// In the container.
    listener: UdpSocket,
}

impl World {
    fn new(scratch: &Scratch) -> Self {
        sysctl::ensure_forwarding().unwrap();
        let (underlay, container) = (scratch.another(), scratch.another());
        run("ip link del eth0");
        pair("eth0", "192.168.140.22/24", &underlay);
        pair("docker0", "10.5.1.1/24", &container);
        run("ip link add flannel.1 address 02:00:00:00:00:22 type vxlan id 1 dev eth0 \
             local 192.168.140.22 dstport 8472 nolearning");
        run("ip address add 10.5.1.0/32 dev flannel.1");
        run("ip link set flannel.1 up");
        for peer in ["10.5.2.0", "10.5.3.0"] {
            run(&format!("ip route add {peer}/24 via {peer} dev flannel.1 onlink"));
        }
        for (netns, gateway, addresses) in [
            (&underlay, HOST, &[PEER, STRANGER, THEIRS, Ipv4Addr::new(10, 5, 1, 9)][..]),
            (&container, Ipv4Addr::new(10, 5, 1, 1), &[CONTAINER, SPOOFED, PEER]),
        ] {
            let inside = || {
                for address in addresses {
                    run(&format!("ip address add {address}/32 dev eth0"));
                }
                run(&format!("ip route add {gateway} dev eth0"));
                run(&format!("ip route add default via {gateway}"));
            };
            netns.run(inside).unwrap();
        }
        let listener = container.run(|| UdpSocket::bind((CONTAINER, 9))).unwrap().unwrap();
        Self { underlay, container, listener }
    }

    #[track_caller]
    fn expect(&self, name: &str, arrives: bool) {
        assert_eq!(comes(&self.listener), arrives, "{name}");
    }
}

fn pair(name: &str, address: &str, netns: &Netns) {
    run(&format!("ip link add {name} type veth peer name far1"));
    run(&format!("ip link set far1 netns {}", netns.path().display()));
    run(&format!("ip address add {address} dev {name}"));
    run(&format!("ip link set {name} up"));
    let far = || {
        run("ip link set lo up");
        run("ip link set far1 name eth0");
        run("ip link set eth0 up");
    };
    netns.run(far).unwrap();
}

fn bound(netns: &Netns, address: Ipv4Addr) -> UdpSocket {
    netns.run(|| UdpSocket::bind((address, 0))).unwrap().unwrap()
}

/// Everything happens in the sender's system call: what has not come by now never will, but the machine
/// may be busy.
fn comes(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket.recv(&mut [0; 2000]).is_ok()
}

/// One more for that reason, and none for any other.
#[track_caller]
fn count(before: &mut Refused, why: Option<Refusal>, name: &str) {
    let now = refused(&Table::default()).unwrap();
    for (refusal, count) in now.iter() {
        let more = count.packets - before.count(refusal).packets;
        assert_eq!(more, u64::from(why == Some(refusal)), "{name}: {refusal:?}");
    }
    *before = now;
}

/// A datagram in a VXLAN frame.
struct Inner {
    vni: u32,
    ethertype: u16,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    payload: usize,
}

impl Default for Inner {
    fn default() -> Self {
        let (source, destination) = (THEIRS, CONTAINER);
        Self { vni: 1, ethertype: 0x0800, source, destination, payload: 5 }
    }
}

impl Inner {
    /// What the outer datagram carries (RFC 7348).
    fn frame(&self) -> Vec<u8> {
        let mut bytes = vec![8, 0, 0, 0];
        bytes.extend((self.vni << 8).to_be_bytes());
        bytes.extend([2, 0, 0, 0, 0, 0x22, 2, 0, 0, 0, 0, 2]);
        bytes.extend(self.ethertype.to_be_bytes());
        let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
        let start = bytes.len();
        bytes.extend([0x45, 0]);
        bytes.extend(length(28 + self.payload));
        bytes.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        let words =
            bytes[start..].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let sum: u32 = words.sum();
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        bytes[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend([0, 9, 0, 9]);
        bytes.extend(length(8 + self.payload));
        bytes.extend([0, 0]);
        bytes.resize(bytes.len() + self.payload, b'x');
        bytes
    }
}
