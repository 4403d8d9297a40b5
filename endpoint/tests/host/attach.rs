//! Joining and leaving on a host of its own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;

use crate::world::{World, first, gateways, kernel, links, owner, request, talk};
use twill_core::ids::{Mac, Mtu};
use twill_endpoint::{Error, StaticRoute};
use twill_net::blocking::{Address, Bridge, Kernel, Route};
use twill_net::netns::Netns;

const SUBNET: &str = "10.88.2.1/24";

#[test]
fn containers_reach_the_host_and_each_other() {
    let Some(world) = World::new(SUBNET) else { return };
    let (web, db) = (world.container(), world.container());
    let joined = world.host.attach(&request("web", &web)).unwrap();
    let (address, gateway) = first(&joined);
    assert_eq!(address, Ipv4Addr::new(10, 88, 2, 2));
    assert_eq!(gateway, Ipv4Addr::new(10, 88, 2, 1));
    assert_eq!(joined.container.mac, Mac([2, 0x42, 10, 88, 2, 2]));
    assert_eq!(joined.mtu.bytes(), 1450);
    assert_eq!(joined.netns, web.path());

    let mut inside = Kernel::of(&web).unwrap();
    let eth0 = inside.link("eth0").unwrap().unwrap();
    assert_eq!((eth0.mtu, eth0.up, eth0.mac), (1450, true, Some(joined.container.mac)));
    let default = inside.routes().unwrap().into_iter().find(|row| row.destination.len() == 0);
    assert_eq!(default.unwrap().gateway, Some(gateway));
    let mut host = kernel();
    let port = host.link(&joined.host.name).unwrap().unwrap();
    let bridge = host.link("twill0").unwrap().unwrap();
    assert_eq!(port.bridge, Some(bridge.index));
    assert_eq!((bridge.mtu, bridge.up), (1450, true));

    let second = world.host.attach(&request("db", &db)).unwrap();
    assert_eq!(first(&second).0, Ipv4Addr::new(10, 88, 2, 3));
    let unchanged = host.link("twill0").unwrap().unwrap();
    assert_eq!(unchanged.mac, Some(Mac([2, 0x42, 10, 88, 2, 1])), "ports come, the mac stays");
    talk(&web, address);
    let _inside = web.enter().unwrap();
    talk(&db, first(&second).0);
}

#[test]
fn leaving_twice_or_without_anything_left_is_a_success() {
    let Some(world) = World::new(SUBNET) else { return };
    world.host.detach(&owner("never seen")).unwrap();
    let container = world.container();
    let attach = |name: &str| world.host.attach(&request(name, &container)).unwrap();

    attach("plain");
    world.host.detach(&owner("plain")).unwrap();
    world.host.detach(&owner("plain")).unwrap();

    let joined = attach("pair gone");
    let index = kernel().link(&joined.host.name).unwrap().unwrap().index;
    kernel().drop_link(index).unwrap();
    world.host.detach(&owner("pair gone")).unwrap();

    attach("record gone");
    fs::remove_file(&world.records()[0]).unwrap();
    world.host.detach(&owner("record gone")).unwrap();

    attach("record torn");
    fs::write(&world.records()[0], "{\"keeper").unwrap();
    world.host.detach(&owner("record torn")).unwrap();

    attach("namespace gone");
    drop(container);
    world.host.detach(&owner("namespace gone")).unwrap();
    assert_eq!(links(), ["twill0"]);
    assert!(world.records().is_empty());
}

#[test]
fn many_at_once_get_different_addresses() {
    let Some(world) = World::new(SUBNET) else { return };
    let containers: Vec<Netns> = (0..100).map(|_n| world.container()).collect();
    let name = |n: usize| format!("c{n}");
    let mut addresses: Vec<IpAddr> = thread::scope(|scope| {
        let attach = |n: usize| world.host.attach(&request(&name(n), &containers[n]));
        let threads: Vec<_> = (0..containers.len())
            .map(|n| scope.spawn(move || first(&attach(n).unwrap()).0))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), containers.len());
    assert_eq!(gateways(), [Ipv4Addr::new(10, 88, 2, 1)]);
    talk(
        &containers[99],
        world
            .host
            .records()
            .unwrap()
            .iter()
            .find(|record| record.owner == owner("c99"))
            .unwrap()
            .address,
    );
    thread::scope(|scope| {
        for n in 0..containers.len() {
            let host = &world.host;
            scope.spawn(move || host.detach(&owner(&name(n))).unwrap());
        }
    });
    assert_eq!(links(), ["twill0"]);
    assert!(world.records().is_empty());
}

#[test]
fn an_interface_of_that_name_is_not_touched() {
    let Some(world) = World::new(SUBNET) else { return };
    let container = world.container();
    world.host.attach(&request("web", &container)).unwrap();
    for name in ["web", "another"] {
        let error = world.host.attach(&request(name, &container)).unwrap_err();
        assert!(matches!(error, Error::InterfaceExists { .. }), "{error}");
    }
    assert_eq!(world.records().len(), 1);
    assert_eq!(links().len(), 2);
    talk(&container, [10, 88, 2, 2]);
}

#[test]
fn a_failed_attach_leaves_nothing() {
    let Some(world) = World::new(SUBNET) else { return };
    let container = world.container();
    let mut wish = request("web", &container);
    wish.routes.push(StaticRoute {
        destination: "203.0.113.0/24".parse().unwrap(),
        gateway: Some([198, 51, 100, 1].into()),
    });
    let error = world.host.attach(&wish).unwrap_err();
    assert_eq!(error.to_string(), "cannot add route 203.0.113.0/24 via 198.51.100.1");
    assert_eq!(links(), ["twill0"]);
    assert!(world.records().is_empty());
    assert_eq!(Kernel::of(&container).unwrap().link("eth0").unwrap(), None);
}

#[test]
fn a_requested_address_is_given_or_refused() {
    let Some(world) = World::new(SUBNET) else { return };
    let (web, db) = (world.container(), world.container());
    let attach = |name: &str, netns: &Netns, last_two: [u8; 2]| {
        let mut wish = request(name, netns);
        wish.addresses = vec![[10, 88, last_two[0], last_two[1]].into()];
        world.host.attach(&wish)
    };
    assert_eq!(first(&attach("web", &web, [2, 77]).unwrap()).0, Ipv4Addr::new(10, 88, 2, 77));
    let cases = [
        ([2, 77], "address 10.88.2.77 is in use by eth0 of container web (twill)"),
        ([3, 9], "address 10.88.3.9 is not in this host's subnet 10.88.2.0/24"),
        (
            [2, 0],
            "address 10.88.2.0 of 10.88.2.0/24 is the network's, the bridge's or the broadcast address",
        ),
        (
            [2, 1],
            "address 10.88.2.1 of 10.88.2.0/24 is the network's, the bridge's or the broadcast address",
        ),
        (
            [2, 255],
            "address 10.88.2.255 of 10.88.2.0/24 is the network's, the bridge's or the broadcast address",
        ),
    ];
    for (wanted, words) in cases {
        let error = attach("db", &db, wanted).unwrap_err();
        assert_eq!(error.to_string(), words);
        assert!(error.hint().is_some());
    }
    assert_eq!(world.records().len(), 1);
}

#[test]
fn the_host_is_not_its_own_container() {
    let Some(world) = World::new(SUBNET) else { return };
    let here = Netns::current().unwrap();
    let error = world.host.attach(&request("web", &here)).unwrap_err();
    assert!(matches!(error, Error::SameNamespace { .. }), "{error}");
    assert!(links().is_empty());
}

#[test]
fn without_a_subnet_the_error_says_who_gives_one() {
    let Some(world) = World::new(SUBNET) else { return };
    let container = world.container();
    fs::remove_file(&world.host.subnet_env).unwrap();
    let error = world.host.attach(&request("web", &container)).unwrap_err();
    assert!(matches!(error, Error::ReadSubnetEnv { .. }));
    assert!(error.hint().unwrap().contains("twilld.service"));
    fs::write(&world.host.subnet_env, "FLANNEL_SUBNET\n").unwrap();
    let error = world.host.attach(&request("web", &container)).unwrap_err();
    assert!(matches!(error, Error::ParseSubnetEnv { .. }));
    assert!(links().is_empty() && world.records().is_empty());
}

#[test]
fn what_belongs_to_others_is_not_taken_over() {
    let Some(world) = World::new(SUBNET) else { return };
    let container = world.container();
    let refused = || world.host.attach(&request("web", &container)).unwrap_err().to_string();
    let mut kernel = kernel();
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let mtu = Mtu::new(1500).unwrap();
    kernel.ensure_bridge(&Bridge { name: "cni0".to_owned(), mac, mtu }).unwrap();
    let link = kernel.link("cni0").unwrap().unwrap().index;

    let wide = Address { link, address: [10, 88, 200, 1].into(), prefix_length: 16 };
    kernel.ensure_address(wide).unwrap();
    assert_eq!(
        refused(),
        "this host's subnet 10.88.2.0/24 overlaps the route to 10.88.0.0/16 on interface cni0"
    );
    kernel.drop_address(wide).unwrap();

    let gateway = Address { link, address: [10, 88, 2, 1].into(), prefix_length: 24 };
    kernel.ensure_address(gateway).unwrap();
    assert_eq!(
        refused(),
        "the gateway address 10.88.2.1 of this host's subnet is on interface cni0"
    );
    kernel.drop_address(gateway).unwrap();

    let other = Address { link, address: [192, 0, 2, 1].into(), prefix_length: 24 };
    kernel.ensure_address(other).unwrap();
    kernel
        .put_route(Route {
            destination: "10.0.0.0/8".parse().unwrap(),
            gateway: Some([192, 0, 2, 9].into()),
            link: None,
            protocol: 3,
        })
        .unwrap();
    assert_eq!(links(), ["cni0"], "nothing was made for the refused ones");
    world.host.attach(&request("web", &container)).unwrap();
}

#[test]
fn an_interface_that_is_no_bridge_is_left_alone() {
    let Some(world) = World::new(SUBNET) else { return };
    let container = world.container();
    let mut wish = request("web", &container);
    wish.bridge = "lo".parse().unwrap();
    let error = world.host.attach(&wish).unwrap_err();
    assert_eq!(error.to_string(), "interface lo is not a bridge");
    assert!(world.records().is_empty());
}
