//! A host gets another subnet while containers run.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;

use crate::world::{World, first, gateways, inside, kernel, links, owner, request, talk};
use twill_endpoint::{Keeper, Owner};
use twill_net::blocking::{Address, Kernel};
use twill_net::netns::Netns;

const BEFORE: &str = "10.88.2.1/24";
const AFTER: &str = "10.88.3.1/24";

#[test]
fn a_container_follows_its_host() {
    let Some(world) = World::new(BEFORE) else { return };
    let (web, db) = (world.container(), world.container());
    let before = world.host.attach(&request("web", &web)).unwrap();
    world.host.attach(&request("db", &db)).unwrap();
    let bridge = kernel().link("twill0").unwrap().unwrap();
    let foreign = Address { link: bridge.index, address: [192, 0, 2, 7].into(), prefix_length: 24 };
    kernel().ensure_address(foreign).unwrap();

    let same = world.host.renumber(&owner("web")).unwrap().unwrap();
    assert_eq!((same.places, same.mac), (before.places.clone(), before.container.mac));

    world.lease(AFTER);
    let moved = world.host.renumber(&owner("web")).unwrap().unwrap();
    let address = moved.places[0].address;
    assert_eq!(address, Ipv4Addr::new(10, 88, 3, 2));
    assert_eq!(inside(&web), [address]);
    assert_ne!(moved.mac, before.container.mac, "it may be another container's one day");
    let default = routes(&web);
    assert_eq!(default, [Some(IpAddr::from([10, 88, 3, 1]))]);
    assert!(gateways().contains(&first(&before).1), "another container still needs it");
    world.host.renumber(&owner("db")).unwrap().unwrap();
    world.host.renumber_bridges().unwrap();
    let mut left = gateways();
    left.sort();
    assert_eq!(left, [[10, 88, 3, 1].into(), foreign.address]);
    assert_eq!(world.records().len(), 2);
    talk(&web, address);
    let _inside = web.enter().unwrap();
    talk(&db, [10, 88, 3, 3]);
}

#[test]
fn one_that_died_half_way_is_finished_by_the_next() {
    let Some(world) = World::new(BEFORE) else { return };
    let web = world.container();
    let before = world.host.attach(&request("web", &web)).unwrap();
    let record = std::fs::read_to_string(&world.records()[0]).unwrap();
    let name = world.records()[0].clone();
    world.lease(AFTER);
    let after = world.host.renumber(&owner("web")).unwrap().unwrap();
    let old = || {
        let mut inside = Kernel::of(&web).unwrap();
        let link = inside.link("eth0").unwrap().unwrap().index;
        inside
            .ensure_address(Address { link, address: first(&before).0, prefix_length: 24 })
            .unwrap();
    };
    // Died before the old record went, and before the old address did.
    for died_with_address in [false, true] {
        std::fs::write(&name, &record).unwrap();
        if died_with_address {
            old();
        }
        let again = world.host.renumber(&owner("web")).unwrap().unwrap();
        assert_eq!(again.places, after.places);
        assert_eq!(inside(&web), [after.places[0].address]);
        assert_eq!(world.records().len(), 1);
    }
    // Whoever takes the container off finds both.
    std::fs::write(&name, &record).unwrap();
    world.host.detach(&owner("web")).unwrap();
    assert!(world.records().is_empty());
    assert_eq!(world.host.renumber(&owner("web")).unwrap(), None);
    assert_eq!(links(), ["twill0"]);
}

#[test]
fn many_move_at_once_and_some_leave() {
    let Some(world) = World::new(BEFORE) else { return };
    let containers: Vec<Netns> = (0..20).map(|_n| world.container()).collect();
    for (n, netns) in containers.iter().enumerate() {
        world.host.attach(&request(&format!("c{n}"), netns)).unwrap();
    }
    world.lease(AFTER);
    thread::scope(|scope| {
        for n in (0..20).chain(0..20) {
            let host = &world.host;
            scope.spawn(move || drop(host.renumber(&owner(&format!("c{n}")))));
        }
        for n in 0..5 {
            let host = &world.host;
            scope.spawn(move || host.detach(&owner(&format!("c{n}"))).unwrap());
        }
    });
    let records = world.host.records().unwrap();
    assert_eq!(records.len(), 15, "{records:#?}");
    assert!(records.iter().all(|record| record.subnet == "10.88.3.0/24".parse().unwrap()));
    assert_eq!(links().len(), 16);
    for netns in &containers[5..] {
        assert_eq!(inside(netns).len(), 1);
    }
}

#[test]
fn only_the_mtu_changes_if_only_the_mtu_has() {
    let Some(world) = World::new(BEFORE) else { return };
    let web = world.container();
    let before = world.host.attach(&request("web", &web)).unwrap();
    for mtu in [1400, 1470] {
        let text = std::fs::read_to_string(&world.host.subnet_env).unwrap();
        let line = text.lines().find(|line| line.starts_with("FLANNEL_MTU")).unwrap();
        let text = text.replace(line, &format!("FLANNEL_MTU={mtu}"));
        std::fs::write(&world.host.subnet_env, text).unwrap();
        let placed = world.host.renumber(&owner("web")).unwrap().unwrap();
        world.host.renumber_bridges().unwrap();
        assert_eq!((&placed.places, placed.mtu.bytes()), (&before.places, mtu));
        let eth0 = Kernel::of(&web).unwrap().link("eth0").unwrap().unwrap();
        let port = kernel().link(&before.host.name).unwrap().unwrap();
        let bridge = kernel().link("twill0").unwrap().unwrap();
        assert_eq!([eth0.mtu, port.mtu, bridge.mtu], [mtu; 3]);
    }
}

#[test]
fn a_pod_left_behind_does_not_keep_the_former_subnet_here() {
    let Some(world) = World::new(BEFORE) else { return };
    let (netns, web) = (world.container(), world.container());
    let mut wish = request("", &netns);
    wish.owner = Owner { keeper: Keeper::Cni("pods".to_owned()), ..owner("pod") };
    let pod = world.host.attach(&wish).unwrap();
    world.host.attach(&request("web", &web)).unwrap();
    assert_eq!(world.host.check(&wish.owner, &netns).unwrap().address, first(&pod).0);
    world.lease(AFTER);
    // One that can be moved has its way out until it is.
    let new = world.container();
    world.host.attach(&request("new", &new)).unwrap();
    assert!(gateways().contains(&first(&pod).1));
    world.host.renumber(&owner("web")).unwrap().unwrap();
    world.host.renumber_bridges().unwrap();
    assert_eq!(gateways(), [Ipv4Addr::new(10, 88, 3, 1)]);
    let routes = kernel().routes().unwrap();
    let former = routes.iter().filter(|route| route.destination.overlaps(pod.places[0].subnet));
    assert_eq!(former.count(), 0, "{routes:?}");

    let error = world.host.check(&wish.owner, &netns).unwrap_err();
    let said = "eth0 of container pod (cni:pods) has 10.88.2.2, but this host's subnet is 10.88.3.0/24 now";
    assert_eq!(error.to_string(), said);
    assert!(error.hint().unwrap().contains("make it again"));
    world.host.detach(&wish.owner).unwrap();
    let again = world.host.attach(&wish).unwrap();
    assert_eq!(again.places[0].subnet, "10.88.3.0/24".parse().unwrap());
    world.host.check(&wish.owner, &netns).unwrap();
    talk(&netns, first(&again).0);
}

#[test]
fn with_nobody_to_move_the_former_gateway_goes_with_the_next_container() {
    let Some(world) = World::new(BEFORE) else { return };
    let (pod, new) = (world.container(), world.container());
    let mut wish = request("", &pod);
    wish.owner = Owner { keeper: Keeper::Cni("pods".to_owned()), ..owner("pod") };
    world.host.attach(&wish).unwrap();
    world.lease(AFTER);
    world.host.attach(&request("new", &new)).unwrap();
    assert_eq!(gateways(), [Ipv4Addr::new(10, 88, 3, 1)]);
}

/// The reason that a check gives, after something was broken.
#[test]
fn a_check_finds_what_is_missing() {
    type Break = fn(&mut Kernel, &mut Kernel);
    let Some(world) = World::new(BEFORE) else { return };
    let rows: [(&str, Break); 4] = [
        ("its interface does not have its address", |_host, inside| {
            let link = inside.link("eth0").unwrap().unwrap().index;
            let rows = inside.addresses().unwrap();
            let own = rows.into_iter().find(|row| row.link == link).unwrap();
            inside.drop_address(own).unwrap();
        }),
        ("gone, down or not on the bridge", |_host, inside| {
            let link = inside.link("eth0").unwrap().unwrap().index;
            inside.drop_link(link).unwrap();
        }),
        ("the bridge does not have the gateway's address", |host, _inside| {
            let link = host.link("twill0").unwrap().unwrap().index;
            let rows = host.addresses().unwrap();
            host.drop_address(rows.into_iter().find(|row| row.link == link).unwrap()).unwrap();
        }),
        ("the bridge is gone", |host, _inside| {
            let link = host.link("twill0").unwrap().unwrap().index;
            host.drop_link(link).unwrap();
        }),
    ];
    for (want, spoil) in rows {
        let netns = world.container();
        world.host.attach(&request("web", &netns)).unwrap();
        world.host.check(&owner("web"), &netns).unwrap();
        spoil(&mut kernel(), &mut Kernel::of(&netns).unwrap());
        let error = world.host.check(&owner("web"), &netns).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
        world.host.detach(&owner("web")).unwrap();
    }
    let netns = world.container();
    let error = world.host.check(&owner("web"), &netns).unwrap_err().to_string();
    assert_eq!(error, "eth0 of container web (twill) is not joined to this host's subnet");
    world.host.attach(&request("web", &netns)).unwrap();
    let error = world.host.check(&owner("web"), &world.container()).unwrap_err().to_string();
    assert!(error.ends_with("the network namespace is another one"), "{error}");
}

fn routes(netns: &Netns) -> Vec<Option<IpAddr>> {
    let rows = Kernel::of(netns).unwrap().routes().unwrap().into_iter();
    rows.filter(|row| row.destination.len() == 0).map(|row| row.gateway).collect()
}
