//! A host without an address of IPv6, in a network that has both families.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use support::network::{PICTURE, VXLAN, subnet_env};
use support::process::{Process, wait_for};
use support::{PREFIX, World, get, ip, shell};

const BOTH: &str = r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","EnableIPv6":true,"IPv6Network":"fd00:88::/48","Backend":{"Type":"vxlan"}}"#;
const BOTH_BY_UDP: &str = r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","EnableIPv6":true,"IPv6Network":"fd00:88::/48","Backend":{"Type":"udp"}}"#;

const ADDRESS: &str = "fd00:140::1/64 dev u0";
const WITHOUT: &str = "the uplink u0 with fd00:140::1 is away";

/// A peer of IPv4 comes, and is reached.
fn reaches(world: &World, n: u8, device: &str) {
    let mac = format!("02:00:00:00:00:{n:02x}");
    let value = match device {
        "flannel0" => format!(r#"{{"PublicIP":"192.0.2.{n}"}}"#),
        _vxlan => format!(
            r#"{{"PublicIP":"192.0.2.{n}","BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{mac}"}}}}"#
        ),
    };
    world.etcdctl(&["put", &format!("{PREFIX}/subnets/10.88.{n}.0-24"), &value]);
    wait_for("the peer", || get("/status").contains(&format!(r#""subnet":"10.88.{n}.0/24""#)));
    wait_for("its route", || ip(&format!("route get 10.88.{n}.5")).contains(device));
}

fn index(device: &str) -> String {
    let link = ip(&format!("-o link show {device}"));
    link.split(':').next().unwrap_or_default().to_owned()
}

/// It serves IPv4, and says what is wrong.
fn goes_on(twilld: &mut Process, env: &str) {
    twilld.says("bootstrap done");
    twilld.says(WITHOUT);
    assert_eq!(subnet_env(), env, "with the very same blocks");
    wait_for("the reason", || get("/readyz").contains(WITHOUT));
}

fn all_is_well(twilld: &Process) {
    wait_for("readiness", || get("/readyz").ends_with("\r\n\r\nflanneld is ready"));
    assert!(!twilld.said().contains("joining again"), "{}", twilld.said());
}

#[test]
fn a_host_that_has_lost_its_address_of_ipv6_serves_ipv4_after_a_restart() {
    for (config, devices) in
        [(BOTH, ["flannel.1", "flannel-v6.1"]), (BOTH_BY_UDP, ["flannel0", "flannel0-v6"])]
    {
        let run = move || {
            let Some(mut world) = World::with_config(config) else { return };
            ip(&format!("addr add {ADDRESS} nodad"));
            let mut twilld = world.twilld(&[]);
            twilld.says("bootstrap done");
            let (env, numbers) = (subnet_env(), devices.map(index));
            assert!(env.contains("FLANNEL_IPV6_SUBNET=fd00:88:"), "{env}");
            wait_for("its picture", || std::path::Path::new(PICTURE).exists());
            twilld.stops();
            ip(&format!("addr del {ADDRESS}"));
            let mut twilld = world.twilld(&[]);
            goes_on(&mut twilld, &env);
            reaches(&world, 7, devices[0]);
            ip(&format!("addr add {ADDRESS} nodad"));
            all_is_well(&twilld);
            assert_eq!(devices.map(index), numbers, "the very same devices");
            twilld.stops();
            // Without etcd, and with IPv6 switched off altogether.
            world.stop_etcd();
            shell("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6");
            let mut twilld = world.twilld(&[]);
            goes_on(&mut twilld, &env);
            world.start_etcd();
            twilld.says("etcd is back");
            reaches(&world, 8, devices[0]);
            assert_eq!(index(devices[0]), numbers[0]);
            shell("echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6");
            ip(&format!("addr add {ADDRESS} nodad"));
            all_is_well(&twilld);
            twilld.stops();
        };
        std::thread::spawn(run).join().expect("as it should be");
    }
}

#[test]
fn a_host_that_cannot_have_the_ipv6_that_a_network_got_meanwhile_stays_as_it_is() {
    let Some(world) = World::with_config(VXLAN) else { return };
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    wait_for("its picture", || std::path::Path::new(PICTURE).exists());
    let (env, number) = (subnet_env(), index("flannel.1"));
    twilld.stops();
    world.configure(BOTH);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    twilld.says("the configuration stays as it was: interface u0 has no usable IPv6 address");
    assert_eq!(subnet_env(), env);
    reaches(&world, 7, "flannel.1");
    assert!(get("/readyz").contains("degraded: the newest configuration is not applied"));
    ip(&format!("addr add {ADDRESS} nodad"));
    wait_for("both", || subnet_env().contains("FLANNEL_IPV6_SUBNET=fd00:88:"));
    wait_for("readiness", || get("/readyz").ends_with("\r\n\r\nflanneld is ready"));
    assert_eq!(index("flannel.1"), number);
    for line in env.lines().filter(|line| line.starts_with("FLANNEL_SUBNET")) {
        assert!(subnet_env().contains(line), "{line}: {}", subnet_env());
    }
    twilld.stops();
}

#[test]
fn a_host_that_has_never_been_there_is_told_the_way_out() {
    let Some(world) = World::with_config(BOTH) else { return };
    let mut twilld = world.twilld(&[]);
    twilld.refuses(1, &["interface u0 has no usable IPv6 address"]);
    assert!(twilld.said().contains("twillctl network set --ipv6-network default"));
    world.assert_untouched();
}
