use std::fs;

use nix::mount::{MsFlags, mount};

use crate::world::{World, strike};

/// A host with a subnet, as the agent leaves it.
pub(crate) fn host() -> Option<World> {
    let world = World::new()?;
    // The pool of addresses has one place per host; this world's is its own.
    for place in ["/var/lib", "/run"] {
        let none = None::<&str>;
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    }
    let text = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.2.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
    fs::write(world.path("subnet.env"), text).unwrap();
    Some(world)
}

#[test]
fn containers_of_a_host_reach_each_other() {
    let Some(world) = host() else { return };
    for name in ["one", "two"] {
        world.twill(&["run", "-d", "--name", name, "bb", "sleep", "1000"]).ok();
    }
    let address =
        |name: &str| world.inspect(name, "/NetworkSettings/IPAddress").as_str().unwrap().to_owned();
    assert!(address("one").starts_with("10.5.2.") && address("one") != address("two"));
    world.twill(&["exec", "one", "ping", "-c", "1", "-s", "1422", &address("two")]).ok();
    let inside = world
        .twill(&[
            "exec",
            "one",
            "sh",
            "-c",
            "cat /etc/hosts; ip -o addr show eth0; ip route; cat /sys/class/net/eth0/mtu",
        ])
        .ok();
    let hostname = world.twill(&["exec", "one", "hostname"]).ok();
    assert!(inside.contains(&format!("{}\t{hostname}", address("one"))), "{inside}");
    assert!(inside.contains("default via 10.5.2.1 dev eth0"), "{inside}");
    assert!(inside.ends_with("\n1450"), "{inside}");
    assert_eq!(world.inspect("one", "/NetworkSettings/Gateway"), "10.5.2.1");
    world.twill(&["stop", "-t", "0", "one"]).ok();
    assert_eq!(world.inspect("one", "/NetworkSettings/IPAddress"), "");
    world.twill(&["start", "one"]).ok();
    world.twill(&["exec", "two", "ping", "-c", "1", &address("one")]).ok();
    world.twill(&["rm", "-f", "one", "two"]).ok();
    world.assert_nothing_left();
    assert_pool_is_empty();
}

#[test]
fn containers_follow_their_host_into_another_subnet() {
    let Some(world) = host() else { return };
    for name in ["one", "two"] {
        world.twill(&["run", "-d", "--name", name, "bb", "sleep", "1000"]).ok();
    }
    assert_eq!(world.twill(&["network", "sync"]).ok(), "", "nothing to do is silent");
    let pid = world.inspect("one", "/State/Pid");
    let text = fs::read_to_string(world.path("subnet.env")).unwrap();
    let text = text.replace("10.5.2.1/24", "10.5.3.1/24").replace("MTU=1450", "MTU=1400");
    fs::write(world.path("subnet.env"), text).unwrap();
    let said = world.twill(&["network", "sync"]).ok();
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.lines().all(|line| line.contains("10.5.2.") && line.contains("10.5.3.")));
    let address =
        |name: &str| world.inspect(name, "/NetworkSettings/IPAddress").as_str().unwrap().to_owned();
    assert!(address("one").starts_with("10.5.3.") && address("one") != address("two"));
    assert_eq!(world.inspect("one", "/NetworkSettings/Gateway"), "10.5.3.1");
    assert_eq!(world.inspect("one", "/State/Pid"), pid, "the program goes on");
    let look = "cat /etc/hosts; ip -o addr show eth0; ip route; cat /sys/class/net/eth0/mtu";
    let inside = world.twill(&["exec", "one", "sh", "-c", look]).ok();
    assert!(!inside.contains("10.5.2."), "{inside}");
    let hostname = world.twill(&["exec", "one", "hostname"]).ok();
    assert!(inside.contains(&format!("{}\t{hostname}", address("one"))), "{inside}");
    assert!(inside.contains("default via 10.5.3.1 dev eth0"), "{inside}");
    assert!(inside.ends_with("\n1400"), "{inside}");
    for to in [address("two"), "10.5.3.1".to_owned()] {
        world.twill(&["exec", "one", "ping", "-c", "1", "-s", "1372", &to]).ok();
    }
    assert_eq!(world.twill(&["network", "sync"]).ok(), "");
    let text = fs::read_to_string(world.path("subnet.env")).unwrap();
    fs::write(world.path("subnet.env"), text.replace("MTU=1400", "MTU=1300")).unwrap();
    let said = world.twill(&["network", "sync", "--format", "json"]).ok();
    let rows: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let one = rows.iter().find(|row| row["Name"] == "one").unwrap();
    assert_eq!(one["From"]["IPAddress"], address("one"));
    let place = serde_json::json!({
        "IPAddress": address("one"), "IPPrefixLen": 24, "MTU": 1300,
        "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
    });
    assert_eq!(one["To"], place);
    assert_eq!(rows.len(), 2, "{said}");
    world.twill(&["rm", "-f", "one", "two"]).ok();
    world.assert_nothing_left();
    assert_pool_is_empty();
}

#[test]
fn an_address_comes_back_after_a_crash() {
    let Some(world) = host() else { return };
    for _ in 0..3 {
        world.twill(&["run", "-d", "--rm", "--name", "it", "bb", "sleep", "1000"]).ok();
        strike(world.monitor("it"));
        assert_eq!(world.twill(&["ps", "-aq"]).ok(), "");
    }
    world.assert_nothing_left();
    assert_pool_is_empty();
}

#[test]
fn a_start_that_fails_gives_its_address_back() {
    let Some(world) = host() else { return };
    world.twill(&["run", "bb", "/etc/plain"]).fails(126, "permission denied");
    world.twill(&["run", "--rm", "bb", "sh", "-c", "exit 9"]).fails(9, "");
    world.assert_nothing_left();
    assert_pool_is_empty();
}

#[test]
fn the_hosts_own_network_is_the_hosts() {
    let Some(world) = host() else { return };
    let said = world.twill(&[
        "run",
        "--rm",
        "--network",
        "host",
        "bb",
        "sh",
        "-c",
        "readlink /proc/self/ns/net",
    ]);
    let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
    assert_eq!(said.ok(), own.to_str().unwrap());
    world.assert_nothing_left();
}

pub(crate) fn assert_pool_is_empty() {
    let host = twill_endpoint::Host::default();
    assert_eq!(host.records().unwrap().len(), 0);
}
