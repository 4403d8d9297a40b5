//! What can be wrong before the first packet: one clear line, the way out, the right exit code or a
//! patient wait, and nothing left behind.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::path::Path;

use support::network::{UDP, VXLAN};
use support::process::wait_for;
use support::{PREFIX, World, get, hide, ip};

#[test]
fn without_etcd_it_waits_and_says_so_once() {
    let Some(mut world) = World::new() else { return };
    let mut twilld = world.twilld(&["--socket=/run/twill/agent.sock"]);
    twilld.says("waiting: cannot");
    assert!(get("/healthz").contains("200 OK"), "alive");
    assert!(get("/readyz").contains("503"), "and not ready");
    assert!(get("/status").contains("503"), "{}", get("/status"));
    assert!(get("/status").contains("127.0.0.1:2379"), "{}", get("/status"));
    // Long enough for several tries.
    std::thread::park_timeout(std::time::Duration::from_secs(2));
    assert_eq!(twilld.count("waiting:"), 1, "{}", twilld.said());
    assert_eq!(twilld.count("hint="), 1, "{}", twilld.said());
    twilld.stops();
    world.assert_untouched();

    // Patience pays.
    let mut twilld = world.twilld(&[]);
    twilld.says("waiting: cannot");
    world.start_etcd();
    world.configure(VXLAN);
    twilld.says("bootstrap done");
    twilld.stops();
}

#[test]
fn a_wrong_prefix_is_named_with_the_way_out() {
    let Some(world) = World::with_config(VXLAN) else { return };
    let mut twilld = world.twilld(&["--etcd-prefix=/wrong/network"]);
    twilld.says("no network configuration under /wrong/network/config");
    let said = twilld.said();
    assert!(said.contains("http://127.0.0.1:2379"), "{said}");
    assert!(said.contains("twillctl network init --prefix /wrong/network"), "{said}");
    assert_eq!(twilld.count("waiting:"), 1, "{said}");
    world.etcdctl(&["put", "/wrong/network/config", VXLAN]);
    twilld.says("bootstrap done");
    twilld.stops();
}

#[test]
fn a_broken_configuration_ends_with_78() {
    let Some(world) = World::with_config("") else { return };
    for (config, words) in [
        ("10.88.0.0/16", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{}", "Network"),
        (r#"{"Network":"10.88.0.0/16","SubnetLen":"24"}"#, "SubnetLen"),
        (r#"{"Network":"10.88.0.0/16","SubnetLen":31}"#, "SubnetLen"),
        (r#"{"Network":"10.88.0.0/16","SubnetMin":"10.99.1.0"}"#, "SubnetMin"),
        (r#"{"Network":"10.88.0.0/16","Backend":{"Type":"carrier-pigeon"}}"#, "carrier-pigeon"),
    ] {
        world.configure(config);
        let mut twilld = world.twilld(&[]);
        twilld.refuses(78, &[&format!("{PREFIX}/config"), words]);
        world.assert_untouched();
    }
}

#[test]
fn a_network_that_this_host_has_already_is_refused() {
    let Some(world) = World::with_config(UDP) else { return };
    ip("link add lan0 type veth peer name lan1");
    ip("link set lan0 up");
    ip("addr add 10.88.7.1/24 dev lan0");
    let mut twilld = world.twilld(&[]);
    twilld.refuses(1, &["10.88.0.0/16", "overlaps", "10.88.7.0/24", "lan0"]);
    world.assert_untouched();
}

#[test]
fn udp_without_the_tun_driver_is_refused_and_vxlan_does_not_care() {
    let Some(world) = World::with_config(UDP) else { return };
    hide("/dev/net");
    let mut twilld = world.twilld(&[]);
    twilld.refuses(1, &["/dev/net/tun"]);
    world.assert_untouched();
    assert!(!Path::new("/dev/net/tun").exists(), "nobody made one behind our back");
    world.configure(VXLAN);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    twilld.stops();
}

#[test]
fn without_anything_to_write_rules_with_it_is_refused() {
    let Some(world) = World::with_config(UDP) else { return };
    let mut command = World::command(&[]);
    command.env("PATH", "/nowhere");
    world.start(command).refuses(1, &["neither iptables nor nft"]);
    world.assert_untouched();
}

#[test]
fn an_engine_that_is_not_there_is_refused() {
    let Some(world) = World::with_config(UDP) else { return };
    let mut command = World::command(&["--firewall=nftables"]);
    command.env("PATH", "/nowhere");
    world.start(command).refuses(1, &["nft is not installed"]);
    world.assert_untouched();
}

#[test]
fn without_root_it_is_refused() {
    let Some(world) = World::with_config(UDP) else { return };
    // Not from the build tree, where nobody but root may look.
    std::fs::copy(env!("CARGO_BIN_EXE_twilld"), "/run/twilld").expect("a copy");
    #[expect(clippy::disallowed_methods, reason = "the test starts the program as somebody else")]
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "/run/twilld"]);
    world.start(command).refuses(1, &["root", "CAP_NET_ADMIN"]);
    world.assert_untouched();
    assert!(!Path::new("/run/state").exists());
}

#[test]
fn a_udp_port_that_is_taken_is_found_before_the_claim() {
    let Some(world) = World::with_config(UDP) else { return };
    let other = std::net::UdpSocket::bind("0.0.0.0:8285").expect("the port");
    world.twilld(&[]).refuses(1, &["192.0.2.1:8285", "in use"]);
    world.assert_untouched();
    drop(other);
}

#[test]
fn files_that_cannot_be_written_are_found_before_the_claim() {
    let Some(world) = World::with_config(VXLAN) else { return };
    std::fs::create_dir_all("/run/directory/subnet.env").expect("a directory");
    for (flag, words) in [
        ("--subnet-file=/proc/none/subnet.env", "/proc/none/subnet.env"),
        ("--subnet-file=/run/directory/subnet.env", "directory"),
        ("--docker-options-file=/proc/none/docker", "/proc/none/docker"),
        ("--state-dir=/proc/none", "/proc/none"),
    ] {
        world.twilld(&[flag]).refuses(1, &["cannot", words]);
        world.assert_untouched();
    }
}

#[test]
fn a_device_of_another_kind_is_named_with_the_way_out() {
    let Some(world) = World::with_config(UDP) else { return };
    ip("link add flannel0 type bridge");
    world.twilld(&[]).refuses(1, &["flannel0"]);
}

#[test]
fn a_second_one_is_refused_and_the_first_goes_on() {
    let Some(world) = World::with_config(UDP) else { return };
    let mut first = world.twilld(&[]);
    first.says("bootstrap done");
    let mut second = world.start(World::command(&[]));
    second.refuses(1, &["another twilld", "/run/state"]);
    assert!(get("/readyz").contains("200 OK"), "the first one still answers on its socket");
    // One that thinks it is another host would lead the peers of both astray.
    let mut command = World::command(&["--state-dir=/run/other", "--socket=/run/other.sock"]);
    command.args(["--subnet-file=/run/other.env", "--docker-options-file=/run/other.docker"]);
    let mut third = world.start(command);
    third.refuses(1, &["another twilld", "flannel0"]);
    world.lease();
    assert!(!Path::new("/run/other.env").exists());
    first.stops();
}

#[test]
fn no_uplink_is_named() {
    let Some(world) = World::with_config(UDP) else { return };
    world.twilld(&["--iface=eth9"]).refuses(1, &["eth9", "u0 (192.0.2.1)"]);
    world.assert_untouched();
}

#[test]
fn a_full_network_is_named() {
    let Some(world) = World::with_config(r#"{"Network":"10.88.0.0/22","SubnetLen":24}"#) else {
        return;
    };
    for n in 1..=3 {
        let key = format!("{PREFIX}/subnets/10.88.{n}.0-24");
        world.etcdctl(&["put", &key, &format!(r#"{{"PublicIP":"192.0.2.{}"}}"#, 10 + n)]);
    }
    world.twilld(&[]).refuses(1, &["no subnet is free", "10.88.1.0/24", "10.88.3.0/24"]);
}

#[test]
fn usage_errors_end_with_2() {
    let Some(world) = World::new() else { return };
    for (flags, variable) in [
        (&["--no-such-flag"][..], None),
        (&["-ip-masq=perhaps"], None),
        (&["--etcd-endpoints=ftp://127.0.0.1"], None),
        (&["--etcd-username=root"], None),
        (&["--public-ipv6=192.0.2.1"], None),
        (&[], Some(("FLANNELD_SUBNET_LEASE_RENEW_MARGIN", "1440"))),
    ] {
        let mut command = World::command(flags);
        command.envs(variable);
        let mut twilld = world.start(command);
        assert_eq!(twilld.ends().code(), Some(2), "{flags:?} {variable:?}: {}", twilld.said());
    }
    world.assert_untouched();
}

#[test]
fn flannels_variables_are_used_and_named_once() {
    let Some(world) = World::with_config(UDP) else { return };
    let mut command = World::command(&[]);
    command.env("FLANNELD_IP_MASQ", "true").env("FLANNELD_IFACE", "u0");
    command.env("FLANNELD_ETCD_PASSWORD", "").env("TWILLD_SUBNET_FILE", "/run/mine.env");
    let mut twilld = world.start(command);
    twilld.says("bootstrap done");
    let said = twilld.said();
    assert!(said.contains("using FLANNELD_IFACE, FLANNELD_IP_MASQ:"), "{said}");
    let env = std::fs::read_to_string("/run/mine.env").expect("subnet.env where we said");
    assert!(env.contains("FLANNEL_IPMASQ=true"), "{env}");
    wait_for("masquerade rules", || ip("route show").contains("flannel0"));
    twilld.stops();
}
