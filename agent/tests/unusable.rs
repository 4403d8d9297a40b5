//! Starts while the configuration in etcd is of no use: the host goes on by the one before, for as long
//! as etcd has its lease.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::fs;
use std::net::UdpSocket;

use support::lease::own_key;
use support::network::{PICTURE, VXLAN, VXLAN_PEER, data_plane, status, subnet_env};
use support::process::{Process, wait_for};
use support::{PREFIX, World, get, ip};

const TOO_LONG: &str = r#"{"Network":"10.88.0.0/16","SubnetLen":31}"#;
/// And somebody else has the port.
const TAKEN: &str =
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"udp","Port":7000}}"#;
const SMALLER: &str =
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan","MTU":1400}}"#;

impl World {
    fn spoil(&self, text: Option<&str>) {
        let key = format!("{PREFIX}/config");
        match text {
            Some(text) => self.configure(text),
            None => drop(self.etcdctl(&["del", &key])),
        }
    }

    /// When it was written.
    fn config_revision(&self) -> String {
        let told = self.etcdctl(&["get", &format!("{PREFIX}/config"), "-w", "fields"]);
        let revision = told.lines().find_map(|line| line.strip_prefix("\"ModRevision\" : "));
        revision.expect("a revision").to_owned()
    }
}

/// It goes by the configuration before, and says so everywhere.
fn goes_on(twilld: &mut Process, why: &str) {
    twilld.says("going by the one in this host's own picture of the network revision=");
    twilld.says("bootstrap done");
    twilld.says(" ERROR ");
    wait_for(why, || status("config_error").contains(why));
    let ready = get("/readyz");
    assert!(ready.contains("200 OK") && ready.contains("flanneld is ready"), "{ready}");
    let told = ready.lines().find(|line| line.starts_with("degraded: the newest configuration"));
    assert!(told.is_some_and(|line| line.contains(why)), "{why}: {ready}");
    let said = twilld.said();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].contains(why) && lines[0].contains("hint="), "{why}: {}", lines[0]);
}

fn is_well() {
    wait_for("health", || get("/readyz").ends_with("\r\n\r\nflanneld is ready"));
    assert!(status("config_error").starts_with("null"), "{}", get("/status"));
}

#[test]
fn a_restart_goes_on_by_the_configuration_before() {
    let Some(world) = World::with_config(VXLAN) else { return };
    let (mut twilld, env) = world.joined(VXLAN_PEER);
    let (before, key, value) = (data_plane("flannel.1"), own_key(&env), world.value_of_node());
    let port = UdpSocket::bind("192.0.2.1:7000").expect("a port");
    let rows = [
        (Some("not json"), "is not a JSON object"),
        (Some(TOO_LONG), "SubnetLen is 31"),
        (None, "was deleted"),
        (Some(TAKEN), "192.0.2.1:7000"),
    ];
    for (text, why) in rows {
        world.spoil(text);
        // Once by whoever saw it written, once by whoever did not.
        for _twice in 0..2 {
            twilld.dies();
            twilld = world.twilld(&[]);
            goes_on(&mut twilld, why);
            assert_eq!(data_plane("flannel.1"), before, "{why}");
            assert_eq!(subnet_env(), env, "{why}");
            assert_eq!(format!("{PREFIX}/subnets/{}", world.lease_of_node()), key, "{why}");
            assert_eq!(world.value_of_node(), value, "{why}");
        }
        if text.is_some_and(|text| text != TAKEN) {
            let at = format!("{PREFIX}/config@{}: ", world.config_revision());
            assert!(status("config_error").contains(&at), "{at}: {}", get("/status"));
        }
    }
    // A good one is applied as it comes, without another start.
    world.configure(SMALLER);
    twilld.says("Backend.MTU from that of each host's interface to 1400");
    drop(port);
    is_well();
    assert!(subnet_env().contains("FLANNEL_MTU=1350"), "{}", subnet_env());
    assert_eq!(twilld.count("bootstrap done"), 1, "{}", twilld.said());
    twilld.stops();
}

#[test]
fn a_rebooted_host_comes_up_by_the_configuration_before() {
    let Some(mut world) = World::with_config(VXLAN) else { return };
    let (twilld, env) = world.joined(VXLAN_PEER);
    let before = data_plane("flannel.1");
    world.spoil(Some("not json"));
    twilld.dies();
    world.stop_etcd();
    world.reboots("192.0.2.77/24");
    world.start_etcd();
    let mut twilld = world.twilld(&[]);
    goes_on(&mut twilld, "is not a JSON object");
    assert_eq!(subnet_env(), env);
    assert_eq!(data_plane("flannel.1"), before.replace("192.0.2.1", "192.0.2.77"));
    assert!(world.value_of_node().contains("192.0.2.77"), "{}", world.value_of_node());
    // While it waits for a good one it goes through all that befalls a host.
    ip("addr del 192.0.2.77/24 dev u0");
    ip("addr add 192.0.2.78/24 dev u0");
    ip("route add default via 192.0.2.254");
    wait_for("the new address", || world.value_of_node().contains("192.0.2.78"));
    wait_for("readiness", || get("/readyz").contains("200 OK"));
    assert_eq!(subnet_env(), env);
    world.configure(VXLAN);
    is_well();
    twilld.stops();
}

/// Somebody puts etcd back to a copy from before the mistake.
#[test]
fn a_configuration_that_is_again_the_one_before_is_no_trouble_any_more() {
    let Some(mut world) = World::with_config(VXLAN) else { return };
    let (mut twilld, env) = world.joined(VXLAN_PEER);
    world.etcdctl(&["snapshot", "save", "/run/copy"]);
    world.spoil(None);
    twilld.says("was deleted");
    world.stop_etcd();
    fs::remove_dir_all("/run/etcd").expect("etcd's data");
    world.restore("/run/copy");
    world.start_etcd();
    is_well();
    assert_eq!(subnet_env(), env);
    assert_eq!(twilld.count("bootstrap done"), 1, "{}", twilld.said());
    twilld.stops();
}

#[test]
fn a_host_that_knows_no_other_is_refused_or_waits_as_ever() {
    let Some(world) = World::with_config(VXLAN) else { return };
    let (twilld, env) = world.joined(VXLAN_PEER);
    twilld.stops();
    let picture = fs::read(PICTURE).expect("the picture");

    fs::remove_file(PICTURE).expect("removed");
    world.spoil(Some(TOO_LONG));
    world.twilld(&[]).refuses(78, &["config@", "SubnetLen is 31"]);
    world.spoil(None);
    let mut twilld = world.twilld(&[]);
    twilld.says("waiting: etcd at");
    assert!(get("/readyz").contains("503"), "{}", get("/readyz"));
    twilld.stops();

    // The picture is there, and its lease is not: whose the subnet is, etcd alone knows.
    fs::write(PICTURE, &picture).expect("put back");
    world.etcdctl(&["del", &own_key(&env)]);
    let mut twilld = world.twilld(&[]);
    twilld.says("waiting: etcd at");
    world.spoil(Some(TOO_LONG));
    let status = twilld.ends();
    assert_eq!(status.code(), Some(78), "{}", twilld.said());
    assert!(!std::path::Path::new(PICTURE).exists(), "what is known to be wrong");
    let leases = world.etcdctl(&["get", "--prefix", "--keys-only", &format!("{PREFIX}/subnets/")]);
    assert_eq!(leases.split_whitespace().count(), 1, "the peer's alone: {leases}");

    world.configure(VXLAN);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    assert_eq!(subnet_env(), env, "nobody had it in between");
    twilld.stops();
}
