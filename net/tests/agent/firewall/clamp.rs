//! TCP connections agree on segments that the way between the hosts carries.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use nix::sys::socket::{getsockopt, sockopt};

use super::world::World;
use super::{IPTABLES, LEGACY, firewall, policy};
use crate::host::{on_a_host, run};
use twill_core::firewall::{Engine, Entrance, Policy};
use twill_net::netns::Netns;

const PEER: Ipv4Addr = Ipv4Addr::new(10, 5, 2, 2);
const CONTAINER: Ipv4Addr = Ipv4Addr::new(10, 5, 1, 2);
/// Headers of IPv4 and TCP, and the time stamps that Linux adds to each segment.
const HEADERS: u32 = 20 + 20 + 12;

#[test]
fn a_connection_through_the_tunnel_learns_the_size_of_its_route() {
    for engine in [IPTABLES, LEGACY, Engine::Nftables] {
        on_a_host(async |scratch| {
            let world = World::new(&scratch);
            // Both ends believe that 1500 bytes fit.
            assert_eq!(sizes(&world), [1500 - HEADERS; 4], "{engine}: before");
            run("ip link set flannel.1 mtu 1450");
            let tunnel = policy(1);
            firewall(engine).await.ensure(std::slice::from_ref(&tunnel)).await.unwrap();
            assert_eq!(sizes(&world), [1450 - HEADERS; 4], "{engine}: the device's");
            run("ip route replace 10.5.2.0/24 dev flannel.1 mtu 1300");
            assert_eq!(sizes(&world), [1300 - HEADERS; 4], "{engine}: the route's");
            let uplink = Entrance::Uplink("flannel.1".to_owned());
            let plain = Policy { entrances: vec![uplink], ..tunnel };
            assert!(firewall(engine).await.ensure(&[plain]).await.unwrap());
            assert_eq!(sizes(&world), [1300 - HEADERS; 4], "{engine}: without a tunnel");
            run("ip link set docker0 mtu 1200");
            assert_eq!(sizes(&world), [1200 - HEADERS; 4], "{engine}: the container's own");
        });
    }
}

/// What each end of a connection sends at once: of one that the container opens, and of one that the
/// peer does.
fn sizes(world: &World) -> [u32; 4] {
    let [near, far] = connection(&world.container, (&world.peer, PEER));
    let [far_first, near_second] = connection(&world.peer, (&world.container, CONTAINER));
    [near, far, far_first, near_second].map(|end| getsockopt(&end, sockopt::TcpMaxSeg).unwrap())
}

fn connection(from: &Netns, (to, address): (&Netns, Ipv4Addr)) -> [TcpStream; 2] {
    let listener = to.run(|| TcpListener::bind((address, 0))).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let near = from.run(|| TcpStream::connect(address)).unwrap().unwrap();
    let (far, _near) = listener.accept().unwrap();
    [near, far]
}
