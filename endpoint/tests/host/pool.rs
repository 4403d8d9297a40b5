//! What is left of commands that died, boots that ended and subnets that moved.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use crate::world::{World, eventually, first, gateways, kernel, links, owner, request, talk};
use twill_endpoint::{Error, Interface, Keeper, Owner};
use twill_net::netns::Netns;

const SUBNET: &str = "10.88.2.1/24";
/// Room for five.
const SMALL: &str = "10.88.2.1/29";

#[test]
fn an_attach_that_died_is_taken_up_again() {
    let Some(world) = World::new(SUBNET) else { return };
    let container = world.container();
    let attach = || world.host.attach(&request("web", &container)).unwrap();
    let drop_pair = |name: &str| {
        let index = kernel().link(name).unwrap().unwrap().index;
        kernel().drop_link(index).unwrap();
    };
    let before = attach();

    // Died between the record and the pair.
    drop_pair(&before.host.name);
    let second = attach();
    assert_eq!(second.places, before.places);

    // The pair without a record: the state directory was lost.
    fs::remove_dir_all(&world.host.state).unwrap();
    let moved = world.container();
    world.host.attach(&request("web", &moved)).unwrap();
    assert_eq!(links().len(), 2, "the bridge and one pair");

    // The container was started again, in another namespace.
    let again = world.container();
    let joined = world.host.attach(&request("web", &again)).unwrap();
    assert_eq!(links().len(), 2);
    talk(&again, first(&joined).0);
}

#[test]
fn files_of_a_write_that_died_do_no_harm() {
    let Some(world) = World::new(SUBNET) else { return };
    fs::create_dir_all(&world.host.state).unwrap();
    fs::write(world.host.state.join(".new"), "{\"keeper\": \"tw").unwrap();
    fs::write(world.host.state.join("lock"), "10.88.2").unwrap();
    let container = world.container();
    let joined = world.host.attach(&request("web", &container)).unwrap();
    assert_eq!(first(&joined).0, Ipv4Addr::new(10, 88, 2, 2));
    assert_eq!(world.host.records().unwrap().len(), 1);
    assert!(!world.host.state.join(".new").exists());
}

#[test]
fn an_address_rests_before_it_is_used_again() {
    let Some(world) = World::new(SMALL) else { return };
    let container = world.container();
    let mut given = Vec::new();
    for n in 0..6 {
        let name = format!("c{n}");
        let joined = world.host.attach(&request(&name, &container)).unwrap();
        let IpAddr::V4(address) = first(&joined).0 else { panic!("{joined:?}") };
        given.push(address.octets()[3]);
        world.host.detach(&owner(&name)).unwrap();
    }
    assert_eq!(given, [2, 3, 4, 5, 6, 2]);
}

#[test]
fn another_boot_takes_everything_back() {
    let Some(world) = World::new(SUBNET) else { return };
    let (web, db) = (world.container(), world.container());
    let joined = world.host.attach(&request("web", &web)).unwrap();
    let record = fs::read_to_string(&world.records()[0]).unwrap();
    world.host.detach(&owner("web")).unwrap();

    // What the disk holds after a power cut: records of a boot that ended, whole and torn.
    let boot = fs::read_to_string(world.host.state.join("boot")).unwrap();
    let earlier = "00000000-0000-4000-8000-000000000000";
    let record = record.replace(&boot, earlier);
    let name = format!("{},{}.json", first(&joined).0, joined.host.name);
    fs::write(world.host.state.join(name), record).unwrap();
    fs::write(world.host.state.join("10.88.2.3,tw0000000000.json"), "").unwrap();
    fs::write(world.host.state.join("boot"), earlier).unwrap();

    let mut wish = request("db", &db);
    wish.addresses = vec![first(&joined).0];
    world.host.attach(&wish).unwrap();
    assert_eq!(world.records().len(), 1);
    assert_eq!(fs::read_to_string(world.host.state.join("boot")).unwrap(), boot);
}

#[test]
fn a_full_pool_takes_back_what_the_dead_hold() {
    let Some(world) = World::new(SMALL) else { return };
    let mut containers: Vec<Netns> = (0..5).map(|_n| world.container()).collect();
    for (n, container) in containers.iter().enumerate() {
        world.host.attach(&request(&format!("c{n}"), container)).unwrap();
    }
    let late = world.container();
    let error = world.host.attach(&request("late", &late)).unwrap_err();
    assert!(matches!(error, Error::Exhausted { usable: 5, .. }), "{error}");
    assert_eq!(error.to_string(), "all 5 addresses of this host's subnet 10.88.2.0/29 are in use");
    assert_eq!(world.records().len(), 5);

    // Killed without a word to us: the kernel takes namespace and pair away in its own time.
    drop(containers.remove(3));
    eventually("the pair is gone", || links().len() == 5);
    let joined = world.host.attach(&request("late", &late)).unwrap();
    assert_eq!(first(&joined).0, Ipv4Addr::new(10, 88, 2, 5));
    talk(&late, first(&joined).0);
}

#[test]
fn a_dead_owner_does_not_hold_a_requested_address() {
    let Some(world) = World::new(SUBNET) else { return };
    let (dead, late) = (world.container(), world.container());
    let address = first(&world.host.attach(&request("dead", &dead)).unwrap()).0;
    drop(dead);
    eventually("the pair is gone", || links() == ["twill0"]);
    let mut wish = request("late", &late);
    wish.addresses = vec![address];
    world.host.attach(&wish).unwrap();
}

#[test]
fn a_host_with_another_subnet_keeps_the_old_gateway_for_as_long_as_it_is_used() {
    let Some(world) = World::new(SUBNET) else { return };
    let (old, new, newer) = (world.container(), world.container(), world.container());
    let before = world.host.attach(&request("old", &old)).unwrap();
    world.lease("10.88.3.1/24");
    let after = world.host.attach(&request("new", &new)).unwrap();
    let (before, after) = (first(&before), first(&after));
    assert_eq!(after.0, Ipv4Addr::new(10, 88, 3, 2));
    assert_eq!(gateways(), [before.1, after.1]);
    talk(&old, before.0);
    talk(&new, after.0);
    world.host.detach(&owner("old")).unwrap();
    world.host.attach(&request("newer", &newer)).unwrap();
    assert_eq!(gateways(), [after.1]);
}

#[test]
fn each_keeper_reclaims_its_own() {
    let Some(world) = World::new(SUBNET) else { return };
    let pod = |container: &str| Owner {
        keeper: Keeper::Cni("pods".to_owned()),
        container: container.to_owned(),
        interface: "eth0".parse::<Interface>().unwrap(),
    };
    let containers: Vec<Netns> = (0..3).map(|_n| world.container()).collect();
    for (owner, netns) in [owner("web"), pod("one"), pod("two")].into_iter().zip(&containers) {
        let mut wish = request("", netns);
        wish.owner = owner;
        world.host.attach(&wish).unwrap();
    }
    let reclaimed = world
        .host
        .reclaim(&Keeper::Cni("pods".to_owned()), |owner| owner.container == "one")
        .unwrap();
    assert_eq!(reclaimed, [pod("two")]);
    let mut left: Vec<String> =
        world.host.records().unwrap().into_iter().map(|record| record.owner.container).collect();
    left.sort();
    assert_eq!(left, ["one", "web"]);
    assert_eq!(links().len(), 3);
}
