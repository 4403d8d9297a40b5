//! A peer that knows nothing of trains and super-packets, as flanneld: one datagram, one packet.
//!
//! ```text
//! lo A.1  flannel0 ─ tunnel ─ u0 U.1 ═════ u0 U.2 ─ two naive threads ─ flannel0  lo B.1 echoes
//! ```

use std::io::{IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};
use twill_core::ids::{Mtu, Subnet};
use twill_net::netns::Scratch;
use twill_tunnel::{Accept, Device, Endpoint, Event, Marks, Offload, Tunnel};

const PORT: u16 = 8285;
const ECHO: u16 = 7;
const MTU: u16 = 1400;
const BYTES: usize = 4 << 20;
const LIMIT: Duration = Duration::from_secs(20);

/// Addresses of both hosts, of the underlay and of a container, near and far.
struct Plan {
    underlay: [&'static str; 2],
    containers: [&'static str; 2],
    blocks: [&'static str; 2],
}

const FOUR: Plan = Plan {
    underlay: ["192.0.2.1", "192.0.2.2"],
    containers: ["10.5.1.1", "10.5.2.1"],
    blocks: ["10.5.1.0/24", "10.5.2.0/24"],
};

const SIX: Plan = Plan {
    underlay: ["fd00:9::1", "fd00:9::2"],
    containers: ["fd00:5:1::1", "fd00:5:2::1"],
    blocks: ["fd00:5:1::/64", "fd00:5:2::/64"],
};

#[test]
fn ipv4_in_ipv4() {
    streams_and_datagrams_cross(&FOUR, 1);
}

#[test]
fn over_several_queues() {
    streams_and_datagrams_cross(&FOUR, 3);
}

#[test]
fn ipv6_in_ipv6() {
    streams_and_datagrams_cross(&SIX, 1);
}

#[test]
fn ipv6_in_ipv4() {
    streams_and_datagrams_cross(&Plan { underlay: FOUR.underlay, ..SIX }, 1);
}

#[test]
fn ipv4_in_ipv6() {
    streams_and_datagrams_cross(&Plan { underlay: SIX.underlay, ..FOUR }, 1);
}

fn streams_and_datagrams_cross(plan: &Plan, queues: usize) {
    let Some(scratch) = Scratch::enter() else { return };
    let far = scratch.another();
    ip(&format!("link add u0 mtu 1500 type veth peer name u0 netns {}", far.path().display()));
    let (see, seen) = channel();
    far.run(|| naive(plan, see)).expect("entered");
    let device =
        Device::open("flannel0", NonZeroUsize::new(queues).expect("some")).expect("a device");
    assert_eq!(
        (device.offload(), device.queues()),
        (Offload::TcpAndUdp, queues),
        "this kernel can"
    );
    addresses(plan, 0);
    let block = |n: usize| plan.blocks[n].parse::<Subnet>().expect("a block");
    let endpoint = Endpoint {
        underlay: plan.underlay[0].parse().expect("an address"),
        port: PORT,
        subnet: block(0).into(),
        mtu: Mtu::new(MTU.into()).expect("in range"),
        accept: Accept::Peers,
        marks: Marks::None,
    };
    let tunnel = Tunnel::start(device, endpoint, |error| panic!("lost: {error}"));
    let tunnel = tunnel.expect("a tunnel");
    tunnel.set_peers(vec![(block(1), plan.underlay[1].parse().expect("an address"))]);

    a_stream_comes_back(plan);
    a_train_of_datagrams_comes_back(plan);

    let counters = tunnel.counters();
    // The kernel speaks IPv6 to its neighbours on every device that is up.
    let neighbours =
        [Event::NotIpv4, Event::NoRoute, Event::ForeignSource, Event::ForeignDestination];
    let refused: Vec<_> = counters
        .iter()
        .filter(|(event, count)| {
            let usual =
                matches!(event, Event::Sent | Event::Received) || neighbours.contains(event);
            *count > 0 && !usual
        })
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    everything_was_whole_and_short_enough(&seen, counters.count(Event::Sent));
}

fn a_stream_comes_back(plan: &Plan) {
    let far = SocketAddr::new(plan.containers[1].parse().expect("an address"), ECHO);
    let mut stream = TcpStream::connect_timeout(&far, LIMIT).expect("connected");
    stream.set_read_timeout(Some(LIMIT)).expect("a deadline");
    let sent: Vec<u8> =
        (0..BYTES).map(|n| u8::try_from(n * 7 / 5 % 251).expect("a byte")).collect();
    let mut writer = stream.try_clone().expect("the other half");
    let copy = sent.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&copy).expect("written");
        writer.shutdown(std::net::Shutdown::Write).expect("closed");
    });
    let mut came = Vec::with_capacity(BYTES);
    stream.read_to_end(&mut came).expect("read");
    writing.join().expect("the writer");
    assert!(came == sent, "{} bytes came of {}", came.len(), sent.len());
}

/// The kernel hands the device a train as one, and each datagram of it comes back by itself.
fn a_train_of_datagrams_comes_back(plan: &Plan) {
    let near: IpAddr = plan.containers[0].parse().expect("an address");
    let far = SocketAddr::new(plan.containers[1].parse().expect("an address"), ECHO);
    let socket = UdpSocket::bind((near, 0)).expect("a container's socket");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a deadline");
    let train: Vec<u8> =
        (0..10_u8).flat_map(|n| vec![n; if n == 9 { 300 } else { 1000 }]).collect();
    let start = Instant::now();
    let mut back = std::collections::BTreeSet::new();
    while back.len() < 10 {
        assert!(start.elapsed() < LIMIT, "only {back:?} came back");
        let size = [ControlMessage::UdpGsoSegments(&1000)];
        let (to, flags) = (SockaddrStorage::from(far), MsgFlags::empty());
        let slices = [IoSlice::new(&train)];
        sendmsg(socket.as_raw_fd(), &slices, &size, flags, Some(&to)).expect("sent");
        let mut came = [0; 2048];
        while let Ok(len) = socket.recv(&mut came) {
            assert_eq!(len, if came[0] == 9 { 300 } else { 1000 });
            assert!(came[..len].iter().all(|byte| *byte == came[0]), "datagrams are not mixed");
            back.insert(came[0]);
            if back.len() == 10 {
                break;
            }
        }
    }
}

/// What the far end saw on the wire, one by one.
fn everything_was_whole_and_short_enough(seen: &Receiver<Vec<u8>>, sent: u64) {
    let packets: Vec<Vec<u8>> = seen.try_iter().collect();
    assert!(packets.len() as u64 <= sent, "no more than was counted");
    // A stream of 4 MiB, its acknowledgements, ten datagrams: none shares a datagram of the underlay.
    assert!(packets.len() > BYTES / usize::from(MTU), "{} packets", packets.len());
    for packet in &packets {
        assert!(packet.len() <= usize::from(MTU), "{} bytes", packet.len());
        let (length, transport, addresses) = match packet[0] >> 4 {
            4 => (word(packet, 2), usize::from(packet[0] & 15) * 4, 12..20),
            _six => (word(packet, 4) + 40, 40, 8..40),
        };
        let protocol = if packet[0] >> 4 == 4 { packet[9] } else { packet[6] };
        assert_eq!(usize::from(length), packet.len());
        if packet[0] >> 4 == 4 {
            assert_eq!(sum(&packet[..transport], 0), 0xffff, "the header's checksum");
        }
        if protocol == 6 || protocol == 17 {
            let pseudo =
                u32::from(protocol) + u32::try_from(packet.len() - transport).expect("short");
            let covered = [&packet[addresses], &packet[transport..]].concat();
            assert_eq!(sum(&covered, pseudo), 0xffff, "the transport's checksum");
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn sum(bytes: &[u8], more: u32) -> u32 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum::<u32>() + more;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

/// The far host: two threads that copy one packet at a time, and tell what came; and echoes.
fn naive(plan: &Plan, see: Sender<Vec<u8>>) {
    let device = DeviceBuilder::new().name("flannel0").layer(Layer::L3).build_sync();
    let device = Arc::new(device.expect("a device"));
    addresses(plan, 1);
    let [near, far] =
        plan.underlay.map(|address| SocketAddr::new(address.parse().expect("an address"), PORT));
    let socket = Arc::new(UdpSocket::bind(far).expect("bound"));
    let (from, to) = (Arc::clone(&socket), Arc::clone(&device));
    thread::spawn(move || in_loop(&from, &to, &see));
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok(len) = device.recv(&mut buffer) {
            // A full socket loses a packet, as it may.
            let _lost = socket.send_to(&buffer[..len], near).is_err();
        }
    });
    let echo: SocketAddr = SocketAddr::new(plan.containers[1].parse().expect("an address"), ECHO);
    let datagrams = UdpSocket::bind(echo).expect("udp echo");
    let streams = TcpListener::bind(echo).expect("tcp echo");
    thread::spawn(move || {
        let (mut stream, _near) = streams.accept().expect("a stream");
        let mut back = stream.try_clone().expect("the other half");
        std::io::copy(&mut stream, &mut back).expect("an echo");
    });
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = datagrams.recv_from(&mut buffer) {
            datagrams.send_to(&buffer[..len], from).expect("an echo");
        }
    });
}

fn in_loop(socket: &UdpSocket, device: &SyncDevice, see: &Sender<Vec<u8>>) {
    let mut buffer = vec![0; 65_536];
    while let Ok(len) = socket.recv(&mut buffer) {
        if see.send(buffer[..len].to_vec()).is_err() {
            return;
        }
        let _lost = device.send(&buffer[..len]).is_err();
    }
}

/// Brings everything up on one host; the device must be there.
fn addresses(plan: &Plan, host: usize) {
    let length = |address: &str| if address.contains(':') { 128 } else { 32 };
    let add = |address: &str, device: &str| {
        // Nobody is asked whether another has it.
        let at_once = if address.contains(':') { " nodad" } else { "" };
        ip(&format!("addr add {address}/{} dev {device}{at_once}", length(address)));
    };
    let peer = 1 - host;
    let (own, other) = (plan.underlay[host], plan.underlay[peer]);
    ip("link set lo up");
    add(own, "u0");
    ip("link set u0 up");
    ip(&format!("route add {other}/{} dev u0", length(other)));
    ip(&format!("link set flannel0 mtu {MTU} up"));
    let container = plan.containers[host];
    add(container, "lo");
    ip(&format!("route add {} dev flannel0 src {container}", plan.blocks[peer]));
}

#[expect(clippy::disallowed_methods, reason = "the test's own hands in the kernel")]
fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().expect("iproute2");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ip {words}: {text}");
}
