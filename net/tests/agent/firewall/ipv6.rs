//! What the rules promise, for packets of IPv6; and for such as are sent to many.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use super::world::{World, assert_passes, send, socket};
use super::{IPTABLES, LEGACY, firewall, policy};
use crate::host::{feed, on_a_host, run};
use twill_core::firewall::{Clients, Engine, Masquerade, Policy};
use twill_core::ids::Subnet;

const CONTAINER: Ipv6Addr = Ipv6Addr::new(0xfd05, 0, 0, 1, 0, 0, 0, 2);
const PEER: Ipv6Addr = Ipv6Addr::new(0xfd05, 0, 0, 2, 0, 0, 0, 2);
const TUNNEL: Ipv6Addr = Ipv6Addr::new(0xfd05, 0, 0, 2, 0, 0, 0, 1);
const HOST: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x140, 0, 0, 0, 0, 0, 0x22);
const OUTSIDE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x140, 0, 0, 0, 0, 0, 0x23);
/// Headers of IPv6 and TCP, and the time stamps that Linux adds to each segment.
const HEADERS: u32 = 40 + 20 + 12;

#[test]
fn packets_pass_between_hosts_whatever_others_drop() {
    let closed: [(&str, fn()); 3] = [
        ("a FORWARD policy of DROP", || drop(run("ip6tables-nft -P FORWARD DROP"))),
        ("Docker 28", docker),
        ("a REJECT in front of Docker", || {
            docker();
            feed(
                "ip6tables-nft-restore --noflush",
                "*filter\n:FORWARD_REJECT - [0:0]\n-I FORWARD 1 -j FORWARD_REJECT\n\
                 -A FORWARD_REJECT -j REJECT --reject-with icmp6-adm-prohibited\nCOMMIT\n",
            );
        }),
    ];
    for (name, close) in closed {
        for engine in [IPTABLES, Engine::Nftables] {
            on_a_host(async |scratch| {
                let world = World::of_ipv6(&scratch);
                let container = socket(&world.container, CONTAINER);
                let peer = socket(&world.peer, PEER);
                close();
                assert_eq!(send(&peer, &container, false), None, "{name}: it was not closed");
                let mut firewall = firewall(engine).await;
                firewall.ensure(&[of_ipv6()]).await.unwrap();
                let name = format!("{name}, {engine}");
                assert_passes(&peer, &container, &name);
                if name.contains("Docker") {
                    let outside = socket(&world.outside, OUTSIDE);
                    assert_eq!(send(&outside, &container, false), None, "{name}: from the world");
                }
                assert!(!firewall.ensure(&[of_ipv6()]).await.unwrap(), "{name}: written twice");
            });
        }
    }
}

#[test]
fn a_container_speaks_to_the_world_with_its_hosts_address() {
    for engine in [IPTABLES, LEGACY, Engine::Nftables] {
        on_a_host(async |scratch| {
            let world = World::of_ipv6(&scratch);
            let outside = socket(&world.outside, OUTSIDE);
            let peer = socket(&world.peer, PEER);
            let as_whom = |to: &UdpSocket| {
                let container = socket(&world.container, CONTAINER);
                send(&container, to, true).map(|source| source.ip())
            };
            assert_eq!(as_whom(&outside), Some(CONTAINER.into()), "nobody masquerades yet");
            firewall(engine).await.ensure(&[of_ipv6()]).await.unwrap();
            assert_eq!(as_whom(&outside), Some(HOST.into()), "{engine}: to the world");
            assert_eq!(as_whom(&peer), Some(CONTAINER.into()), "{engine}: to another container");
            let program = if engine == LEGACY { "ip6tables-legacy" } else { "ip6tables-nft" };
            run(&format!("{program} -t mangle -A PREROUTING -j MARK --set-mark 0x5000"));
            assert_eq!(as_whom(&outside), Some(CONTAINER.into()), "{engine}: by Kubernetes");
        });
    }
}

/// A client of the world that reaches, through this host, a container of another one.
#[test]
fn the_clients_address_is_hidden_or_kept() {
    for engine in [IPTABLES, Engine::Nftables] {
        for (clients, want) in [(Clients::Hidden, TUNNEL), (Clients::Kept, OUTSIDE)] {
            on_a_host(async |scratch| {
                let world = World::of_ipv6(&scratch);
                let masquerade = of_ipv6().masquerade.map(|it| Masquerade { clients, ..it });
                let policy = Policy { masquerade, ..of_ipv6() };
                firewall(engine).await.ensure(&[policy]).await.unwrap();
                let client = socket(&world.outside, OUTSIDE);
                let peer = socket(&world.peer, PEER);
                let source = send(&client, &peer, true).map(|source| source.ip());
                assert_eq!(source, Some(want.into()), "{engine}: {clients:?}");
                let container = socket(&world.container, CONTAINER);
                let source = send(&client, &container, true).map(|source| source.ip());
                assert_eq!(source, Some(OUTSIDE.into()), "{engine}: to our own container");
            });
        }
    }
}

/// What the host sends to a group from an address of the overlay keeps that address.
#[test]
fn what_is_sent_to_many_is_not_masqueraded() {
    for engine in [IPTABLES, LEGACY, Engine::Nftables] {
        on_a_host(async |scratch| {
            let world = World::new(&scratch);
            firewall(engine).await.ensure(&[policy(1)]).await.unwrap();
            let group = Ipv4Addr::new(239, 1, 2, 3);
            let receiver = world.outside.run(|| {
                let receiver = UdpSocket::bind((group, 9)).unwrap();
                receiver.join_multicast_v4(&group, &[192, 168, 140, 23].into()).unwrap();
                receiver
            });
            let own = IpAddr::from([10, 5, 1, 1]);
            let sender = UdpSocket::bind((own, 0)).unwrap();
            heard(&receiver.unwrap(), &sender, (group, 9).into(), engine);
        });
        on_a_host(async |scratch| {
            let world = World::of_ipv6(&scratch);
            firewall(engine).await.ensure(&[of_ipv6()]).await.unwrap();
            let group = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0x123);
            let receiver = world.outside.run(|| {
                let receiver = UdpSocket::bind((group, 9)).unwrap();
                receiver.join_multicast_v6(&group, index("eth0")).unwrap();
                receiver
            });
            let sender = UdpSocket::bind((Ipv6Addr::new(0xfd05, 0, 0, 1, 0, 0, 0, 1), 0)).unwrap();
            heard(&receiver.unwrap(), &sender, (group, 9).into(), engine);
        });
    }
}

fn heard(receiver: &UdpSocket, sender: &UdpSocket, group: SocketAddr, engine: Engine) {
    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    setsockopt(sender, sockopt::BindToDevice, &"eth0".into()).unwrap();
    sender.send_to(b"hello", group).unwrap();
    let heard = receiver.recv_from(&mut [0; 16]);
    let (_length, source) = heard.unwrap_or_else(|error| panic!("{engine}, {group}: {error}"));
    assert_eq!(Some(source.ip()), sender.local_addr().ok().map(|own| own.ip()), "{engine}");
}

fn index(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}

#[test]
fn a_connection_through_the_tunnel_learns_the_size_of_its_route() {
    for engine in [IPTABLES, LEGACY, Engine::Nftables] {
        on_a_host(async |scratch| {
            let world = World::of_ipv6(&scratch);
            assert_eq!(sizes(&world), [1500 - HEADERS; 2], "{engine}: before");
            run("ip link set flannel.1 mtu 1430");
            firewall(engine).await.ensure(&[of_ipv6()]).await.unwrap();
            assert_eq!(sizes(&world), [1430 - HEADERS; 2], "{engine}: the device's");
            run("ip -6 route replace fd05:0:0:2::/64 dev flannel.1 metric 256 mtu 1330");
            assert_eq!(sizes(&world), [1330 - HEADERS; 2], "{engine}: the route's");
        });
    }
}

/// What both ends of a connection send at once that the container opens.
fn sizes(world: &World) -> [u32; 2] {
    let listener = world.peer.run(|| TcpListener::bind((PEER, 0))).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let near = world.container.run(|| TcpStream::connect(address)).unwrap().unwrap();
    let (far, _near) = listener.accept().unwrap();
    [near, far].map(|end| getsockopt(&end, sockopt::TcpMaxSeg).unwrap())
}

/// The rules of Docker 28 with `"ip6tables": true` for one container on its default bridge.
fn docker() {
    feed(
        "ip6tables-nft-restore --noflush",
        "*raw\n-A PREROUTING -d fd05:0:0:1::2/128 ! -i docker0 -j DROP\nCOMMIT\n\
         *filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n:DOCKER-FORWARD - [0:0]\n:DOCKER-USER - [0:0]\n\
         -I FORWARD 1 -j DOCKER-FORWARD\n-I FORWARD 1 -j DOCKER-USER\n\
         -A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A DOCKER-FORWARD -o docker0 -j DOCKER\n-A DOCKER-FORWARD -i docker0 -j ACCEPT\n\
         -A DOCKER ! -i docker0 -o docker0 -j DROP\nCOMMIT\n",
    );
}

pub(super) fn of_ipv6() -> Policy {
    Policy {
        network: Subnet::new("fd05::".parse().unwrap(), 48).unwrap(),
        subnet: Subnet::new("fd05:0:0:1::".parse().unwrap(), 64).unwrap(),
        ..policy(1)
    }
}
