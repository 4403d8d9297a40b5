//! Wires that are slower than what goes over them.

use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use nix::sys::socket::{SockaddrIn, getsockname, setsockopt, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use twill_net::netns::{Netns, Scratch};
use twill_tunnel::{Event, Tunnel};

use crate::world::{LIMIT, PORT, dropped, echo, host, ip, lost_at, run, sleeps};

#[test]
fn a_full_socket_holds_up_nothing_that_comes() {
    let Some(scratch) = Scratch::enter() else { return };
    let tunnel = host(&scratch);
    echo(&tunnel, 1400);
    // What the socket holds takes minutes to leave; half of it, until there is room again.
    run("tc", "qdisc add dev u0 root tbf rate 256kbit burst 3000 limit 1gb");
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
        for _time in 0..1000 {
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

/// As many packets wait there as a wire of the kernel's usual kind keeps; those after them are lost where it begins,
/// and the kernel tells nobody.
#[test]
fn a_slow_wire_to_one_peer_holds_up_no_other() {
    let Some(scratch) = Scratch::enter() else { return };
    let tunnel = host(&scratch);
    let _slow = slow_wire(&scratch, "32mb");
    let counters = flood_and_echo(&tunnel, || lost_at("v0") > 0);
    assert_eq!(counters, [0; 3]);
}

/// The kernel says so if it is asked to, which the tunnel does not.
#[test]
fn a_wire_that_refuses_packets_holds_up_no_other() {
    let Some(scratch) = Scratch::enter() else { return };
    let tunnel = host(&scratch);
    let _slow = slow_wire(&scratch, "3kb");
    ask_for_refusals();
    let counters = flood_and_echo(&tunnel, || tunnel.counters().count(Event::NoBuffers) > 0);
    assert!(counters[0] > 0, "{:?}", tunnel.counters());
    assert_eq!(counters[1..], [0; 2], "{:?}", tunnel.counters());
}

/// Puts the peer 192.0.2.3 behind a wire of its own, at the beginning of which so much may wait.
fn slow_wire(scratch: &Scratch, limit: &str) -> (Netns, UdpSocket) {
    let slow = scratch.another();
    ip(&format!("link add v0 type veth peer name v0 netns {}", slow.path().display()));
    let listen = || {
        ip("addr add 192.0.2.3/24 dev v0");
        ip("link set v0 up");
        UdpSocket::bind(("192.0.2.3", PORT)).expect("bound")
    };
    let listens = slow.run(listen).expect("entered");
    ip("link set v0 up");
    ip("route add 192.0.2.3/32 dev v0");
    run("tc", &format!("qdisc add dev v0 root tbf rate 256kbit burst 3000 limit {limit}"));
    (slow, listens)
}

/// Sends to the slow peer until that is so and then goes on with it, while the other peer is spoken to. Answers how
/// often packets were refused, for want of room first.
fn flood_and_echo(tunnel: &Tunnel, until: impl Fn() -> bool) -> [u64; 3] {
    echo(tunnel, 100);
    let socket = UdpSocket::bind("10.5.1.1:0").expect("a container's socket");
    let (start, counters) = (Instant::now(), tunnel.counters());
    let flood = || {
        for _time in 0..1000 {
            let _full = socket.send_to(&[7; 1400], "10.5.3.1:9").is_err();
        }
    };
    while !until() {
        assert!(start.elapsed() < LIMIT, "the wire does not fill: {counters:?}");
        flood();
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                flood();
            }
        });
        for _time in 0..100 {
            echo(tunnel, 1000);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let start = Instant::now();
    while !sleeps() {
        assert!(start.elapsed() < LIMIT, "it does not wait for packets: {counters:?}");
    }
    [Event::NoBuffers, Event::SocketError, Event::UnderlayTooSmall].map(|why| counters.count(why))
}

/// Has the kernel tell the tunnel's socket of each packet that a wire does not take (`ENOBUFS`).
fn ask_for_refusals() {
    let own = pidfd_open(getpid(), PidfdFlags::empty()).expect("this process");
    let files = std::fs::read_dir("/proc/self/fd").expect("our files").flatten();
    let numbers = files.filter_map(|file| file.file_name().to_str()?.parse().ok());
    for number in numbers {
        let Ok(file) = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) else { continue };
        let bound = getsockname::<SockaddrIn>(file.as_raw_fd());
        if bound.is_ok_and(|at| (at.ip(), at.port()) == ([192, 0, 2, 1].into(), PORT)) {
            return setsockopt(&file, sockopt::Ipv4RecvErr, &true).expect("errors, please");
        }
    }
    panic!("the tunnel has no socket");
}
