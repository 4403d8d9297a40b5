//! What goes wrong around a tunnel, and must not get into it. The far host is one socket that turns every
//! datagram round.
//!
//! ```text
//! lo 10.5.1.1  flannel0 ─ u0 192.0.2.1 ═══ u0 192.0.2.2: who is 10.5.2.1
//! ```

use std::fs;
use std::net::UdpSocket;
use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use twill_core::ids::{Mtu, Subnet};
use twill_net::netns::Scratch;
use twill_tunnel::{Accept, Device, Endpoint, Event, Marks, Tunnel};

const PORT: u16 = 8285;
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_peer_that_is_gone_holds_up_nobody() {
    let Some(scratch) = Scratch::enter() else { return };
    let tunnel = host(&scratch);
    echo(&tunnel, 100);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Nobody answers for that host on the wire, nor for that block in the table.
            let socket = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
            while !stop.load(Ordering::Relaxed) {
                for far in ["10.5.3.1:9", "10.5.4.1:9"] {
                    let _full = socket.send_to(&[7; 1000], far).is_err();
                }
            }
        });
        for _time in 0..100 {
            echo(&tunnel, 1000);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let counters = tunnel.counters();
    assert!(counters.count(Event::NoRoute) > 0, "{counters:?}");
    assert_eq!(counters.count(Event::SocketError), 0, "{counters:?}");
}

#[test]
fn the_device_may_change_while_packets_flow() {
    let Some(scratch) = Scratch::enter() else { return };
    let tunnel = host(&scratch);
    echo(&tunnel, 1400);
    for change in ["mtu 1300", "mtu 1472", "txqueuelen 10", "txqueuelen 500", "down", "up"] {
        ip(&format!("link set flannel0 {change}"));
        if change == "up" {
            ip("route replace 10.5.0.0/16 dev flannel0");
        }
        if change != "down" {
            echo(&tunnel, 1200);
        }
    }
    echo(&tunnel, 1400);
}

#[test]
fn the_last_hop_is_told() {
    let Some(scratch) = Scratch::enter() else { return };
    let tunnel = host(&scratch);
    echo(&tunnel, 1);
    let socket = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
    socket.set_read_timeout(Some(LIMIT)).expect("a deadline");
    setsockopt(&socket, sockopt::Ipv4RecvErr, &true).expect("errors, please");
    socket.set_ttl(1).expect("one hop");
    socket.connect("10.5.2.1:7").expect("a destination");
    socket.send(b"how far?").expect("sent");
    let error = socket.recv(&mut [0; 10]).expect_err("not that far");
    assert_eq!(error.raw_os_error(), Some(libc::EHOSTUNREACH), "{error}");
    assert_eq!(tunnel.counters().count(Event::Expired), 1);
}

#[test]
fn new_peers_stop_no_packet() {
    let Some(scratch) = Scratch::enter() else { return };
    let tunnel = host(&scratch);
    echo(&tunnel, 1);
    // More routes than any cluster has, and again and again.
    let strangers = (0..10_000_u16).map(|n| {
        let [high, low] = n.to_be_bytes();
        (Subnet::new([11, high, low, 0].into(), 24).expect("aligned"), [198, 51, high, low].into())
    });
    let all: Vec<_> = strangers.chain(peers()).collect();
    for _time in 0..20 {
        tunnel.set_peers(all.clone());
        echo(&tunnel, 100);
    }
    assert_eq!(tunnel.counters().count(Event::UnknownSender), 0);
    tunnel.set_peers(Vec::new());
    let socket = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
    let (start, counters) = (Instant::now(), tunnel.counters());
    while counters.count(Event::NoRoute) == 0 {
        assert!(start.elapsed() < LIMIT, "{counters:?}");
        let _unreachable = socket.send_to(b"gone?", "10.5.2.1:7").is_err();
    }
}

#[test]
fn a_full_socket_holds_up_nothing_that_comes() {
    let Some(scratch) = Scratch::enter() else { return };
    let tunnel = host(&scratch);
    echo(&tunnel, 1400);
    // What the socket holds takes minutes to leave; half of it, until there is room again.
    run("tc", "qdisc add dev u0 root tbf rate 256kbit burst 3000 limit 100mb");
    let socket = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
    socket.connect("10.5.2.1:7").expect("a destination");
    socket.set_read_timeout(Some(LIMIT)).expect("a deadline");
    let start = Instant::now();
    while dropped("flannel0") == 0 {
        assert!(
            start.elapsed() < LIMIT,
            "the device's queue does not fill: {:?}",
            tunnel.counters()
        );
        for _time in 0..100 {
            let _full = socket.send(&[7; 1400]).is_err();
        }
    }
    let counters = tunnel.counters();
    let before = counters.count(Event::Received);
    while counters.count(Event::Received) < before + 20 {
        assert!(start.elapsed() < LIMIT, "nothing comes: {counters:?}");
        socket.recv(&mut [0; 2048]).expect("what left before comes back");
        while !sleeps() {
            assert!(start.elapsed() < LIMIT, "it does not wait for room: {counters:?}");
        }
    }
    assert_eq!(counters.count(Event::SocketError), 0, "{counters:?}");
    // And it can be stopped as it is.
    drop(tunnel);
}

/// Its packets are lost where the wire begins, and the kernel tells nobody.
#[test]
fn a_slow_wire_to_one_peer_holds_up_no_other() {
    let Some(scratch) = Scratch::enter() else { return };
    let tunnel = host(&scratch);
    let slow = scratch.another();
    ip(&format!("link add v0 type veth peer name v0 netns {}", slow.path().display()));
    let answer = || {
        ip("addr add 192.0.2.3/24 dev v0");
        ip("link set v0 up");
    };
    slow.run(answer).expect("entered");
    ip("link set v0 up");
    ip("route add 192.0.2.3/32 dev v0");
    // Less than the socket holds.
    run("tc", "qdisc add dev v0 root tbf rate 256kbit burst 3000 limit 300kb");
    echo(&tunnel, 100);
    let socket = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
    let start = Instant::now();
    while lost_at("v0") == 0 {
        assert!(start.elapsed() < LIMIT, "the wire does not fill: {:?}", tunnel.counters());
        for _time in 0..100 {
            let _full = socket.send_to(&[7; 1400], "10.5.3.1:9").is_err();
        }
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _full = socket.send_to(&[7; 1400], "10.5.3.1:9").is_err();
            }
        });
        for _time in 0..100 {
            echo(&tunnel, 1000);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let counters = tunnel.counters();
    let errors = [Event::SocketError, Event::NoBuffers, Event::UnderlayTooSmall];
    assert_eq!(errors.map(|event| counters.count(event)), [0; 3], "{counters:?}");
    let start = Instant::now();
    while !sleeps() {
        assert!(start.elapsed() < LIMIT, "it does not wait for packets: {counters:?}");
    }
}

/// There and back; a datagram is sent again if it is lost.
fn echo(tunnel: &Tunnel, len: usize) {
    let socket = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
    socket.connect("10.5.2.1:7").expect("a destination");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a deadline");
    let (start, sent) = (Instant::now(), vec![9; len]);
    let mut came = [0; 2048];
    loop {
        assert!(start.elapsed() < LIMIT, "{len} bytes did not come back: {:?}", tunnel.counters());
        socket.send(&sent).expect("sent");
        if socket.recv(&mut came).is_ok_and(|count| came[..count] == sent) {
            return;
        }
    }
}

fn host(scratch: &Scratch) -> Tunnel {
    let far = scratch.another();
    ip(&format!("link add u0 type veth peer name u0 netns {}", far.path().display()));
    let mirror = || {
        ip("addr add 192.0.2.2/24 dev u0");
        ip("link set u0 up");
        UdpSocket::bind(("192.0.2.2", PORT)).expect("bound")
    };
    let mirror = far.run(mirror).expect("entered");
    thread::spawn(move || turn_round(&mirror));
    let device = Device::open("flannel0", NonZeroUsize::MIN).expect("a device");
    for words in [
        "link set lo up",
        "addr add 192.0.2.1/24 dev u0",
        "link set u0 up",
        "link set flannel0 mtu 1472 up",
        "addr add 10.5.1.1/32 dev lo",
        "route add 10.5.0.0/16 dev flannel0",
    ] {
        ip(words);
    }
    let endpoint = Endpoint {
        underlay: [192, 0, 2, 1].into(),
        port: PORT,
        subnet: block(1).into(),
        mtu: Mtu::new(1472).expect("in range"),
        accept: Accept::Peers,
        marks: Marks::Priority,
    };
    let tunnel = Tunnel::start(device, endpoint, |error| panic!("lost: {error}"));
    let tunnel = tunnel.expect("a tunnel");
    tunnel.set_peers(peers());
    tunnel
}

fn peers() -> Vec<(Subnet, std::net::IpAddr)> {
    [2, 3].map(|n| (block(n), [192, 0, 2, n].into())).to_vec()
}

fn block(n: u8) -> Subnet {
    Subnet::new([10, 5, n, 0].into(), 24).expect("aligned")
}

/// Addresses and ports change places, which no checksum minds.
fn turn_round(socket: &UdpSocket) {
    let mut packet = [0; 2048];
    while let Ok((len, near)) = socket.recv_from(&mut packet) {
        let (source, destination) = packet[12..20].split_at_mut(4);
        source.swap_with_slice(destination);
        let (source, destination) = packet[20..24].split_at_mut(2);
        source.swap_with_slice(destination);
        let _full = socket.send_to(&packet[..len], near).is_err();
    }
}

/// How many packets the device's queue had no room for.
fn dropped(device: &str) -> u64 {
    let said = run("ip", &format!("-s -j link show dev {device}"));
    let said: serde_json::Value = serde_json::from_str(&said).expect("json");
    said[0]["stats64"]["tx"]["dropped"].as_u64().expect("a number")
}

/// How many packets an interface's queueing discipline had no room for.
fn lost_at(interface: &str) -> u64 {
    let said = run("tc", &format!("-s -j qdisc show dev {interface}"));
    let said: serde_json::Value = serde_json::from_str(&said).expect("json");
    said[0]["drops"].as_u64().expect("a number")
}

/// Do the threads that carry packets wait for some?
fn sleeps() -> bool {
    let threads = fs::read_dir("/proc/self/task").expect("our threads").flatten();
    let states = threads.filter_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(") ")?;
        name.contains("(tunnel-").then(|| rest.starts_with('S'))
    });
    states.min() == Some(true)
}

fn ip(words: &str) {
    run("ip", words);
}

#[expect(clippy::disallowed_methods, reason = "the test's own hands in the kernel")]
fn run(program: &str, words: &str) -> String {
    let output = Command::new(program).args(words.split(' ')).output().expect("iproute2");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {words}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
