use twill_core::ids::{Ipv4Subnet, Mac, Mtu};

use super::*;
use crate::netns::{self, Scratch};

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
    let destination: Ipv4Subnet = "10.8.0.0/16".parse().unwrap();
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
fn forwarding_is_switched_on_and_stays_on() {
    let Some(_scratch) = Scratch::enter() else { return };
    ensure_forwarding().unwrap();
    ensure_forwarding().unwrap();
    let value = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    assert_eq!(value.trim(), "1");
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
