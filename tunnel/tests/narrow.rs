//! A path that carries less than the host's interface, and says nothing about it.
//!
//! ```text
//! lo 10.5.1.1  flannel0 ─ u0 192.0.2.2 ═══ router ═══ 1400 bytes ═══ 198.51.100.2 peer
//! ```

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use twill_core::ids::{Mtu, Subnet};
use twill_net::netns::{Netns, Scratch};
use twill_tunnel::{Accept, Device, Endpoint, Event, Marks, Tunnel};

const PORT: u16 = 8285;
/// Ethernet's 1500 bytes less an IPv4 and a UDP header.
const MTU: u16 = 1472;
const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_full_packet_arrives_though_no_router_says_what_it_carries() {
    let Some(scratch) = Scratch::enter() else { return };
    let (router, peer) = (scratch.another(), scratch.another());
    wires(&router, &peer);
    let listens = peer.run(|| UdpSocket::bind((PEER, PORT))).expect("entered").expect("bound");
    listens.set_read_timeout(Some(Duration::from_millis(100))).expect("a deadline");
    let tunnel = host();
    let container = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
    // The device's queue is switched on a moment after somebody begins to read from it.
    let (start, mut came) = (Instant::now(), [0; 2048]);
    let length = loop {
        assert!(start.elapsed() < LIMIT, "nothing came: {:?}", tunnel.counters());
        container.send_to(&[7; MTU as usize - 28], "10.5.2.1:9").expect("sent");
        if let Ok(length) = listens.recv(&mut came) {
            break length;
        }
    };
    assert_eq!(length, usize::from(MTU), "whole, one hop older");
    assert_eq!(u16::from_be_bytes([came[6], came[7]]), 0x4000, "the packet inside may not be cut");
    assert_eq!(tunnel.counters().count(Event::UnderlayTooSmall), 0);
}

/// Here the sending host knows, so that no train gets through: its datagrams are cut one by one.
#[test]
fn a_train_that_is_too_long_for_the_way_goes_in_parts() {
    let Some(scratch) = Scratch::enter() else { return };
    let (router, peer) = (scratch.another(), scratch.another());
    wires(&router, &peer);
    ip("route add 198.51.100.0/24 via 192.0.2.1 mtu 1400");
    let listens = peer.run(|| UdpSocket::bind((PEER, PORT))).expect("entered").expect("bound");
    listens.set_read_timeout(Some(Duration::from_millis(100))).expect("a deadline");
    let tunnel = host();
    let container = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
    let far = SockaddrStorage::from("10.5.2.1:9".parse::<SocketAddrV4>().expect("an address"));
    let payload = [7; 4 * 1400];
    let (start, mut came, mut datagrams) = (Instant::now(), [0; 2048], 0);
    while datagrams < 8 {
        assert!(start.elapsed() < LIMIT, "{datagrams} came: {:?}", tunnel.counters());
        let size = [ControlMessage::UdpGsoSegments(&1400)];
        let (slices, flags) = ([IoSlice::new(&payload)], MsgFlags::empty());
        sendmsg(container.as_raw_fd(), &slices, &size, flags, Some(&far)).expect("sent");
        while let Ok(length) = listens.recv(&mut came) {
            assert_eq!(length, 1428, "one packet each, whole");
            datagrams += 1;
        }
    }
    let lost = [Event::UnderlayTooSmall, Event::SocketError, Event::TooBig];
    assert_eq!(lost.map(|event| tunnel.counters().count(event)), [0; 3]);
}

fn wires(router: &Netns, peer: &Netns) {
    for (far, name) in [(router, "u0"), (peer, "p0")] {
        let netns = far.path().display();
        ip(&format!("link add {name} type veth peer name far netns {netns}"));
    }
    ip(&format!("link set p0 netns {}", router.path().display()));
    ip("addr add 192.0.2.2/24 dev u0");
    ip("link set u0 up");
    ip("route add default via 192.0.2.1");
    let inside = || {
        for words in [
            "addr add 192.0.2.1/24 dev far",
            "link set far up",
            "addr add 198.51.100.1/24 dev p0",
            "link set p0 mtu 1400 up",
        ] {
            ip(words);
        }
        run("sysctl", "-qw net.ipv4.ip_forward=1");
        run("iptables", "-A OUTPUT -p icmp -j DROP");
    };
    router.run(inside).expect("entered");
    let inside = || {
        ip("addr add 198.51.100.2/24 dev far");
        ip("link set far mtu 1400 up");
        ip("route add default via 198.51.100.1");
    };
    peer.run(inside).expect("entered");
}

fn host() -> Tunnel {
    let device = Device::open("flannel0", NonZeroUsize::MIN).expect("a device");
    ip("addr add 10.5.1.0/32 dev flannel0");
    ip(&format!("link set flannel0 mtu {MTU} up"));
    ip("route add 10.5.0.0/16 dev flannel0");
    ip("addr add 10.5.1.1/32 dev lo");
    let block = |n: u8| Subnet::new([10, 5, n, 0].into(), 24).expect("aligned");
    let endpoint = Endpoint {
        underlay: [192, 0, 2, 2].into(),
        port: PORT,
        subnet: block(1).into(),
        mtu: Mtu::new(MTU.into()).expect("in range"),
        accept: Accept::Peers,
        marks: Marks::None,
    };
    let tunnel = Tunnel::start(device, endpoint, |error| panic!("lost: {error}"));
    let tunnel = tunnel.expect("a tunnel");
    tunnel.set_peers(vec![(block(2), PEER.into())]);
    tunnel
}

fn ip(words: &str) {
    run("ip", words);
}

#[expect(clippy::disallowed_methods, reason = "the test's own hands in the kernel")]
fn run(program: &str, words: &str) {
    let output = Command::new(program).args(words.split(' ')).output().expect(program);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {words}: {text}");
}
