use std::fs;

use nix::mount::{MsFlags, mount};

use crate::world::{World, strike};

/// A host with a subnet, as the agent leaves it.
fn host() -> Option<World> {
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

fn assert_pool_is_empty() {
    let host = twill_endpoint::Host::default();
    assert_eq!(host.records().unwrap().len(), 0);
}
