//! Containers of IPv6, alone and beside IPv4.

use std::fs;

use crate::bridge::{assert_pool_is_empty, host};
use crate::world::World;

const IPV4: &str = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.2.1/24\n";
const IPV6: &str = "FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:2::1/64\n";

fn lease(world: &World, lines: &str) {
    let text = format!("{lines}FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n");
    fs::write(world.path("subnet.env"), text).unwrap();
}

fn told(world: &World, name: &str, field: &str) -> String {
    let value = world.inspect(name, &format!("/NetworkSettings/{field}"));
    value.as_str().unwrap().to_owned()
}

fn run(world: &World, name: &str) {
    world.twill(&["run", "-d", "--name", name, "bb", "sleep", "1000"]).ok();
}

fn ping(world: &World, from: &str, (family, to): (&str, &str)) {
    world.twill(&["exec", from, "ping", family, "-c", "1", "-W", "5", to]).ok();
}

const LOOK: &str = "cat /etc/hosts; ip -o addr show eth0; ip route; ip -6 route";

#[test]
fn containers_of_ipv6_alone() {
    let Some(world) = host() else { return };
    lease(&world, IPV6);
    for name in ["one", "two"] {
        run(&world, name);
    }
    let two = told(&world, "two", "GlobalIPv6Address");
    assert!(two.starts_with("fd00:5:0:2::"), "{two}");
    assert_eq!(told(&world, "two", "Networks/bridge/IPv6Gateway"), "fd00:5:0:2::1");
    assert_eq!(world.inspect("two", "/NetworkSettings/GlobalIPv6PrefixLen"), 64);
    assert_eq!(
        (told(&world, "two", "IPAddress"), told(&world, "two", "Gateway")),
        Default::default()
    );
    for to in [two.as_str(), "fd00:5:0:2::1"] {
        ping(&world, "one", ("-6", to));
    }
    let inside = world.twill(&["exec", "two", "sh", "-c", LOOK]).ok();
    let hostname = world.twill(&["exec", "two", "hostname"]).ok();
    assert!(inside.contains(&format!("{two}\t{hostname}")), "{inside}");
    assert!(inside.contains("default via fd00:5:0:2::1 dev eth0"), "{inside}");
    assert!(!inside.contains("inet "), "{inside}");
    world.twill(&["rm", "-f", "one", "two"]).ok();
    world.assert_nothing_left();
    assert_pool_is_empty();
}

#[test]
fn containers_of_both_families_follow_their_host() {
    let Some(world) = host() else { return };
    run(&world, "early");
    lease(&world, &[IPV4, IPV6].concat());
    run(&world, "one");
    let both =
        |name: &str| ["IPAddress", "GlobalIPv6Address"].map(|field| told(&world, name, field));
    assert_eq!(both("early")[1], "", "it was there before the host had IPv6");
    let said = world.twill(&["network", "sync"]).ok();
    let early = both("early");
    assert!(
        said.contains(&format!("early: {0} -> {0} and {1}, mtu 1450", early[0], early[1])),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    for (family, to) in ["-4", "-6"].into_iter().zip(both("one")) {
        ping(&world, "early", (family, &to));
    }
    let former = both("one");
    lease(&world, &[IPV4, IPV6].concat().replace("5.2.1/", "5.3.1/").replace("0:2::", "0:3::"));
    let said = world.twill(&["network", "sync", "--format", "json"]).ok();
    let rows: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = rows.iter().find(|row| row["Name"] == "one").unwrap();
    let now = both("one");
    assert!(now[0].starts_with("10.5.3.") && now[1].starts_with("fd00:5:0:3::"), "{now:?}");
    for (end, address) in [("From", &former), ("To", &now)] {
        assert_eq!(row[end]["IPAddress"], address[0].as_str());
        assert_eq!(row[end]["GlobalIPv6Address"], address[1].as_str());
    }
    let inside = world.twill(&["exec", "one", "sh", "-c", LOOK]).ok();
    let hostname = world.twill(&["exec", "one", "hostname"]).ok();
    for (address, former) in now.iter().zip(&former) {
        assert!(inside.contains(&format!("{address}\t{hostname}")), "{inside}");
        assert!(!inside.contains(former.as_str()), "{inside}");
    }
    for (family, to) in ["-4", "-6"].into_iter().zip(&now) {
        ping(&world, "early", (family, to));
    }
    assert_eq!(world.twill(&["network", "sync"]).ok(), "");
    world.twill(&["rm", "-f", "early", "one"]).ok();
    world.assert_nothing_left();
    assert_pool_is_empty();
}
