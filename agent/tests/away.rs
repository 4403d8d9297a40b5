//! etcd is away: restarts, reboots, drift, and what happens when it is back.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use support::lease::own_key;
use support::network::{
    PICTURE, SUBNET_FILE, UDP, UDP_PEER, VXLAN, VXLAN_PEER, data_plane, subnet_env,
};
use support::process::{Process, wait_for};
use support::{World, get, ip};

#[track_caller]
fn assert_degraded() {
    let ready = get("/readyz");
    assert!(ready.contains("200 OK"), "{ready}");
    let body = ready.split("\r\n\r\n").nth(1).unwrap_or_default();
    assert_eq!(body.lines().next(), Some("flanneld is ready"), "{ready}");
    assert!(body.contains("degraded: etcd is away"), "{ready}");
    let status = get("/status");
    assert!(
        status.contains(r#""etcd":"away""#) && status.contains(r#""lease_left":8"#),
        "{status}"
    );
}

fn settled(twilld: &Process) {
    wait_for("word of etcd", || twilld.said().contains("etcd knows this host by the lease"));
    wait_for("readiness", || get("/readyz").ends_with("\r\n\r\nflanneld is ready"));
    assert!(get("/status").contains(r#""source":"etcd""#), "{}", get("/status"));
}

#[test]
fn a_restart_without_etcd_changes_nothing_and_drift_heals() {
    for (config, peer, device) in [(VXLAN, VXLAN_PEER, "flannel.1"), (UDP, UDP_PEER, "flannel0")] {
        // A world a thread: namespaces belong to threads.
        let run = move || {
            let Some(mut world) = World::with_config(config) else { return };
            let (twilld, env) = world.joined(peer);
            let before = data_plane(device);
            world.stop_etcd();
            twilld.dies();
            let begun = Instant::now();
            let mut twilld = world.twilld(&["--resync=60"]);
            twilld.says("bootstrap done");
            println!("{device}: ready without etcd after {:?}", begun.elapsed());
            twilld.says("takes its place from its own picture of the network");
            assert_eq!(data_plane(device), before);
            assert_eq!(subnet_env(), env);
            assert_degraded();
            assert!(get("/status").contains(r#""source":"picture""#), "{}", get("/status"));

            let route = if config == VXLAN { "10.88.9.0/24" } else { "10.88.0.0/16" };
            ip(&format!("route del {route}"));
            wait_for("the route", || data_plane(device) == before);

            world.start_etcd();
            settled(&twilld);
            assert_eq!(data_plane(device), before);
            let value = world.etcdctl(&["get", "--print-value-only", &own_key(&env)]);
            assert!(value.contains("192.0.2.1"), "{value}");
            assert_eq!(twilld.count("bootstrap done"), 1, "{}", twilld.said());
            twilld.stops();
        };
        std::thread::spawn(run).join().expect("the world");
    }
}

#[test]
fn a_rebooted_host_comes_up_without_etcd_and_tells_its_new_address_later() {
    for (config, peer, device) in [(VXLAN, VXLAN_PEER, "flannel.1"), (UDP, UDP_PEER, "flannel0")] {
        let run = move || {
            let Some(mut world) = World::with_config(config) else { return };
            let (twilld, env) = world.joined(peer);
            let before = data_plane(device);
            world.stop_etcd();
            twilld.dies();
            world.reboots("192.0.2.77/24");
            assert!(!Path::new(SUBNET_FILE).exists() && !ip("-o link show").contains("flannel"));
            let begun = Instant::now();
            let mut twilld = world.twilld_up_for(Duration::ZERO, &[]);
            twilld.says("bootstrap done");
            println!("{device}: ready after a reboot, without etcd, after {:?}", begun.elapsed());
            assert_eq!(data_plane(device), before.replace("192.0.2.1", "192.0.2.77"));
            assert_eq!(subnet_env(), env);
            assert_degraded();
            world.start_etcd();
            settled(&twilld);
            let key = own_key(&env);
            wait_for("the new address", || world.etcdctl(&["get", &key]).contains("192.0.2.77"));
            assert_eq!(twilld.count("bootstrap done"), 1, "{}", twilld.said());
            twilld.stops();
        };
        std::thread::spawn(run).join().expect("the world");
    }
}

#[test]
fn an_etcd_that_accepts_and_never_answers_is_waited_for_only_a_second() {
    let Some(mut world) = World::with_config(VXLAN) else { return };
    let (twilld, env) = world.joined(VXLAN_PEER);
    world.stop_etcd();
    twilld.stops();
    let mute = std::net::TcpListener::bind("127.0.0.1:2379").expect("etcd's port");
    let begun = Instant::now();
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    let took = begun.elapsed();
    println!("ready beside a mute etcd after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(twilld.said().contains("has not answered within 1s"), "{}", twilld.said());
    assert_eq!(subnet_env(), env);
    wait_for("the watch's own limit", || get("/readyz").contains("degraded: etcd is away"));
    drop(mute);
    world.start_etcd();
    settled(&twilld);
    twilld.stops();
}

#[test]
fn a_reservation_is_used_for_as_long_as_its_release_would_leave_it() {
    let Some(mut world) = World::with_config(VXLAN) else { return };
    let (twilld, env) = world.joined(VXLAN_PEER);
    let key = own_key(&env);
    let value = world.etcdctl(&["get", "--print-value-only", &key]);
    world.etcdctl(&["put", &key, value.trim()]);
    wait_for("its picture", || {
        fs::read_to_string(PICTURE).is_ok_and(|text| !text.contains(r#""lease":"#))
    });
    world.stop_etcd();
    twilld.dies();
    world.reboots("192.0.2.1/24");
    let mut twilld = world.twilld_up_for(Duration::ZERO, &["--lease-ttl=30s"]);
    twilld.says("bootstrap done");
    assert_eq!(subnet_env(), env);
    assert!(get("/readyz").contains("is valid for 23h5"), "{}", get("/readyz"));
    twilld.dies();
    world.reboots("192.0.2.1/24");
    let mut twilld = world.twilld_up_for(Duration::from_hours(25), &[]);
    twilld.says("waiting: cannot");
    assert!(twilld.said().contains("may have run out"), "{}", twilld.said());
    world.start_etcd();
    twilld.says("bootstrap done");
    assert_eq!(subnet_env(), env, "nobody has released it");
    wait_for("the reservation", || get("/status").contains(r#""lease_left":null"#));
    twilld.stops();
}

#[test]
fn a_lease_that_may_have_ended_or_nobody_knows_is_not_used() {
    let Some(mut world) = World::with_config(VXLAN) else { return };
    world.peer(VXLAN_PEER);
    let an_hour = Duration::from_hours(1);
    let (twilld, env) = World::joins(world.twilld_up_for(an_hour, &[]));
    world.stop_etcd();
    twilld.dies();
    let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap();
    world.reboots("192.0.2.1/24");
    // A clock by which no time has passed, on a host that was started an hour ago, was set. It is
    // looked at again and again: here the host is the one that it was.
    let mut twilld = world.twilld_up_for(an_hour + Duration::from_mins(1), &[]);
    twilld.says("waiting: cannot");
    twilld.says("by this host's clock less time has passed");
    fs::write(World::BOOT_ID, &boot).unwrap();
    twilld.says("bootstrap done");
    twilld.dies();
    world.reboots("192.0.2.1/24");
    // Whatever that clock says: this host was started after the lease was granted.
    let mut twilld = world.twilld_up_for(Duration::from_hours(25), &[]);
    twilld.says("waiting: cannot");
    assert!(twilld.said().contains("may have run out"), "{}", twilld.said());
    assert!(get("/readyz").contains("503") && get("/readyz").contains("may have run out"));
    assert!(!ip("-o link show").contains("flannel") && !Path::new(SUBNET_FILE).exists());
    world.start_etcd();
    twilld.says("bootstrap done");
    assert_eq!(subnet_env(), env, "nobody has taken it");
    twilld.stops();
}

#[test]
fn an_uplink_that_changes_beside_a_mute_etcd_is_followed_within_half_a_second() {
    let Some(mut world) = World::with_config(VXLAN) else { return };
    let (mut twilld, env) = world.joined(VXLAN_PEER);
    world.stop_etcd();
    let mute = std::net::TcpListener::bind("127.0.0.1:2379").expect("etcd's port");
    twilld.says("etcd is away");
    ip("link set u0 mtu 1400");
    wait_for("the device's", || ip("link show flannel.1").contains("mtu 1350"));
    assert!(twilld.said().contains("has not answered within 400ms"), "{}", twilld.said());
    wait_for("the file's", || subnet_env() == env.replace("FLANNEL_MTU=1450", "FLANNEL_MTU=1350"));
    assert!(ip("route show").contains("10.88.9.0/24 via 10.88.9.0"), "{}", ip("route show"));
    drop(mute);
    world.start_etcd();
    settled(&twilld);
    twilld.stops();
}

#[test]
fn an_uplink_that_changes_while_etcd_is_away_ends_nothing() {
    let Some(mut world) = World::with_config(VXLAN) else { return };
    let (mut twilld, env) = world.joined(VXLAN_PEER);
    world.stop_etcd();
    twilld.says("etcd is away");
    ip("addr del 192.0.2.1/24 dev u0");
    ip("addr add 192.0.2.77/24 dev u0");
    ip("route add default via 192.0.2.254");
    wait_for("the device's", || ip("-d link show flannel.1").contains("local 192.0.2.77"));
    wait_for("readiness", || get("/readyz").contains("200 OK"));
    assert_degraded();
    assert!(ip("route show").contains("10.88.9.0/24 via 10.88.9.0"), "{}", ip("route show"));
    assert_eq!(subnet_env(), env);
    world.start_etcd();
    settled(&twilld);
    let key = own_key(&env);
    wait_for("the new address", || world.etcdctl(&["get", &key]).contains("192.0.2.77"));
    twilld.stops();
}

#[test]
fn a_subnet_that_was_taken_meanwhile_is_given_up_when_etcd_is_back() {
    let Some(mut world) = World::with_config(VXLAN) else { return };
    let (twilld, env) = world.joined(VXLAN_PEER);
    world.stop_etcd();
    twilld.dies();
    world.start_etcd();
    let other = VXLAN_PEER.replace("192.0.2.9", "192.0.2.8").replace("00:09", "00:08");
    world.etcdctl(&["put", &own_key(&env), &other]);
    world.stop_etcd();
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    assert_eq!(subnet_env(), env);
    world.start_etcd();
    twilld.says("ANOTHER HOST OWNS OUR SUBNET");
    wait_for("another subnet", || fs::read_to_string(SUBNET_FILE).is_ok_and(|now| now != env));
    let now = subnet_env();
    wait_for("its picture", || {
        let key = own_key(&now);
        let key = key.rsplit('/').next().unwrap_or_default();
        fs::read_to_string(PICTURE)
            .is_ok_and(|text| text.contains(&format!(r#""own":{{"key":"{key}"#)))
    });
    // And that is what the next start without etcd uses.
    world.stop_etcd();
    twilld.dies();
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    assert_eq!(subnet_env(), now);
    twilld.stops();
}

#[test]
fn a_picture_that_is_not_this_hosts_is_refused_with_the_reason() {
    let Some(mut world) = World::with_config(VXLAN) else { return };
    let (twilld, _env) = world.joined(VXLAN_PEER);
    twilld.dies();
    world.stop_etcd();
    let whole = fs::read(PICTURE).unwrap();
    let node = fs::read("/run/state/node-id").unwrap();
    let refused = |flags: &[&str], why: &str| {
        let mut twilld = world.twilld(flags);
        twilld.says("waiting: cannot");
        let said = twilld.said();
        assert_eq!(twilld.count("the picture of the network is not used"), 1, "{said}");
        assert!(said.contains(why) && said.contains("/run/state/picture"), "{why}: {said}");
        assert!(!said.contains("panicked"), "{said}");
        twilld.dies();
    };
    refused(&["--etcd-prefix=/other"], "it is of the network under /coreos.com/network");
    fs::write("/run/state/node-id", "000102030405060708090a0b0c0d0e0f\n").unwrap();
    refused(&[], "kept it, and this one is another");
    fs::write("/run/state/node-id", node).unwrap();
    assert_eq!(fs::read(PICTURE).unwrap(), whole, "left alone");
    fs::write(PICTURE, &whole[..whole.len() / 2]).unwrap();
    refused(&[], "it is torn");
    assert!(Path::new("/run/state/picture.refused").exists() && !Path::new(PICTURE).exists());
    fs::write(PICTURE, "hello\n").unwrap();
    refused(&[], "does not begin with");

    // A good one is a way up again.
    fs::write(PICTURE, &whole).unwrap();
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    twilld.stops();
}

#[test]
fn a_disk_that_takes_nothing_is_told_and_the_host_goes_on() {
    let Some(world) = World::with_config(VXLAN) else { return };
    fs::create_dir_all(PICTURE).unwrap();
    let mut twilld = world.twilld(&["--resync=1"]);
    twilld.says("bootstrap done");
    twilld.says("cannot keep the picture of the network");
    wait_for("the reason", || {
        get("/readyz").contains("without etcd this host could not start again")
    });
    assert!(get("/readyz").contains("200 OK"), "{}", get("/readyz"));
    fs::remove_dir(PICTURE).unwrap();
    twilld.says("the picture of the network is kept again");
    wait_for("health", || get("/readyz").ends_with("\r\n\r\nflanneld is ready"));
    assert_eq!(twilld.count("cannot keep the picture"), 1, "{}", twilld.said());
    twilld.stops();
}
