//! A host's life: restarts, drift, a lease that goes, an uplink that changes.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use support::network::{SUBNET_FILE, UDP, UDP_PEER, VXLAN, VXLAN_PEER, data_plane, subnet_env};
use support::process::wait_for;
use support::{PREFIX, World, get, ip};

#[test]
fn a_killed_agent_changes_nothing_and_the_next_one_neither() {
    for (config, peer, device) in [(VXLAN, VXLAN_PEER, "flannel.1"), (UDP, UDP_PEER, "flannel0")] {
        // A world a thread: namespaces belong to threads.
        let run = move || {
            let Some(world) = World::with_config(config) else { return };
            world.peer(peer);
            let mut twilld = world.twilld(&["-ip-masq"]);
            twilld.says("bootstrap done");
            let (before, env) = (data_plane(device), subnet_env());
            let index = ip(&format!("-o link show {device}"));
            twilld.dies();
            assert_eq!(data_plane(device), before, "left standing by kill -9");
            let mut twilld = world.twilld(&["-ip-masq"]);
            twilld.says("bootstrap done");
            assert_eq!(data_plane(device), before, "the same after the restart");
            assert_eq!(subnet_env(), env);
            let again = ip(&format!("-o link show {device}"));
            let number = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
            assert_eq!(number(&again), number(&index), "the very same device");
            twilld.stops();
            assert_eq!(data_plane(device), before, "left by a stop");
            assert!(!std::path::Path::new("/run/twill/agent.sock").exists());
        };
        std::thread::spawn(run).join().expect("the world");
    }
}

#[test]
fn rows_follow_etcd_and_drift_heals() {
    let Some(world) = World::with_config(VXLAN) else { return };
    let mut twilld = world.twilld(&["--resync=60"]);
    twilld.says("bootstrap done");
    let route = || ip("route show 10.88.9.0/24");
    let fdb = || ip("neigh show dev flannel.1 nud permanent");
    world.peer(VXLAN_PEER);
    let took = wait_for("route to the peer", || route().contains("via 10.88.9.0"));
    assert!(took < Duration::from_secs(1), "{took:?}");
    ip("route add 10.99.0.0/24 dev flannel.1 proto static");

    for (drift, healed) in [
        ("route del 10.88.9.0/24", "route"),
        ("neigh del 10.88.9.0 dev flannel.1", "neighbour"),
        ("link set flannel.1 down", "device that is up"),
        ("link del flannel.1", "device"),
        ("addr flush dev flannel.1", "address"),
    ] {
        ip(drift);
        let took = wait_for(healed, || {
            ip("-o link show").contains("flannel.1")
                && route().contains("via 10.88.9.0")
                && fdb().contains("02:00:00:00:00:09")
                && ip("-o addr show").contains("flannel.1    inet 10.88.")
        });
        // Well before the timer.
        assert!(took < Duration::from_secs(2), "{drift}: {took:?}");
    }
    world.peer_goes();
    wait_for("route gone", || route().is_empty() && !fdb().contains("02:00:00:00:00:09"));
    wait_for("readiness", || get("/readyz").contains("200 OK"));
    twilld.stops();
}

#[test]
fn a_deleted_tun_comes_back() {
    let Some(world) = World::with_config(UDP) else { return };
    let mut twilld = world.twilld(&["--resync=60"]);
    twilld.says("bootstrap done");
    ip("link del flannel0");
    let took = wait_for("device", || {
        ip("-o link show").contains("flannel0")
            && ip("route show").contains("10.88.0.0/16 dev flannel0")
    });
    assert!(took < Duration::from_secs(2), "{took:?}");
    twilld.stops();
}

#[test]
fn files_that_somebody_deletes_or_changes_come_back() {
    let Some(world) = World::with_config(UDP) else { return };
    let mut twilld = world.twilld(&["--resync=1"]);
    twilld.says("bootstrap done");
    let before = std::fs::read(SUBNET_FILE).unwrap();
    std::fs::remove_file(SUBNET_FILE).unwrap();
    wait_for("the file", || std::fs::read(SUBNET_FILE).is_ok_and(|now| now == before));
    std::fs::write(SUBNET_FILE, "FLANNEL_MTU=9000\n").unwrap();
    wait_for("its text", || std::fs::read(SUBNET_FILE).is_ok_and(|now| now == before));
    twilld.stops();
}

#[test]
fn a_lease_that_goes_is_claimed_again_and_one_that_is_taken_is_left() {
    let Some(world) = World::with_config(VXLAN) else { return };
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    let lease = world.lease();
    let (key, before) = (format!("{PREFIX}/subnets/{lease}"), data_plane("flannel.1"));
    world.etcdctl(&["del", &key]);
    twilld.says("the subnet is ours again");
    assert_eq!(world.lease(), lease);
    assert_eq!(data_plane("flannel.1"), before, "no row was touched");

    world.etcdctl(&["put", &key, VXLAN_PEER]);
    twilld.says("ANOTHER HOST OWNS OUR SUBNET");
    let old = lease.replace('-', "/").replace(".0/", ".1/");
    wait_for("new subnet", || {
        std::fs::read_to_string(SUBNET_FILE).is_ok_and(|env| !env.contains(&old))
    });
    wait_for("the same process, joined again", || twilld.count("bootstrap done") == 2);
    let route = lease.replace('-', "/");
    wait_for("route to the new owner", || ip(&format!("route show {route}")).contains("flannel.1"));
    wait_for("readiness", || get("/readyz").contains("200 OK"));
    twilld.stops();
}

#[test]
fn a_new_address_of_the_uplink_is_told_and_the_subnet_kept() {
    let Some(world) = World::with_config(VXLAN) else { return };
    let mut twilld = world.twilld(&["--iface=u0", "--resync=60"]);
    twilld.says("bootstrap done");
    let lease = world.lease();
    ip("addr del 192.0.2.1/24 dev u0");
    ip("addr add 192.0.2.77/24 dev u0");
    let key = format!("{PREFIX}/subnets/{lease}");
    let told = || world.etcdctl(&["get", &key]).contains("192.0.2.77");
    let device = || ip("-d link show flannel.1").contains("local 192.0.2.77");
    wait_for("the new address, told and the device's own", || told() && device());
    assert_eq!(world.lease(), lease);
    twilld.stops();
}

#[test]
fn a_device_that_goes_with_its_uplink_is_published_again() {
    let Some(world) = World::with_config(VXLAN) else { return };
    let mut twilld = world.twilld(&["--resync=60"]);
    twilld.says("bootstrap done");
    let key = format!("{PREFIX}/subnets/{}", world.lease());
    world.peer(VXLAN_PEER);
    wait_for("the peer", || ip("route show").contains("10.88.9.0/24 via 10.88.9.0"));
    let value = || world.etcdctl(&["get", "--print-value-only", &key]);
    let mac = || {
        let link = ip("-o link show flannel.1");
        link.split("link/ether ").nth(1).expect("its address")[..17].to_owned()
    };
    let (before, known) = (value(), mac());
    assert!(before.contains(&known), "{before}");
    for line in [
        "link del u0",
        "link add u0 type veth peer name u1",
        "addr add 192.0.2.1/24 dev u0",
        "link set u0 up",
        "link set u1 up",
        "route add default via 192.0.2.254",
    ] {
        ip(line);
    }
    // What it says of itself is claimed again, and is the same: peers have nothing to learn.
    wait_for("the same process, joined again", || twilld.count("bootstrap done") == 2);
    wait_for("the rows", || ip("route show").contains("10.88.9.0/24 via 10.88.9.0"));
    assert_eq!((value(), mac()), (before, known), "the same hardware address");
    twilld.stops();
}

#[test]
fn an_uplink_that_is_away_is_no_readiness() {
    let Some(world) = World::with_config(UDP) else { return };
    let mut twilld = world.twilld(&["--iface=u0"]);
    twilld.says("bootstrap done");
    ip("addr del 192.0.2.1/24 dev u0");
    twilld.says("WARN the uplink u0 with 192.0.2.1 is away");
    wait_for("a reason", || get("/readyz").contains("the uplink u0 with 192.0.2.1 is away"));
    ip("addr add 192.0.2.1/24 dev u0");
    twilld.says("the uplink is there again");
    wait_for("readiness", || get("/readyz").contains("200 OK"));
    assert_eq!(twilld.count("bootstrap done"), 1, "as if nothing had been: {}", twilld.said());
    twilld.stops();
}

#[test]
fn etcd_goes_and_comes_and_the_rows_stay() {
    let Some(mut world) = World::with_config(VXLAN) else { return };
    world.peer(VXLAN_PEER);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    world.stop_etcd();
    twilld.says("etcd is away");
    assert!(get("/status").contains(r#""etcd":"away""#));
    assert!(ip("route show").contains("10.88.9.0/24 via 10.88.9.0"));
    world.start_etcd();
    world.peer_goes();
    wait_for("the news", || !ip("route show").contains("10.88.9.0/24"));
    assert!(get("/status").contains(r#""etcd":"connected""#));
    twilld.stops();
}

#[test]
fn another_backend_takes_over_from_the_first() {
    let Some(world) = World::with_config(UDP) else { return };
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    let lease = world.lease();
    twilld.stops();
    world.configure(VXLAN);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    assert_eq!(world.lease(), lease, "the subnet stays");
    // The first one stays for as long as somebody may use it, and nobody does.
    wait_for("its end", || !ip("-o link show").contains("flannel0"));
    assert!(ip("-o link show").contains("flannel.1"));
    twilld.stops();
}

#[test]
fn a_death_at_any_moment_of_the_start_is_recovered_from() {
    for config in [VXLAN, UDP] {
        let run = move || {
            let Some(world) = World::with_config(config) else { return };
            // Through the whole start, and a little beyond.
            for milliseconds in (0..120).step_by(6) {
                let twilld = world.twilld(&["-ip-masq"]);
                std::thread::park_timeout(Duration::from_millis(milliseconds));
                twilld.dies();
            }
            let mut twilld = world.twilld(&["-ip-masq"]);
            twilld.says("bootstrap done");
            let (lease, env) = (world.lease(), subnet_env());
            assert!(env.contains(&lease.replace(".0-", ".1/")), "{lease} {env}");
            wait_for("readiness", || get("/readyz").contains("200 OK"));
            let rest: Vec<_> = std::fs::read_dir("/run/flannel").unwrap().collect();
            assert_eq!(rest.len(), 2, "two files, and no half of one: {rest:?}");
            twilld.stops();
        };
        std::thread::spawn(run).join().expect("the world");
    }
}

#[test]
fn systemd_is_told_when_the_network_is_ready() {
    let Some(world) = World::with_config(UDP) else { return };
    let systemd = UnixDatagram::bind("/run/notify").unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let next = || {
        let mut text = [0; 4096];
        let len = systemd.recv(&mut text).expect("a message");
        String::from_utf8_lossy(&text[..len]).into_owned()
    };
    let mut command = World::command(&[]);
    command.env("NOTIFY_SOCKET", "/run/notify");
    let twilld = world.start(command);
    let mut said = next();
    while !said.contains("READY=1") {
        said = next();
    }
    assert!(said.contains("STATUS=subnet 10.88."), "{said}");
    assert!(std::path::Path::new(SUBNET_FILE).exists(), "before READY");
    twilld.stops();
    assert!(next().contains("STOPPING=1"));
}
