//! Peers, routes and the device change under it.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use twill_core::ids::Subnet;
use twill_net::netns::Scratch;
use twill_tunnel::Event;

use crate::world::{LIMIT, echo, host, ip, peers};

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
