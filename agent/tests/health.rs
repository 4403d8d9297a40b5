//! What a host tells of itself while things are done to it: `/metrics`, `/healthz`, `/readyz`.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use support::network::{UDP, UDP_PEER, VXLAN, VXLAN_PEER, status};
use support::process::wait_for;
use support::{PREFIX, World, get, ip, iptables};

/// The whole number behind a series, which must be there.
fn metric(series: &str) -> u64 {
    let page = get("/metrics");
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let number = line.unwrap_or_else(|| panic!("no {series} in:\n{page}"));
    number.split('.').next().unwrap_or_default().parse().expect("a number")
}

fn healed(kind: &str) -> u64 {
    metric(&format!("twill_drift_healed_total{{kind=\"{kind}\"}}"))
}

#[test]
fn healed_drift_is_counted_by_kind_and_what_was_meant_is_not() {
    let Some(world) = World::with_config(VXLAN) else { return };
    let mut twilld = world.twilld(&["--resync=60", "--iptables-resync=1", "-ip-masq"]);
    twilld.says("bootstrap done");
    world.peer(VXLAN_PEER);
    wait_for("the peer", || status("peers").contains(r#""pending":[]}]"#));
    let kinds = ["address", "device", "fdb", "neighbour", "route", "rule", "sysctl"];
    assert_eq!(kinds.map(healed), [0; 7], "a peer that comes is no drift");

    // What is done to the host, and what of it is counted.
    let rows: [(&dyn Fn(), &str, u64); 8] = [
        (&|| drop(ip("route del 10.88.9.0/24")), "route", 1),
        (&|| drop(ip("neigh del 10.88.9.0 dev flannel.1")), "neighbour", 1),
        (&|| drop(bridge("fdb del 02:00:00:00:00:09 dev flannel.1")), "fdb", 1),
        (&|| drop(ip("addr flush dev flannel.1")), "address", 1),
        (&|| drop(ip("link del flannel.1")), "device", 1),
        (&|| drop(ip("link set flannel.1 mtu 1300")), "device", 2),
        (&|| drop(iptables("-F FLANNEL-FWD")), "rule", 1),
        (&|| fs::write("/proc/sys/net/ipv4/ip_forward", "0").expect("written"), "sysctl", 1),
    ];
    for (drift, kind, count) in rows {
        drift();
        wait_for(kind, || healed(kind) >= count);
        assert_eq!(healed(kind), count, "{kind}");
        wait_for("convergence", || metric("twill_pending_rows") == 0);
    }
    assert!(healed("route") <= 2, "a device that is made anew brings its rows");
    assert_eq!(metric("twill_ready"), 1);

    let before = kinds.map(healed);
    world.peer_goes();
    wait_for("its end", || metric("twill_peers") == 0 && metric("twill_pending_rows") == 0);
    assert_eq!(kinds.map(healed), before, "a peer that goes is no drift");
    twilld.stops();
}

#[test]
fn rows_that_are_refused_are_counted_as_long_as_something_is_in_the_way() {
    let Some(world) = World::with_config(VXLAN) else { return };
    world.peer(VXLAN_PEER);
    let mut twilld = world.twilld(&["--resync=60"]);
    twilld.says("bootstrap done");
    wait_for("the peer", || metric("twill_peers") == 1 && metric("twill_pending_rows") == 0);
    // Somebody else's, which is never replaced.
    ip("route replace 10.88.9.0/24 via 192.0.2.253 proto static");
    twilld.says("that is not ours leads through u0");
    wait_for("the row that is refused", || metric("twill_pending_rows") == 1);
    wait_for("unreadiness", || metric("twill_ready") == 0);
    ip("route del 10.88.9.0/24 proto static");
    wait_for("none", || metric("twill_pending_rows") == 0 && metric("twill_ready") == 1);
    assert!(ip("route show").contains("10.88.9.0/24 via 10.88.9.0 dev flannel.1"));
    twilld.stops();
}

#[test]
fn the_page_tells_of_lease_etcd_and_leases_that_are_not_used() {
    let Some(mut world) = World::with_config(UDP) else { return };
    world.peer(UDP_PEER);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    assert!(get("/metrics").contains("content-type: text/plain; version=0.0.4"));
    let left =
        metric("twill_lease_expiry_timestamp_seconds") - metric("process_start_time_seconds");
    assert!((86_390..86_500).contains(&left), "{left}");
    assert!(metric(r#"twill_etcd_requests_total{method="claim"}"#) >= 1);
    assert!(metric("process_open_fds") > 5 && metric("process_resident_memory_bytes") > 1_000_000);
    assert!(
        get("/metrics")
            .contains(r#"twill_tunnel_drops_total{device="flannel0",reason="no_route"}"#)
    );
    ip("addr show flannel0");
    wait_for("the peer", || metric("twill_peers") == 1);
    // Into the tunnel, to nobody.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let no_route = r#"twill_tunnel_drops_total{device="flannel0",reason="no_route"}"#;
    wait_for("a drop", || {
        socket.send_to(b"x", "10.88.200.1:9").expect("sent");
        metric(no_route) >= 1
    });
    assert!(metric(r#"twill_device_transmit_packets_total{device="flannel0"}"#) >= 1);

    world.etcdctl(&["put", &format!("{PREFIX}/subnets/10.88.8.0-24"), "not a lease"]);
    world.etcdctl(&["put", &format!("{PREFIX}/subnets/10.88.7.0-24"), VXLAN_PEER]);
    wait_for("both", || {
        metric(r#"twill_ignored_leases{reason="malformed"}"#) == 1
            && metric(r#"twill_ignored_leases{reason="other-backend"}"#) == 1
    });

    let lists = metric("twill_watch_relists_total");
    world.stop_etcd();
    wait_for("its absence", || metric("twill_etcd_connected") == 0);
    assert_eq!(metric("twill_degraded"), 1);
    wait_for("a listing that failed", || {
        metric(r#"twill_etcd_request_errors_total{method="picture"}"#) >= 1
    });
    world.start_etcd();
    wait_for("its return", || metric("twill_etcd_connected") == 1);
    assert!(metric("twill_etcd_reconnects_total") >= 1);
    assert!(metric("twill_watch_relists_total") > lists);
    twilld.stops();
}

#[test]
fn other_machines_see_health_and_numbers_and_no_addresses() {
    let Some(world) = World::with_config(UDP) else { return };
    world.peer(UDP_PEER);
    let mut twilld = world.twilld(&["--healthz-port=8471"]);
    twilld.says("bootstrap done");
    let ask = |path: &str| {
        let mut stream = TcpStream::connect("192.0.2.1:8471").expect("a connection");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("asked");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answered");
        text
    };
    assert!(ask("/healthz").ends_with("\r\n\r\nflanneld is running"), "{}", ask("/healthz"));
    wait_for("readiness", || ask("/readyz").ends_with("\r\n\r\nflanneld is ready"));
    wait_for("the peer", || ask("/metrics").contains("\ntwill_peers 1\n"));
    assert!(!ask("/metrics").contains("192.0.2.9") && !ask("/metrics").contains("10.88."));
    for path in ["/status", "/doctor"] {
        assert!(ask(path).starts_with("HTTP/1.1 404"), "{path} is for this host alone");
    }
    twilld.stops();
}

#[test]
fn a_stopped_uplink_is_told_in_both_places() {
    let Some(world) = World::with_config(UDP) else { return };
    let mut twilld = world.twilld(&["--iface=u0"]);
    twilld.says("bootstrap done");
    ip("addr del 192.0.2.1/24 dev u0");
    let why = "the uplink u0 with 192.0.2.1 is away";
    wait_for("a reason", || get("/readyz").contains("503") && get("/readyz").contains(why));
    let health = get("/healthz");
    assert!(health.contains("200 OK") && health.contains(&format!("not ready: {why}")), "{health}");
    assert_eq!(metric("twill_ready"), 0);
    ip("addr add 192.0.2.1/24 dev u0");
    wait_for("health", || get("/healthz").ends_with("\r\n\r\nflanneld is running"));
    twilld.stops();
}

fn bridge(words: &str) -> String {
    support::command("bridge", words)
}
