//! A host between its container, a container of another host, and the world.
//!
//! ```text
//!   peer 10.5.2.2 ───── flannel.1 ┐
//!                                  host ── docker0 ── container 10.5.1.2
//!   world 192.168.140.23 ──── eth0 ┘
//! ```
//!
//! What is a tunnel to a firewall is an interface with a name. [`World::of_ipv6`] has the same with
//! `fd05:0:0:n::` in place of 10.5.n. and `fd00:140::` in place of 192.168.140.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use twill_net::netns::{Netns, Scratch};
use twill_net::sysctl;

use crate::host::{feed, run};

/// Long enough for a packet between two namespaces of one machine, however busy that is.
const PATIENCE: Duration = Duration::from_secs(5);
/// A packet that is dropped is not there at once, and not later either.
const SILENCE: Duration = Duration::from_millis(100);

pub(super) struct World {
    pub(super) container: Netns,
    pub(super) peer: Netns,
    pub(super) outside: Netns,
}

impl World {
    pub(super) fn new(scratch: &Scratch) -> Self {
        Self::with(
            scratch,
            [
                ["docker0 10.5.1.1/24", "10.5.1.2/24"],
                ["flannel.1 10.5.2.1/24", "10.5.2.2/24"],
                ["eth0 192.168.140.22/24", "192.168.140.23/24"],
            ],
        )
    }

    pub(super) fn of_ipv6(scratch: &Scratch) -> Self {
        sysctl::ensure_ipv6_forwarding(&[]).unwrap();
        Self::with(
            scratch,
            [
                ["docker0 fd05:0:0:1::1/64", "fd05:0:0:1::2/64"],
                ["flannel.1 fd05:0:0:2::1/64", "fd05:0:0:2::2/64"],
                ["eth0 fd00:140::22/64", "fd00:140::23/64"],
            ],
        )
    }

    fn with(scratch: &Scratch, [near, far, world]: [[&str; 2]; 3]) -> Self {
        sysctl::ensure_forwarding().unwrap();
        addresses_are_sure();
        run("ip link del eth0");
        let [container, peer, outside] = [near, far, world].map(|[here, there]| {
            let netns = scratch.another();
            link(here, there, &netns);
            netns
        });
        Self { container, peer, outside }
    }
}

/// An interface of the host, and its other end in that namespace, whose way to everywhere it is.
pub(super) fn link(here: &str, there: &str, netns: &Netns) {
    let (name, address) = here.split_once(' ').unwrap();
    netns.run(addresses_are_sure).unwrap();
    run(&format!("ip link add {name} type veth peer name far1"));
    run(&format!("ip link set far1 netns {}", netns.path().display()));
    run(&format!("ip address add {address} dev {name} nodad"));
    run(&format!("ip link set {name} up"));
    let gateway = address.split('/').next().unwrap();
    let there = || {
        run("ip link set far1 name eth0");
        run(&format!("ip address add {there} dev eth0 nodad"));
        run("ip link set eth0 up");
        run(&format!("ip route add default via {gateway}"));
    };
    netns.run(there).unwrap();
    carries(name);
    netns.run(|| carries("eth0")).unwrap();
}

/// Links of this namespace that come are alone with their addresses. Else nobody asks for a neighbour from a link's own
/// address before it is sure of it, up to two seconds later, and the third question in vain loses the packet.
fn addresses_are_sure() {
    // Without IPv6 nobody asks.
    drop(std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0"));
}

/// Waits until it sends: a link that comes up first throws away what it is given.
fn carries(name: &str) {
    let limit = Instant::now() + PATIENCE;
    while !run(&format!("ip -o link show {name}")).contains("state UP") {
        assert!(Instant::now() < limit, "{name} does not come up");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A socket that listens in a namespace; it can be used from anywhere.
pub(super) fn socket(netns: &Netns, address: impl Into<IpAddr>) -> UdpSocket {
    let address = SocketAddr::new(address.into(), 0);
    netns.run(|| UdpSocket::bind(address)).unwrap().unwrap()
}

/// Sends one packet; where it seems to come from, if it arrives at all.
pub(super) fn send(from: &UdpSocket, to: &UdpSocket, expected: bool) -> Option<SocketAddr> {
    let patience = if expected { PATIENCE } else { SILENCE };
    to.set_read_timeout(Some(patience)).unwrap();
    from.send_to(b"hello", to.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 16];
    let (length, source) = to.recv_from(&mut buffer).ok()?;
    assert_eq!(&buffer[..length], b"hello");
    Some(source)
}

/// Does a packet pass in both directions?
#[track_caller]
pub(super) fn assert_passes(one: &UdpSocket, other: &UdpSocket, name: &str) {
    for (from, to) in [(one, other), (other, one)] {
        let source = send(from, to, true);
        assert_eq!(source, from.local_addr().ok(), "{name}");
    }
}

/// Docker 28's rules for one container on its default bridge, as `iptables-save` shows them.
pub(super) fn docker(program: &str) {
    feed(
        &format!("{program}-restore --noflush"),
        "*raw\n-A PREROUTING -d 10.5.1.2/32 ! -i docker0 -j DROP\nCOMMIT\n\
         *filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n:DOCKER-BRIDGE - [0:0]\n:DOCKER-CT - [0:0]\n\
         :DOCKER-FORWARD - [0:0]\n:DOCKER-USER - [0:0]\n\
         -I FORWARD 1 -j DOCKER-FORWARD\n-I FORWARD 1 -j DOCKER-USER\n\
         -A DOCKER-FORWARD -j DOCKER-CT\n-A DOCKER-FORWARD -j DOCKER-BRIDGE\n\
         -A DOCKER-FORWARD -i docker0 -j ACCEPT\n\
         -A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A DOCKER-BRIDGE -o docker0 -j DOCKER\n\
         -A DOCKER ! -i docker0 -o docker0 -j DROP\nCOMMIT\n",
    );
}
