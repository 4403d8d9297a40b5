//! Two hosts with real devices, a wire between them, and what goes over it.
//!
//! ```text
//! thread near                                             thread far
//!   lo 10.5.1.1  flannel0 10.5.1.0 ─ u0 192.0.2.1 ═══ u0 192.0.2.2 ─ flannel0 10.5.2.0  lo 10.5.2.1
//! ```

#[path = "two_hosts/extraordinary.rs"]
mod extraordinary;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::{Pid, geteuid, gettid};
use twill_core::ids::{Mtu, Subnet};
use twill_tunnel::shortcut::{Claim, Ground, Interface, Lift};
use twill_tunnel::{Accept, Device, Endpoint, Error, Event, Marks, Tunnel};

const DEVICE: &str = "flannel0";
const PORT: u16 = 8285;
const ECHO: u16 = 7;
/// Ethernet's 1500 bytes less an IPv4 and a UDP header.
const MTU: u32 = 1472;
/// No test waits longer for anything.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn packets_cross_and_only_those_that_may() {
    meet([Way::UserSpace, Way::UserSpace]);
}

#[test]
fn by_the_shortcut_alike() {
    meet([Way::Shortcut, Way::Shortcut]);
}

#[test]
fn what_comes_by_the_shortcut_is_finished_in_user_space() {
    meet([Way::Shortcut, Way::UserSpace]);
}

/// What carries packets on a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    UserSpace,
    /// The kernel, where it can.
    Shortcut,
}

fn meet([one, other]: [Way; 2]) {
    if skipped() {
        return;
    }
    let (tell_near, far_says) = channel();
    let (tell_far, near_says) = channel();
    let far = thread::spawn(move || far(other, &near_says, &tell_near));
    let near = thread::spawn(move || near([one, other], &far_says, &tell_far));
    near.join().expect("the near host");
    far.join().expect("the far host");
}

/// What one host's thread says to the other's.
enum Word {
    Namespace(Pid),
    Ready,
}

fn near([way, theirs]: [Way; 2], far: &Receiver<Word>, tell: &Sender<Word>) {
    let Word::Namespace(peer) = new_namespace(far, tell) else {
        panic!("the far host's namespace")
    };
    ip(&format!("link add u0 type veth peer name u0 netns {peer}"));
    tell.send(Word::Ready).expect("the far host listens");
    let (lost, losses) = channel();
    let tunnel = host((1, way), move |error| lost.send(error).expect("the test listens"));
    far.recv_timeout(LIMIT).expect("the far host is ready");

    full_size_datagrams_come_back();
    bytes_come_back_over_tcp();
    nobody_there_is_said();
    strangers_and_liars_are_dropped();

    let counters = tunnel.counters();
    assert!(counters.count(Event::Sent) > 100 && counters.count(Event::Received) > 100);
    assert!(counters.bytes_sent() > 4 << 20 && counters.bytes_received() > 4 << 20);
    assert_eq!(counters.count(Event::SocketError), 0);
    assert!(
        matches!(Device::open(DEVICE, NonZeroUsize::MIN), Err(Error::Held { .. })),
        "held by ourselves"
    );

    let (by_shortcut, _back) = counters.by_shortcut();
    assert_eq!(by_shortcut > 100, way == Way::Shortcut, "{by_shortcut} packets");
    if way == Way::Shortcut {
        extraordinary::all(&tunnel, theirs);
    }

    // Stopped: the device stays, with its address and its route, and takes packets to nowhere; but the
    // kernel goes on.
    drop(tunnel);
    if theirs == Way::Shortcut {
        full_size_datagrams_come_back();
        bytes_come_back_over_tcp();
    }
    if [way, theirs] == [Way::Shortcut; 2] {
        extraordinary::an_end_between_two_programs_loses_nothing();
    }
    assert!(ip("addr show dev flannel0").contains("10.5.1.0/32"));
    assert!(ip("route show 10.5.0.0/16").contains(DEVICE));
    let tunnel = start((1, way), again(), |_error| {});
    if way == Way::Shortcut {
        assert!(!shorten(&tunnel), "its own programs are in place");
        tc(&format!("filter delete dev {DEVICE} egress"));
        assert!(shorten(&tunnel), "somebody took one away");
    }
    full_size_datagrams_come_back();
    drop(tunnel);

    let (lost, losses_again) = channel();
    let tunnel = start((1, way), again(), move |error| lost.send(error).expect("the test listens"));
    ip("link delete flannel0");
    assert!(matches!(losses_again.recv_timeout(LIMIT), Ok(Error::Lost { .. })));
    drop(tunnel);
    keep_nothing();
    assert!(losses.try_recv().is_err(), "a stop is no loss");
}

/// Echoes until the near host hangs up.
fn far(way: Way, near: &Receiver<Word>, tell: &Sender<Word>) {
    new_namespace(near, tell);
    near.recv_timeout(LIMIT).expect("the wire is there");
    let tunnel = host((2, way), |error| panic!("the far device is lost: {error}"));
    let datagrams = UdpSocket::bind((Ipv4Addr::new(10, 5, 2, 1), ECHO)).expect("udp echo");
    let streams = TcpListener::bind((Ipv4Addr::new(10, 5, 2, 1), ECHO)).expect("tcp echo");
    tell.send(Word::Ready).expect("the near host listens");
    thread::spawn(move || {
        for stream in streams.incoming() {
            let mut stream = stream.expect("a stream");
            let mut back = stream.try_clone().expect("the other half");
            std::io::copy(&mut stream, &mut back).expect("an echo");
        }
    });
    datagrams.set_read_timeout(Some(Duration::from_millis(50))).expect("a deadline");
    let mut buffer = [0; 2048];
    while !matches!(near.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected)) {
        if let Ok((len, from)) = datagrams.recv_from(&mut buffer) {
            datagrams.send_to(&buffer[..len], from).expect("an echo");
        }
    }
    let counters = tunnel.counters();
    assert_eq!(counters.count(Event::UnknownSender), 1, "the stranger's packet");
    assert_eq!(counters.count(Event::ForeignSource), 1, "the liar's packet");
    assert_eq!(counters.count(Event::Short), 1, "the short packet");
    drop(tunnel);
    keep_nothing();
}

/// As whoever takes the last program away: the namespace goes, and its files would stay.
fn keep_nothing() {
    let claim = Claim::take(PORT).expect("a file of root's").expect("nobody has it");
    claim.close().expect("nothing is left of it");
}

fn full_size_datagrams_come_back() {
    let socket = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a deadline");
    socket.connect((Ipv4Addr::new(10, 5, 2, 1), ECHO)).expect("a destination");
    for len in [1, 0, 1000, MTU as usize - 28] {
        let sent: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).expect("a byte")).collect();
        let mut came = [0; 2048];
        let start = Instant::now();
        // The kernel switches a device's queue on a moment after somebody begins to read from it,
        // and drops what comes before: so a datagram is sent again, as any client would.
        // A late answer to an earlier try is passed over.
        let mut back = false;
        while !back {
            assert!(start.elapsed() < LIMIT, "{len} bytes did not come back as they went");
            socket.send(&sent).expect("sent");
            back = socket.recv(&mut came).is_ok_and(|count| came[..count] == sent);
        }
    }
}

fn bytes_come_back_over_tcp() {
    let mut stream = TcpStream::connect(("10.5.2.1", ECHO)).expect("connected");
    let sent: Vec<u8> =
        (0..4 << 20).map(|n: u32| n.to_le_bytes()[1] ^ n.to_le_bytes()[0]).collect();
    let mut writer = stream.try_clone().expect("the other half");
    let copy = sent.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&copy).expect("written");
        writer.shutdown(std::net::Shutdown::Write).expect("closed");
    });
    let mut came = Vec::with_capacity(sent.len());
    stream.set_read_timeout(Some(LIMIT)).expect("a deadline");
    stream.read_to_end(&mut came).expect("read");
    writing.join().expect("the writer");
    assert!(came == sent, "{} bytes came of {}", came.len(), sent.len());
}

fn nobody_there_is_said() {
    let socket = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
    socket.set_read_timeout(Some(LIMIT)).expect("a deadline");
    socket.connect("10.5.99.1:9").expect("a destination");
    // Without this the kernel keeps "network unreachable" to itself, as no lasting error.
    setsockopt(&socket, sockopt::Ipv4RecvErr, &true).expect("errors, please");
    socket.send(b"anyone?").expect("sent");
    let error = socket.recv(&mut [0; 10]).expect_err("nobody is there");
    assert_eq!(error.raw_os_error(), Some(nix::libc::ENETUNREACH), "{error}");
}

/// What the far host counts is asserted there, at the end.
fn strangers_and_liars_are_dropped() {
    ip("addr add 192.0.2.7/24 dev u0");
    let to = SocketAddrV4::new([192, 0, 2, 2].into(), PORT);
    let stranger = UdpSocket::bind("192.0.2.7:0").expect("a stranger's socket");
    stranger.send_to(&datagram([10, 5, 1, 1]), to).expect("sent");
    let liar = UdpSocket::bind("192.0.2.1:0").expect("a liar's socket");
    liar.send_to(&datagram([10, 5, 3, 1]), to).expect("sent");
    liar.send_to(&[0x45; 3], to).expect("sent");
    // One queue, one thread: when these are back, the others have been judged.
    full_size_datagrams_come_back();
}

/// An empty UDP datagram to the far container; its header checksum is right.
fn datagram(source: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    bytes.extend(source);
    bytes.extend([10, 5, 2, 1, 0, 9, 0, 9, 0, 8, 0, 0]);
    let words = bytes[..20].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("folded");
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Everything but the wire itself, which is there already.
fn host((n, way): (u8, Way), lost: impl FnOnce(Error) + Send + 'static) -> Tunnel {
    ip("link set lo up");
    ip(&format!("addr add 192.0.2.{n}/24 dev u0"));
    ip("link set u0 up");
    let device = Device::open(DEVICE, NonZeroUsize::MIN).expect("a device");
    ip(&format!("addr add 10.5.{n}.0/32 dev {DEVICE}"));
    ip(&format!("link set {DEVICE} mtu {MTU} up"));
    ip(&format!("route add 10.5.0.0/16 dev {DEVICE}"));
    ip(&format!("addr add 10.5.{n}.1/32 dev lo"));
    start((n, way), device, lost)
}

fn start((n, way): (u8, Way), device: Device, lost: impl FnOnce(Error) + Send + 'static) -> Tunnel {
    let other = 3 - n;
    let peer = (subnet(other), [192, 0, 2, other].into());
    let endpoint = endpoint(n, [192, 0, 2, n]);
    let tunnel = Tunnel::start(device, endpoint, lost).expect("a tunnel");
    tunnel.set_peers_with(vec![peer], [peer.1].into());
    if way == Way::Shortcut {
        if nix::net::if_::if_nametoindex("flannel0-lift").is_err() {
            ip("link add flannel0-lift up type vxlan external gpe dstport 40000");
        }
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("packets are forwarded");
        assert!(shorten(&tunnel), "it leads from now on");
    }
    tunnel
}

fn endpoint(n: u8, underlay: [u8; 4]) -> Endpoint {
    Endpoint {
        underlay: underlay.into(),
        port: PORT,
        subnet: subnet(n).into(),
        mtu: Mtu::new(MTU).expect("in range"),
        accept: Accept::Peers,
        marks: Marks::None,
    }
}

fn subnet(n: u8) -> Subnet {
    Subnet::new([10, 5, n, 0].into(), 24).expect("aligned")
}

/// Tells whether anything was to do.
fn shorten(tunnel: &Tunnel) -> bool {
    let changed = tunnel.ensure_shortcut(&ground(DEVICE, "u0"));
    tunnel.open_lift();
    changed.expect("the kernel takes the programs")
}

fn ground(device: &str, uplink: &str) -> Ground {
    let interface = |name: &str| {
        let index = nix::net::if_::if_nametoindex(name).expect("an interface");
        Interface { name: name.to_owned(), index }
    };
    let lift = Lift { name: "flannel0-lift".to_owned(), port: 40000 };
    Ground { device: interface(device), uplink: interface(uplink), lift: Some(lift) }
}

/// The device that an earlier tunnel left.
fn again() -> Device {
    Device::open(DEVICE, NonZeroUsize::MIN).expect("the device again")
}

/// Puts this thread, and what it starts, into a network of its own.
fn new_namespace(other: &Receiver<Word>, tell: &Sender<Word>) -> Word {
    unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
    tell.send(Word::Namespace(gettid())).expect("the other host listens");
    other.recv_timeout(LIMIT).expect("the other host's namespace")
}

fn ip(words: &str) -> String {
    run("ip", words)
}

fn tc(words: &str) -> String {
    run("tc", words)
}

fn tc_with(words: &str, more: &[&str]) -> String {
    let words: Vec<&str> = words.split(' ').chain(more.iter().copied()).collect();
    run_with("tc", &words)
}

fn nft(words: &str) -> String {
    run("nft", words)
}

fn run(program: &str, words: &str) -> String {
    run_with(program, &words.split(' ').collect::<Vec<_>>())
}

#[expect(clippy::disallowed_methods, reason = "the test's own view of the kernel")]
fn run_with(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().expect("a tool of the network's");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {words:?}: {text}");
    text
}

#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
fn skipped() -> bool {
    if geteuid().is_root() {
        return false;
    }
    assert!(std::env::var_os("REQUIRE_ROOT").is_none(), "REQUIRE_ROOT is set and we are not root");
    eprintln!("SKIPPED: needs root");
    true
}
