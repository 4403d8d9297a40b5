use std::fs;

use twill_core::ids::{Mac, Mtu, Subnet};

use super::*;
use crate::netns::{self, Scratch};
use crate::sysctl::ensure_ipv6_of_containers;

#[test]
fn a_pair_joins_two_namespaces_in_one_step() {
    let Some(scratch) = Scratch::enter() else { return };
    let container = scratch.another();
    let mut host = Kernel::here().unwrap();
    host.ensure_bridge(&bridge()).unwrap();
    host.ensure_bridge(&bridge()).unwrap();
    let made = host.link("br-test").unwrap().unwrap();
    assert_eq!((made.mac, made.mtu, made.up), (Some(bridge().mac), 1400, true));
    assert_eq!(made.kind.as_deref(), Some("bridge"));

    host.add_veth(&pair(made.index), &container).unwrap();
    let port = host_end(&mut host).index;
    host.set_hairpin(port, true).unwrap();
    assert_eq!(host_end(&mut host).bridge, Some(made.index));
    assert!(host_end(&mut host).up);

    let mut inside = Kernel::of(&container).unwrap();
    let eth0 = inside.link("eth0").unwrap().unwrap();
    assert_eq!((eth0.mac, eth0.mtu, eth0.up), (Some(Mac([2, 0, 0, 0, 0, 9])), 1400, false));
    let address = Address { link: eth0.index, address: [10, 9, 0, 2].into(), prefix_length: 24 };
    let default = Route {
        destination: "0.0.0.0/0".parse().unwrap(),
        gateway: Some([10, 9, 0, 1].into()),
        link: Some(eth0.index),
        protocol: 3,
    };
    inside.configure(eth0.index, &[address], &[default]).unwrap();
    inside.configure(eth0.index, &[address], &[default]).unwrap();
    assert!(inside.addresses().unwrap().contains(&address));
    assert!(inside.routes().unwrap().contains(&default));
    assert!(inside.links().unwrap().iter().all(|link| link.up), "loopback came up too");

    assert!(host.drop_link(port).unwrap());
    assert!(!host.drop_link(port).unwrap(), "one that is gone is no error");
    assert_eq!(host.link("twtest").unwrap(), None);
    assert_eq!(inside.link("eth0").unwrap(), None);
}

#[test]
fn a_taken_name_makes_no_half_pair() {
    let Some(scratch) = Scratch::enter() else { return };
    let container = scratch.another();
    let mut host = Kernel::here().unwrap();
    host.ensure_bridge(&bridge()).unwrap();
    let index = host.link("br-test").unwrap().unwrap().index;
    host.add_veth(&pair(index), &container).unwrap();
    let second = VethPair { host: VethEnd { name: "twother", ..pair(index).host }, ..pair(index) };
    let error = host.add_veth(&second, &container).unwrap_err();
    assert!(error.is_already_there(), "{error}: {error:?}");
    assert_eq!(error.to_string(), "cannot make the veth pair twother and eth0");
    assert_eq!(host.link("twother").unwrap(), None);
}

#[test]
fn addresses_and_routes_come_and_go_any_number_of_times() {
    let Some(_scratch) = Scratch::enter() else { return };
    let mut kernel = Kernel::here().unwrap();
    kernel.ensure_bridge(&bridge()).unwrap();
    let link = kernel.link("br-test").unwrap().unwrap().index;
    let address = Address { link, address: [10, 9, 0, 1].into(), prefix_length: 24 };
    kernel.ensure_address(address).unwrap();
    kernel.ensure_address(address).unwrap();
    let destination: Subnet = "10.8.0.0/16".parse().unwrap();
    let near = Route { destination, gateway: None, link: Some(link), protocol: 84 };
    let far = Route { gateway: Some([10, 9, 0, 7].into()), ..near };
    kernel.put_route(near).unwrap();
    kernel.put_route(near).unwrap();
    kernel.put_route(Route { protocol: 84, ..far }).unwrap();
    assert!(kernel.routes().unwrap().contains(&far));
    kernel.drop_address(address).unwrap();
    kernel.drop_address(address).unwrap();
    assert!(!kernel.addresses().unwrap().contains(&address));
}

#[test]
fn both_families_side_by_side() {
    let Some(scratch) = Scratch::enter() else { return };
    let container = scratch.another();
    let mut host = Kernel::here().unwrap();
    host.ensure_bridge(&bridge()).unwrap();
    let index = host.link("br-test").unwrap().unwrap().index;
    ensure_ipv6_of_containers("br-test").unwrap();
    let gateway = |link| Address { link, address: "fd00:9::1".parse().unwrap(), prefix_length: 64 };
    host.ensure_address(gateway(index)).unwrap();
    host.add_veth(&pair(index), &container).unwrap();

    let mut inside = Kernel::of(&container).unwrap();
    let off = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6";
    container.run(|| fs::write(off, "1")).unwrap().unwrap();
    container.run(|| ensure_ipv6_of_containers("eth0")).unwrap().unwrap();
    let link = inside.link("eth0").unwrap().unwrap().index;
    let ipv4 = Address { link, address: [10, 9, 0, 2].into(), prefix_length: 24 };
    let ipv6 = Address { link, address: "fd00:9::2".parse().unwrap(), prefix_length: 64 };
    let route = |destination: &str, gateway: &str| Route {
        destination: destination.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
        link: Some(link),
        protocol: 3,
    };
    let defaults = [route("0.0.0.0/0", "10.9.0.1"), route("::/0", "fd00:9::1")];
    for _again in 0..2 {
        inside.configure(link, &[ipv4, ipv6], &defaults).unwrap();
    }
    // At once, without a second of doubt whether others have it.
    let listener =
        container.run(|| std::net::TcpListener::bind(("fd00:9::2", 0))).unwrap().unwrap();
    let limit = std::time::Duration::from_secs(5);
    std::net::TcpStream::connect_timeout(&listener.local_addr().unwrap(), limit).unwrap();
    let addresses = inside.addresses().unwrap();
    assert!([ipv4, ipv6].iter().all(|row| addresses.contains(row)), "{addresses:?}");
    let found: Vec<Route> =
        inside.routes().unwrap().into_iter().filter(|row| row.destination.len() == 0).collect();
    assert_eq!(found, defaults);
    for _again in 0..2 {
        inside.drop_route(defaults[1]).unwrap();
        inside.drop_address(ipv6).unwrap();
    }
    assert!(!inside.addresses().unwrap().contains(&ipv6));
    assert!(inside.addresses().unwrap().contains(&ipv4));
    let left = inside.routes().unwrap();
    assert!(left.contains(&defaults[0]) && !left.contains(&defaults[1]), "{left:?}");
}

#[test]
fn namespaces_can_be_pinned_found_and_left() {
    let Some(scratch) = Scratch::enter() else { return };
    let home = Netns::current().unwrap().identity().unwrap();
    let other = scratch.another();
    assert_ne!(other.identity().unwrap(), home);
    let seen = other.run(|| Netns::current().unwrap().identity().unwrap()).unwrap();
    assert_eq!(seen, other.identity().unwrap());
    assert_eq!(Netns::current().unwrap().identity().unwrap(), home, "only the thread went there");
    let by_descriptor = Netns::open(other.path()).unwrap();
    assert_eq!(by_descriptor.identity().unwrap(), other.identity().unwrap());

    let directory = tempfile::tempdir().unwrap();
    let name = directory.path().join("pod");
    other.pin(&name).unwrap();
    other.pin(&name).unwrap();
    assert_eq!(Netns::open(&name).unwrap().identity().unwrap(), other.identity().unwrap());
    netns::unpin(&name).unwrap();
    netns::unpin(&name).unwrap();
    assert!(matches!(Netns::open(&name), Err(netns::Error::Open { .. })));
    fs::write(&name, "").unwrap();
    assert!(matches!(Netns::open(&name), Err(netns::Error::NotANamespace { .. })));
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(Netns::open(&pipe), Err(netns::Error::NotANamespace { .. })));

    let entered = other.enter().unwrap();
    assert_eq!(Netns::current().unwrap().identity().unwrap(), other.identity().unwrap());
    drop(entered);
    assert_eq!(Netns::current().unwrap().identity().unwrap(), home);
}

fn bridge() -> Bridge {
    let mtu = Mtu::new(1400).unwrap();
    Bridge { name: "br-test".to_owned(), mac: Mac([2, 0x42, 10, 9, 0, 1]), mtu }
}

fn pair(bridge: IfIndex) -> VethPair<'static> {
    let mtu = Mtu::new(1400).unwrap();
    VethPair {
        host: VethEnd { name: "twtest", mtu, mac: None },
        peer: VethEnd { name: "eth0", mtu, mac: Some(Mac([2, 0, 0, 0, 0, 9])) },
        bridge: Some(bridge),
    }
}

fn host_end(kernel: &mut Kernel) -> Link {
    kernel.link("twtest").unwrap().unwrap()
}
