//! A host with a tunnel, the far host, and what can be seen of them.

use std::fs;
use std::net::UdpSocket;
use std::num::NonZeroUsize;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use twill_core::ids::{Mtu, Subnet};
use twill_net::netns::Scratch;
use twill_tunnel::{Accept, Device, Endpoint, Marks, Tunnel};

/// Of the tunnels.
pub(crate) const PORT: u16 = 8285;
/// What a busy machine may need for something that takes milliseconds on an idle one.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// There and back; a datagram is sent again if it is lost.
pub(crate) fn echo(tunnel: &Tunnel, len: usize) {
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

pub(crate) fn host(scratch: &Scratch) -> Tunnel {
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

pub(crate) fn peers() -> Vec<(Subnet, std::net::IpAddr)> {
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
pub(crate) fn dropped(device: &str) -> u64 {
    let said = run("ip", &format!("-s -j link show dev {device}"));
    let said: serde_json::Value = serde_json::from_str(&said).expect("json");
    said[0]["stats64"]["tx"]["dropped"].as_u64().expect("a number")
}

/// How many packets an interface's queueing discipline had no room for.
pub(crate) fn lost_at(interface: &str) -> u64 {
    let said = run("tc", &format!("-s -j qdisc show dev {interface}"));
    let said: serde_json::Value = serde_json::from_str(&said).expect("json");
    said[0]["drops"].as_u64().expect("a number")
}

/// Do the threads that carry packets wait for some?
pub(crate) fn sleeps() -> bool {
    let threads = fs::read_dir("/proc/self/task").expect("our threads").flatten();
    let states = threads.filter_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(") ")?;
        name.contains("(tunnel-").then(|| rest.starts_with('S'))
    });
    states.min() == Some(true)
}

pub(crate) fn ip(words: &str) {
    run("ip", words);
}

#[expect(clippy::disallowed_methods, reason = "the test's own hands in the kernel")]
pub(crate) fn run(program: &str, words: &str) -> String {
    let output = Command::new(program).args(words.split(' ')).output().expect("iproute2");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {words}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
