//! Two networks of one host: packets pass within each, and none from one to the other.
//!
//! ```text
//!   10.5.1.2 ── docker0 ──────┐      ┌────── twill1 ── 10.6.1.2
//!                              host ──
//!   peer 10.5.2.2 ── flannel.1 ┘      └ flannel8285 ── peer 10.6.2.2
//! ```
//!
//! By IPv6 the same with `fd05:0:0:n::` and `fd06:0:0:n::`.

use std::net::IpAddr;

use super::ipv6::of_ipv6;
use super::world::{World, assert_passes, link, send, socket};
use super::{IPTABLES, LEGACY, firewall, policy};
use crate::host::{feed, on_a_host, run};
use twill_core::firewall::{Engine, Entrance, Policy};
use twill_core::ids::{Family, Subnet};
use twill_net::netns::Scratch;

#[test]
fn packets_stay_in_their_network() {
    stays_in_its_network(Family::V4);
}

#[test]
fn packets_of_ipv6_stay_in_their_network() {
    stays_in_its_network(Family::V6);
}

/// The world of the first network, the interfaces of the second one, who is at their ends, and what both
/// networks want.
struct Places {
    world: fn(&Scratch) -> World,
    second: [[&'static str; 2]; 2],
    ends: [&'static str; 4],
    both: [Policy; 2],
    programs: [&'static str; 2],
}

fn places(family: Family) -> Places {
    match family {
        Family::V4 => Places {
            world: World::new,
            second: [
                ["twill1 10.6.1.1/24", "10.6.1.2/24"],
                ["flannel8285 10.6.2.1/24", "10.6.2.2/24"],
            ],
            ends: ["10.5.1.2", "10.5.2.2", "10.6.1.2", "10.6.2.2"],
            both: [policy(1), other()],
            programs: ["iptables-legacy", "iptables-nft"],
        },
        Family::V6 => Places {
            world: World::of_ipv6,
            second: [
                ["twill1 fd06:0:0:1::1/64", "fd06:0:0:1::2/64"],
                ["flannel8285 fd06:0:0:2::1/64", "fd06:0:0:2::2/64"],
            ],
            ends: ["fd05:0:0:1::2", "fd05:0:0:2::2", "fd06:0:0:1::2", "fd06:0:0:2::2"],
            both: [of_ipv6(), other_of_ipv6()],
            programs: ["ip6tables-legacy", "ip6tables-nft"],
        },
    }
}

fn stays_in_its_network(family: Family) {
    for engine in [IPTABLES, LEGACY, Engine::Nftables] {
        on_a_host(async |scratch| {
            let Places { world, second, ends, both, programs } = places(family);
            let world = world(&scratch);
            let [near, far] = second.map(|[here, there]| {
                let netns = scratch.another();
                link(here, there, &netns);
                netns
            });
            let addresses = ends.map(|end| end.parse::<IpAddr>().unwrap());
            let [a, a_peer] = [(&world.container, addresses[0]), (&world.peer, addresses[1])]
                .map(|(netns, address)| socket(netns, address));
            let [b, b_peer] = [(&near, addresses[2]), (&far, addresses[3])]
                .map(|(netns, address)| socket(netns, address));
            let across = [(&a, &b), (&a, &b_peer), (&a_peer, &b), (&a_peer, &b_peer)];
            for (one, other) in across {
                assert_passes(one, other, "nobody keeps them apart yet");
            }
            let mut firewall = firewall(engine).await;
            firewall.ensure(&both).await.unwrap();
            assert!(!firewall.ensure(&both).await.unwrap(), "{engine}: written twice");
            let check = |name: &str| {
                for (one, other) in across {
                    for (from, to) in [(one, other), (other, one)] {
                        let ends = (from.local_addr().unwrap(), to.local_addr().unwrap());
                        let passed = send(from, to, false);
                        assert_eq!(passed, None, "{engine}, {name}: {ends:?}");
                    }
                }
                for (one, other) in [(&a, &a_peer), (&b, &b_peer)] {
                    assert_passes(one, other, &format!("{engine}, {name}: within"));
                }
            };
            check("as it is");
            let [legacy, modern] = programs;
            let program = if engine == LEGACY { legacy } else { modern };
            for table in ["raw -I PREROUTING", "mangle -A FORWARD", "filter -I FORWARD"] {
                run(&format!("{program} -t {table} -j ACCEPT"));
            }
            check("somebody accepts everything");
        });
    }
}

/// What is published is for the world. The way back would be one between the networks.
#[test]
fn neither_a_published_port_nor_an_address_of_the_host_is_a_way_around() {
    for engine in [IPTABLES, LEGACY, Engine::Nftables] {
        on_a_host(async |scratch| {
            let world = World::new(&scratch);
            let near = scratch.another();
            link("twill1 10.6.1.1/24", "10.6.1.2/24", &near);
            let a = socket(&world.container, [10, 5, 1, 2]);
            let b = socket(&near, [10, 6, 1, 2]);
            let outside = socket(&world.outside, [192, 168, 140, 23]);
            let port = b.local_addr().unwrap().port();
            let publish = format!(
                "*nat\n-A PREROUTING -d 192.168.140.22/32 -p udp -m udp --dport 99 -j DNAT \
                 --to-destination 10.6.1.2:{port}\nCOMMIT\n"
            );
            feed("iptables-nft-restore --noflush", &publish);
            let here = std::net::UdpSocket::bind("10.6.1.1:0").unwrap();
            send(&a, &here, true).expect("nobody keeps them apart yet");
            firewall(engine).await.ensure(&[policy(1), other()]).await.unwrap();
            assert_eq!(send(&a, &here, false), None, "{engine}: to the host's address");
            send(&b, &here, true).expect("a container of the same network");
            let through = |from: &std::net::UdpSocket, expected: bool| {
                let patience = if expected { 5000 } else { 100 };
                let patience = std::time::Duration::from_millis(patience);
                b.set_read_timeout(Some(patience)).unwrap();
                from.send_to(b"hello", "192.168.140.22:99").unwrap();
                b.recv_from(&mut [0; 16]).is_ok()
            };
            assert!(!through(&a, false), "{engine}: by a published port");
            assert!(through(&outside, true), "{engine}: the world by a published port");
        });
    }
}

fn other() -> Policy {
    Policy {
        network: Subnet::new([10, 6, 0, 0].into(), 16).unwrap(),
        subnet: Subnet::new([10, 6, 1, 0].into(), 24).unwrap(),
        entrances: vec![Entrance::Tunnel("flannel8285".to_owned())],
        ..policy(1)
    }
}

fn other_of_ipv6() -> Policy {
    Policy {
        network: Subnet::new("fd06::".parse().unwrap(), 48).unwrap(),
        subnet: Subnet::new("fd06:0:0:1::".parse().unwrap(), 64).unwrap(),
        ..other()
    }
}
