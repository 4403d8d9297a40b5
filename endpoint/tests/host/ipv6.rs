//! Networks of IPv6, alone and beside IPv4.

use std::fs;
use std::net::IpAddr;

use crate::world::{
    World, all, eventually, gateways, inside, ip, kernel, links, owner, request, talk,
};
use twill_core::ids::{Family, Mtu};
use twill_endpoint::{Error, Place, Request};
use twill_net::blocking::{Address, Kernel, Route};
use twill_net::netns::Netns;

const ALONE: &str = "fd00:88:0:2::1/64";
const BOTH: &str = "10.88.2.1/24 fd00:88:0:2::1/64";
const AFTER: &str = "10.88.3.1/24 fd00:88:0:3::1/64";

fn defaults(netns: &Netns) -> Vec<Option<IpAddr>> {
    let rows = Kernel::of(netns).unwrap().routes().unwrap().into_iter();
    rows.filter(|row| row.destination.len() == 0).map(|row| row.gateway).collect()
}

#[test]
fn containers_of_ipv6_alone() {
    let Some(world) = World::new(ALONE) else { return };
    let (web, db) = (world.container(), world.container());
    // As on a host where IPv6 is off unless asked for.
    let off = || fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    off().unwrap();
    web.run(off).unwrap().unwrap();
    let joined = world.host.attach(&request("web", &web)).unwrap();
    assert_eq!(all(&joined), [ip("fd00:88:0:2::2")]);
    assert_eq!(joined.gateway(Family::V4), None);
    assert_eq!(gateways(), [ip("fd00:88:0:2::1")]);
    assert_eq!(inside(&web), all(&joined));
    assert_eq!(defaults(&web), [Some(ip("fd00:88:0:2::1"))]);
    let bridge = kernel().link("twill0").unwrap().unwrap();
    let second = world.host.attach(&request("db", &db)).unwrap();
    assert_eq!(all(&second), [ip("fd00:88:0:2::3")]);
    assert_ne!(joined.container.mac, second.container.mac);
    assert_eq!(kernel().link("twill0").unwrap().unwrap().mac, bridge.mac, "the mac stays");
    let forwards = fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding").unwrap();
    assert_eq!(forwards.trim(), "1");
    world.host.check(&owner("web"), &web).unwrap();
    talk(&web, ip("fd00:88:0:2::2"));
    {
        let _inside = web.enter().unwrap();
        talk(&db, ip("fd00:88:0:2::3"));
    }
    for name in ["web", "db"] {
        world.host.detach(&owner(name)).unwrap();
    }
    assert_eq!((links(), world.records().len()), (vec!["twill0".to_owned()], 0));
    // An address rests.
    let joined = world.host.attach(&request("web", &web)).unwrap();
    assert_eq!(all(&joined), [ip("fd00:88:0:2::4")]);
}

#[test]
fn containers_of_both_families() {
    let Some(world) = World::new(BOTH) else { return };
    let (web, db) = (world.container(), world.container());
    let joined = world.host.attach(&request("web", &web)).unwrap();
    assert_eq!(all(&joined), [ip("10.88.2.2"), ip("fd00:88:0:2::2")]);
    assert_eq!(inside(&web), all(&joined));
    let ways = [Some(ip("10.88.2.1")), Some(ip("fd00:88:0:2::1"))];
    assert_eq!((gateways(), defaults(&web)), (ways.map(Option::unwrap).to_vec(), ways.to_vec()));
    let name = world.records()[0].file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(name, format!("10.88.2.2,fd00:88:0:2::2,{}.json", joined.host.name));
    let mut wish = request("db", &db);
    wish.addresses = vec![ip("fd00:88:0:2:5::7")];
    let second = world.host.attach(&wish).unwrap();
    assert_eq!(all(&second), [ip("10.88.2.3"), ip("fd00:88:0:2:5::7")]);
    for address in all(&joined) {
        talk(&web, address);
    }
    let inside = web.enter().unwrap();
    for address in all(&second) {
        talk(&db, address);
    }
    drop(inside);
    for wish in ["web", "db"] {
        world.host.detach(&owner(wish)).unwrap();
    }
    assert_eq!((links(), world.records().len()), (vec!["twill0".to_owned()], 0));
}

#[test]
fn wishes_are_refused_in_words() {
    let Some(world) = World::new(BOTH) else { return };
    let (web, db) = (world.container(), world.container());
    world.host.attach(&request("web", &web)).unwrap();
    let refused = |wanted: &[&str]| {
        let mut wish = request("db", &db);
        wish.addresses = wanted.iter().copied().map(ip).collect();
        let error = world.host.attach(&wish).unwrap_err();
        assert!(error.hint().is_some());
        error.to_string()
    };
    for (wanted, words) in [
        (
            &["fd00:88:0:2::2"][..],
            "address fd00:88:0:2::2 is in use by eth0 of container web (twill)",
        ),
        (
            &["10.88.2.9", "fd00:88:0:3::9"],
            "address fd00:88:0:3::9 is not in this host's subnet fd00:88:0:2::/64",
        ),
        (
            &["fd00:88:0:2::1"],
            "address fd00:88:0:2::1 of fd00:88:0:2::/64 is the network's, the bridge's",
        ),
        (&["10.88.2.8", "10.88.2.9"], "a container cannot have both 10.88.2.8 and 10.88.2.9"),
    ] {
        assert_eq!(refused(wanted), words);
    }
    world.lease("10.88.2.1/24");
    let words = "address fd00:88:0:2::9 is of IPv6, which this host's network has not";
    assert_eq!(refused(&["fd00:88:0:2::9"]), words);
    assert_eq!(world.records().len(), 1);
}

#[test]
fn what_is_in_the_way_is_named() {
    let Some(world) = World::new(BOTH) else { return };
    let web = world.container();
    let mut kernel = kernel();
    let lo = kernel.link("lo").unwrap().unwrap().index;
    kernel.ensure_loopback().unwrap();
    let gateway = Address { link: lo, address: ip("fd00:88:0:2::1"), prefix_length: 128 };
    kernel.ensure_address(gateway).unwrap();
    let refused = || world.host.attach(&request("web", &web)).unwrap_err().to_string();
    let words = "the gateway address fd00:88:0:2::1 of this host's subnet is on interface lo";
    assert_eq!(refused(), words);
    kernel.drop_address(gateway).unwrap();
    let destination = "fd00:88::/56".parse().unwrap();
    let wide = Route { destination, gateway: None, link: Some(lo), protocol: 4 };
    kernel.put_route(wide).unwrap();
    assert_eq!(
        refused(),
        "this host's subnet fd00:88:0:2::/64 overlaps the route to fd00:88::/56 on interface lo"
    );
    kernel.drop_route(wide).unwrap();
    assert!(links().is_empty() && world.records().is_empty());
    world.host.attach(&request("web", &web)).unwrap();
}

/// The host moves: both subnets, one of them, to a network with a family more and one with a family less.
#[test]
fn a_container_follows_in_each_family() {
    let Some(world) = World::new(BOTH) else { return };
    let web = world.container();
    let before = world.host.attach(&request("web", &web)).unwrap();
    for (name, subnets, addresses) in [
        ("both", AFTER, &["10.88.3.2", "fd00:88:0:3::2"][..]),
        ("IPv6 alone moves", "10.88.3.1/24 fd00:88:0:4::1/64", &["10.88.3.2", "fd00:88:0:4::2"]),
        ("IPv4 alone moves", "10.88.4.1/24 fd00:88:0:4::1/64", &["10.88.4.2", "fd00:88:0:4::2"]),
        ("no IPv6 any more", "10.88.4.1/24", &["10.88.4.2"]),
        ("IPv6 as well", "10.88.4.1/24 fd00:88:0:2::1/64", &["10.88.4.2", "fd00:88:0:2::2"]),
        ("no IPv4 any more", ALONE, &["fd00:88:0:2::2"]),
        ("back again", BOTH, &["10.88.2.2", "fd00:88:0:2::2"]),
    ] {
        let addresses: Vec<IpAddr> = addresses.iter().copied().map(ip).collect();
        world.lease(subnets);
        for _again in 0..2 {
            let moved = world.host.renumber(&owner("web")).unwrap().unwrap();
            world.host.renumber_bridges().unwrap();
            let placed: Vec<IpAddr> = moved.places.iter().map(|place| place.address).collect();
            assert_eq!(placed, addresses, "{name}");
            let mut found = inside(&web);
            found.sort();
            assert_eq!(found, addresses, "{name}");
            let ways: Vec<_> = moved.places.iter().map(|place| Some(place.gateway())).collect();
            assert_eq!(defaults(&web), ways, "{name}");
            assert_eq!(world.records().len(), 1, "{name}");
            // Nothing is left of a family that the network has no more.
            let mut left: Vec<_> = gateways().into_iter().map(Some).collect();
            left.sort();
            assert_eq!(left, ways, "{name}");
        }
        world.host.check(&owner("web"), &web).unwrap();
        for address in addresses {
            talk(&web, address);
        }
    }
    let Place { subnet, .. } = before.places[1];
    assert!(gateways().contains(&subnet.first_host()));
    world.host.detach(&owner("web")).unwrap();
    assert_eq!((links(), world.records().len()), (vec!["twill0".to_owned()], 0));
}

#[test]
fn a_check_compares_both() {
    let Some(world) = World::new(BOTH) else { return };
    let web = world.container();
    let joined = world.host.attach(&request("web", &web)).unwrap();
    let said = || world.host.check(&owner("web"), &web).unwrap_err().to_string();
    let mut within = Kernel::of(&web).unwrap();
    let link = within.link("eth0").unwrap().unwrap().index;
    let own = Address { link, address: all(&joined)[1], prefix_length: 64 };
    within.drop_address(own).unwrap();
    assert!(said().ends_with("its interface does not have its address"));
    within.ensure_address(own).unwrap();
    world.host.check(&owner("web"), &web).unwrap();
    let link = kernel().link("twill0").unwrap().unwrap().index;
    let gateway = Address { link, address: ip("fd00:88:0:2::1"), prefix_length: 64 };
    kernel().drop_address(gateway).unwrap();
    assert!(said().ends_with("the bridge does not have the gateway's address"));
    kernel().ensure_address(gateway).unwrap();
    for (subnets, words) in [
        (
            "10.88.2.1/24 fd00:88:0:3::1/64",
            "has fd00:88:0:2::2, but this host's subnet is fd00:88:0:3::/64 now",
        ),
        ("10.88.2.1/24", "has fd00:88:0:2::2, but this host's subnet is 10.88.2.0/24 now"),
    ] {
        world.lease(subnets);
        assert_eq!(said(), format!("eth0 of container web (twill) {words}"));
    }
    world.lease("10.88.2.1/24");
    let db = world.container();
    world.host.attach(&request("db", &db)).unwrap();
    world.lease(BOTH);
    let error = world.host.check(&owner("db"), &db).unwrap_err();
    let words = "has no address of fd00:88:0:2::/64, which this host has now";
    assert_eq!(error.to_string(), format!("eth0 of container db (twill) {words}"));
    assert!(matches!(error, Error::Lacking { .. }) && error.hint().is_some());
}

/// What an earlier release wrote, with a container that runs.
#[test]
fn records_of_one_family_become_records_of_two() {
    let Some(world) = World::new("10.88.2.1/24") else { return };
    let (web, db) = (world.container(), world.container());
    world.host.attach(&request("web", &web)).unwrap();
    // The line of the lock had 16 bytes and no more.
    let lock = fs::read_to_string(world.host.state.join("lock")).unwrap();
    assert_eq!(lock, format!("{:<15}\n", "10.88.2.2"));
    world.lease(BOTH);
    world.host.attach(&request("db", &db)).unwrap();
    let moved = world.host.renumber(&owner("web")).unwrap().unwrap();
    let addresses: Vec<IpAddr> = moved.places.iter().map(|place| place.address).collect();
    assert_eq!(addresses, [ip("10.88.2.2"), ip("fd00:88:0:2::3")]);
    drop(web);
    eventually("the pair is gone", || links().len() == 2);
    // The dead hold no address, of neither family.
    let late = world.container();
    let mut wish = request("late", &late);
    wish.addresses = addresses;
    world.host.attach(&wish).unwrap();
    assert_eq!(world.records().len(), 2);
}

#[test]
fn an_interface_that_could_not_carry_ipv6_is_refused_in_words() {
    let Some(world) = World::new(BOTH) else { return };
    let web = world.container();
    let wish = Request { mtu: Mtu::new(1200), ..request("web", &web) };
    let error = world.host.attach(&wish).unwrap_err();
    let words = "an MTU of 1200 is too small for the subnet of IPv6 that this host has";
    assert_eq!(error.to_string(), words);
    assert!(error.hint().is_some());
    assert_eq!((links(), world.records().len()), (Vec::<String>::new(), 0));
    world.lease("10.88.2.1/24");
    world.host.attach(&wish).unwrap();
}

#[test]
fn who_gets_ipv6_gives_no_address_of_ipv4_again() {
    let Some(world) = World::new("10.88.2.1/24") else { return };
    let [web, db, next] = [(); 3].map(|()| world.container());
    let all_of = |name, netns| all(&world.host.attach(&request(name, netns)).unwrap());
    assert_eq!(all_of("web", &web), [ip("10.88.2.2")]);
    assert_eq!(all_of("db", &db), [ip("10.88.2.3")]);
    world.host.detach(&owner("db")).unwrap();
    world.lease(BOTH);
    world.host.renumber(&owner("web")).unwrap().unwrap();
    assert_eq!(
        all_of("next", &next),
        [ip("10.88.2.4"), ip("fd00:88:0:2::3")],
        "what was db's rests"
    );
}

#[test]
fn gateways_of_subnets_and_networks_that_were_go_and_no_others() {
    let Some(world) = World::new(BOTH) else { return };
    let web = world.container();
    world.host.attach(&request("web", &web)).unwrap();
    let link = kernel().link("twill0").unwrap().unwrap().index;
    // An administrator's, around what the host has.
    let own = Address { link, address: ip("10.0.0.1"), prefix_length: 8 };
    kernel().ensure_address(own).unwrap();
    let follow = |text: &str| {
        fs::write(&world.host.subnet_env, text).unwrap();
        world.host.renumber(&owner("web")).unwrap().unwrap();
        world.host.renumber_bridges().unwrap();
        let mut found = gateways();
        found.sort_unstable();
        found
    };
    let env = |ipv4: &str, ipv6: [&str; 2]| {
        format!(
            "FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET={ipv4}\nFLANNEL_IPV6_NETWORK={}\n\
             FLANNEL_IPV6_SUBNET={}\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
            ipv6[0], ipv6[1]
        )
    };
    // Another network of IPv6, of which the next env says nothing any more.
    let found = follow(&env("10.88.2.1/24", ["fd00:99::/48", "fd00:99:0:7::1/64"]));
    assert_eq!(found, [ip("10.0.0.1"), ip("10.88.2.1"), ip("fd00:99:0:7::1")]);
    // The same first address, another length.
    let found = follow(&env("10.88.2.1/24", ["fd00:99::/48", "fd00:99:0:7::1/72"]));
    assert_eq!(found, [ip("10.0.0.1"), ip("10.88.2.1"), ip("fd00:99:0:7::1")]);
    let found = follow(&env("10.88.3.1/24", ["fd00:99::/48", "fd00:99:0:8::1/64"]));
    assert_eq!(found, [ip("10.0.0.1"), ip("10.88.3.1"), ip("fd00:99:0:8::1")]);
}
