//! What does not take the shortcut, and who cannot have it.

use std::fs;
use std::net::{SocketAddrV4, UdpSocket};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, setsockopt,
    socket, sockopt,
};
use std::os::fd::AsRawFd as _;
use twill_tunnel::shortcut::{Ground, Refused};
use twill_tunnel::{Counters, Device, Event, Tunnel};

use super::{
    ECHO, LIMIT, PORT, Way, again, bytes_come_back_over_tcp, endpoint,
    full_size_datagrams_come_back, ground, ip, nft, shorten, start, tc, tc_with,
};

const FEW: u64 = 20;
const LIFT_PORT: u16 = 40000;

/// Everything. Where the other host sends by the shortcut, its super-packets come in by the lift.
pub(super) fn all(tunnel: &Tunnel, theirs: Way) {
    let counters = tunnel.counters();
    assert!(taken(&counters, echoes) >= FEW, "what is ordinary takes it");
    assert_eq!(
        taken(&counters, echoes_without_checksum),
        0,
        "nothing else tells whether it is whole"
    );
    a_way_by_ipv6_is_no_shortcut(&counters);
    what_comes_another_way_is_the_kernels_to_judge(&counters);
    nobody_else_is_lifted();
    marks_of_the_host_stay_outside(&counters, theirs);
    who_has_the_lifts_port_instead_gets_nothing(tunnel, theirs);
    there_is_one_to_a_port();
    counts_never_fall(tunnel);
    what_is_left_is_taken_out(tunnel);
}

/// So many packets left by it meanwhile.
fn taken(counters: &Counters, work: fn()) -> u64 {
    let before = counters.by_shortcut().0;
    work();
    counters.by_shortcut().0 - before
}

fn a_way_by_ipv6_is_no_shortcut(counters: &Counters) {
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return;
    }
    let neighbour = ip("neigh show 192.0.2.2 dev u0");
    let mut words = neighbour.split_ascii_whitespace().skip_while(|word| *word != "lladdr");
    let mac = words.nth(1).expect("a hardware address");
    ip(&format!("-6 neigh replace fe80::2 lladdr {mac} dev u0"));
    ip("route replace 192.0.2.2/32 via inet6 fe80::2 dev u0");
    assert_eq!(taken(counters, echoes), 0, "by a neighbour of IPv6");
    ip("route delete 192.0.2.2/32");
    assert!(taken(counters, echoes) >= FEW, "and back");
}

fn what_comes_another_way_is_the_kernels_to_judge(counters: &Counters) {
    ip("link add d0 type veth peer name d1");
    ip("link set d0 up");
    ip("link set d1 up");
    ip("route replace 192.0.2.2/32 dev d0");
    for which in ["all", "u0"] {
        let setting = format!("/proc/sys/net/ipv4/conf/{which}/rp_filter");
        fs::write(setting, "0").expect("the kernel judges mildly");
    }
    let asks = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
    asks.set_read_timeout(Some(Duration::from_millis(100))).expect("a deadline");
    let port = asks.local_addr().expect("its address").port();
    let by_hand = UdpSocket::bind("192.0.2.1:0").expect("a host's socket");
    setsockopt(&by_hand, sockopt::BindToDevice, &"u0".into()).expect("out there");
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < LIMIT, "it still takes the shortcut");
        let before = (counters.count(Event::Received), counters.by_shortcut().1);
        let question = datagram((port, ECHO));
        by_hand.send_to(&question, ("192.0.2.2", PORT)).expect("sent");
        let came = asks.recv(&mut [0; 10]).is_ok();
        let after = (counters.count(Event::Received), counters.by_shortcut().1);
        // The kernel's word holds for a second.
        if came && after.1 == before.1 && after.0 > before.0 {
            break;
        }
    }
    ip("route delete 192.0.2.2/32");
    ip("link delete d0");
}

/// A packet of a peer's, put into the lift's port by somebody else on this host.
fn nobody_else_is_lifted() {
    let victim = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
    victim.set_read_timeout(Some(Duration::from_millis(100))).expect("a deadline");
    let port = victim.local_addr().expect("its address").port();
    let inner = packet(([10, 5, 2, 1], [10, 5, 1, 1]), (ECHO, port), &[]);
    // VXLAN-GPE, of network 0, with a packet of IPv4.
    let lifted = [&[0x0c, 0, 0, 1, 0, 0, 0, 0], &inner[..]].concat();
    let forged = packet(([192, 0, 2, 2], [192, 0, 2, 1]), (PORT, LIFT_PORT), &lifted);
    let start = Instant::now();
    let before = received("flannel0-lift");
    while received("flannel0-lift") == before {
        assert!(start.elapsed() < LIMIT, "the lift gets none");
        raw(&forged, [192, 0, 2, 1]);
        assert!(victim.recv(&mut [0; 10]).is_err(), "it was let in");
    }
}

/// As with user space, which marks nothing: who marks what comes in by the uplink, or leaves by the device, means
/// the datagrams, or the packets.
fn marks_of_the_host_stay_outside(counters: &Counters, theirs: Way) {
    nft("add table netdev marks");
    nft("add chain netdev marks leave { type filter hook egress device flannel0 priority 0; }");
    nft("add rule netdev marks leave meta mark set 1");
    nft("add table ip marks");
    nft("add chain ip marks enter { type filter hook prerouting priority mangle; }");
    nft("add rule ip marks enter iifname u0 meta mark set 1");
    // What is marked is lost: at the uplink, and on its way to the container.
    let lost = "4,32 0 0 4294963220,21 0 1 1,6 0 0 2,6 0 0 4294967295,";
    let filter = "filter add dev u0 egress pref 1 protocol all bpf bytecode";
    tc_with(filter, &[lost, "da"]);
    ip("rule add pref 100 lookup local");
    ip("rule delete pref 0");
    ip("rule add pref 50 fwmark 1 to 10.5.1.1 blackhole");
    assert!(taken(counters, echoes) >= FEW, "they come in, and leave");
    let lifted = received("flannel0-lift");
    bytes_come_back_over_tcp();
    assert_eq!(received("flannel0-lift") > lifted, theirs == Way::Shortcut, "super-packets too");
    ip("rule delete pref 50");
    ip("rule add pref 0 lookup local");
    ip("rule delete pref 100");
    tc("filter delete dev u0 egress pref 1");
    nft("delete table ip marks");
    nft("delete table netdev marks");
}

/// Somebody took it while the lift was down.
fn who_has_the_lifts_port_instead_gets_nothing(tunnel: &Tunnel, theirs: Way) {
    ip("link set flannel0-lift down");
    let stranger = UdpSocket::bind(("0.0.0.0", LIFT_PORT)).expect("the port is free");
    stranger.set_nonblocking(true).expect("no waiting");
    for shut in [Tunnel::drop_shortcut, Tunnel::shut_lift] {
        shut(tunnel);
        tunnel.ensure_shortcut(&ground("flannel0", "u0")).expect("it leads");
        bytes_come_back_over_tcp();
        assert!(stranger.recv(&mut [0; 10]).is_err(), "what containers say to each other");
    }
    drop(stranger);
    ip("link set flannel0-lift up");
    tunnel.open_lift();
    let before = received("flannel0-lift");
    bytes_come_back_over_tcp();
    let lifted = received("flannel0-lift") > before;
    assert_eq!(lifted, theirs == Way::Shortcut, "and by the lift again");
}

/// Whoever takes over is killed once its own program looks after the lift, and before it replaces what sends
/// there: this is as if the uplink's place for programs were never reached.
pub(super) fn an_end_between_two_programs_loses_nothing() {
    let tunnel = start((1, Way::UserSpace), again(), |_error| {});
    let mut ground = ground("flannel0", "u0");
    "nowhere".clone_into(&mut ground.uplink.name);
    let refused = tunnel.ensure_shortcut(&ground).expect_err("there is no such interface");
    assert!(matches!(refused, Refused::Hook { .. }), "{refused}");
    let before = received("flannel0-lift");
    bytes_come_back_over_tcp();
    assert!(received("flannel0-lift") > before, "earlier programs still lift");
}

fn there_is_one_to_a_port() {
    let device = Device::open("flannel9", NonZeroUsize::MIN).expect("another device");
    ip("link set flannel9 up");
    let (at, port) = ([192, 0, 2, 7], PORT);
    let second = Tunnel::start(device, endpoint(9, at), |_error| {}).expect("another tunnel");
    let ground = Ground { lift: None, ..ground("flannel9", "u0") };
    let refused = second.ensure_shortcut(&ground).expect_err("there is one");
    assert!(matches!(refused, Refused::Taken { port: taken } if taken == port), "{refused}");
    drop(second);
    ip("link delete flannel9");
}

fn counts_never_fall(tunnel: &Tunnel) {
    let counters = tunnel.counters();
    let before = counters.by_shortcut();
    assert!(before.0 > 0 && before.1 > 0);
    tunnel.drop_shortcut();
    let between = counters.by_shortcut();
    assert!(between.0 >= before.0 && between.1 >= before.1, "{before:?} {between:?}");
    assert!(!ours("u0"), "none is left at the uplink");
    full_size_datagrams_come_back();
    assert!(shorten(tunnel), "it leads again");
    let after = counters.by_shortcut();
    assert!(after.0 >= between.0 && after.1 >= between.1, "{between:?} {after:?}");
}

fn what_is_left_is_taken_out(tunnel: &Tunnel) {
    ip("link add d0 type veth peer name d1");
    assert!(ours("u0"));
    tunnel.ensure_shortcut(&ground("flannel0", "d0")).expect("another uplink");
    assert!(ours("d0") && !ours("u0"));
    assert!(shorten(tunnel), "back again");
    assert!(ours("u0") && !ours("d0"));
    ip("link delete d0");
}

/// Is there a program of ours?
fn ours(interface: &str) -> bool {
    tc(&format!("filter show dev {interface} ingress")).contains("4184")
}

fn echoes() {
    let socket = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
    socket.connect(("10.5.2.1", ECHO)).expect("a destination");
    exchange(&socket, || _ = socket.send(b"word").expect("sent"));
}

fn echoes_without_checksum() {
    let socket = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
    let port = socket.local_addr().expect("its address").port();
    exchange(&socket, || raw(&datagram((port, ECHO)), [10, 5, 2, 1]));
}

fn exchange(socket: &UdpSocket, ask: impl Fn()) {
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a deadline");
    let (start, mut back) = (Instant::now(), 0);
    while back < FEW {
        assert!(start.elapsed() < LIMIT, "only {back} came back");
        ask();
        back += u64::from(socket.recv(&mut [0; 10]).is_ok());
    }
}

/// From the near container to the far one, with no checksum of UDP.
fn datagram(ports: (u16, u16)) -> Vec<u8> {
    packet(([10, 5, 1, 1], [10, 5, 2, 1]), ports, b"word")
}

fn packet((from, to): ([u8; 4], [u8; 4]), ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let length =
        |headers: usize| u16::try_from(headers + payload.len()).expect("a short one").to_be_bytes();
    let mut bytes = vec![0x45, 0];
    bytes.extend(length(28));
    bytes.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    bytes.extend([from, to].concat());
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("folded");
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend([ports.0.to_be_bytes(), ports.1.to_be_bytes(), length(8), [0, 0]].concat());
    bytes.extend(payload);
    bytes
}

fn raw(packet: &[u8], to: [u8; 4]) {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw);
    let socket = socket.expect("a raw socket");
    let to = SockaddrIn::from(SocketAddrV4::new(to.into(), 0));
    sendto(socket.as_raw_fd(), packet, &to, MsgFlags::empty()).expect("sent");
}

/// How many packets an interface has got.
fn received(interface: &str) -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/dev").expect("the table of interfaces");
    let row = table.lines().find_map(|row| row.trim().strip_prefix(&format!("{interface}:")));
    let packets = row.and_then(|row| row.split_ascii_whitespace().nth(1));
    packets.and_then(|packets| packets.parse().ok()).expect("a number of packets")
}
