//! Packets between containers of two hosts pass whatever others drop, and nothing else does.

use super::world::{World, assert_passes, docker, send, socket};
use super::{IPTABLES, LEGACY, firewall, policy};
use crate::host::{feed, on_a_host, run};
use twill_core::firewall::{Clients, Engine, Entrance, Masquerade, Policy};

/// What somebody's firewall does to the overlay, and the engines that must win over it.
type Closed = (&'static str, fn(), &'static [Engine]);

const CLOSED: [Closed; 6] = [
    (
        "a FORWARD policy of DROP",
        || drop(run("iptables-nft -P FORWARD DROP")),
        &[IPTABLES, Engine::Nftables],
    ),
    ("Docker 28", || docker("iptables-nft"), &[IPTABLES, Engine::Nftables]),
    (
        "Docker 28 with the old iptables",
        || docker("iptables-legacy"),
        &[LEGACY, IPTABLES, Engine::Nftables],
    ),
    ("a REJECT in front, as firewalld has it", rejects, &[IPTABLES, Engine::Nftables]),
    (
        "a REJECT in front of Docker",
        || {
            docker("iptables-nft");
            rejects();
        },
        &[IPTABLES, Engine::Nftables],
    ),
    (
        "DOCKER-USER of an old Docker, which ends with RETURN",
        || {
            docker("iptables-nft");
            run("iptables-nft -A DOCKER-USER -j RETURN");
        },
        &[IPTABLES, Engine::Nftables],
    ),
];

fn rejects() {
    feed(
        "iptables-nft-restore --noflush",
        "*filter\n:FORWARD_direct - [0:0]\n:FORWARD_REJECT - [0:0]\n\
         -I FORWARD 1 -j FORWARD_REJECT\n-I FORWARD 1 -j FORWARD_direct\n\
         -A FORWARD_REJECT -j REJECT --reject-with icmp-host-prohibited\nCOMMIT\n",
    );
}

#[test]
fn packets_pass_between_hosts_whatever_others_drop() {
    for (name, close, engines) in CLOSED {
        for engine in engines {
            on_a_host(async |scratch| {
                let world = World::new(&scratch);
                let container = socket(&world.container, [10, 5, 1, 2]);
                let peer = socket(&world.peer, [10, 5, 2, 2]);
                close();
                assert_eq!(send(&peer, &container, false), None, "{name}: it was not closed");
                let mut firewall = firewall(*engine).await;
                firewall.ensure(&[policy(1)]).await.unwrap();
                let name = format!("{name}, {engine}");
                assert_passes(&peer, &container, &name);
                assert!(!firewall.ensure(&[policy(1)]).await.unwrap(), "{name}: written twice");
            });
        }
    }
}

/// Packets of peers on the link come in by the uplink as they are.
#[test]
fn packets_pass_without_a_tunnel_as_well() {
    for engine in [IPTABLES, Engine::Nftables] {
        on_a_host(async |scratch| {
            let world = World::new(&scratch);
            let container = socket(&world.container, [10, 5, 1, 2]);
            let outside = socket(&world.outside, [192, 168, 140, 23]);
            world.outside.run(|| run("ip address add 10.5.7.7/32 dev eth0")).unwrap();
            run("ip route add 10.5.7.0/24 via 192.168.140.23 dev eth0");
            let peer = socket(&world.outside, [10, 5, 7, 7]);
            docker("iptables-nft");
            assert_eq!(send(&peer, &container, false), None, "it was not closed");
            let entrances = vec![Entrance::Uplink("eth0".to_owned())];
            firewall(engine).await.ensure(&[Policy { entrances, ..policy(1) }]).await.unwrap();
            assert_passes(&peer, &container, &engine.to_string());
            assert_eq!(send(&outside, &container, false), None, "{engine}: from the world");
        });
    }
}

/// The world may not reach a container by its address only because another host's containers may.
#[test]
fn what_docker_keeps_out_stays_out() {
    for engine in [IPTABLES, Engine::Nftables] {
        on_a_host(async |scratch| {
            let world = World::new(&scratch);
            let container = socket(&world.container, [10, 5, 1, 2]);
            let peer = socket(&world.peer, [10, 5, 2, 2]);
            let outside = socket(&world.outside, [192, 168, 140, 23]);
            docker("iptables-nft");
            run("iptables-nft -I DOCKER-USER -s 10.5.2.3/32 -j DROP");
            firewall(engine).await.ensure(&[policy(1)]).await.unwrap();
            assert_eq!(send(&outside, &container, false), None, "{engine}: from the world");
            world.outside.run(|| run("ip address add 10.5.9.9/32 dev eth0")).unwrap();
            let disguised = socket(&world.outside, [10, 5, 9, 9]);
            assert_eq!(send(&disguised, &container, false), None, "{engine}: disguised as a peer");
            world.peer.run(|| run("ip address add 10.5.2.3/24 dev eth0")).unwrap();
            let banned = socket(&world.peer, [10, 5, 2, 3]);
            assert_eq!(send(&banned, &container, false), None, "{engine}: the administrator's no");
            assert_passes(&peer, &container, &engine.to_string());
        });
    }
}

#[test]
fn a_container_speaks_to_the_world_with_its_hosts_address() {
    for engine in [IPTABLES, LEGACY, Engine::Nftables] {
        on_a_host(async |scratch| {
            let world = World::new(&scratch);
            let container = socket(&world.container, [10, 5, 1, 2]);
            let outside = socket(&world.outside, [192, 168, 140, 23]);
            let peer = socket(&world.peer, [10, 5, 2, 2]);
            let source = send(&container, &outside, true).map(|source| source.ip());
            assert_eq!(source, Some([10, 5, 1, 2].into()), "nobody masquerades yet");
            firewall(engine).await.ensure(&[policy(1)]).await.unwrap();
            let container = socket(&world.container, [10, 5, 1, 2]);
            let source = send(&container, &outside, true).map(|source| source.ip());
            assert_eq!(source, Some([192, 168, 140, 22].into()), "{engine}: to the world");
            let source = send(&container, &peer, true).map(|source| source.ip());
            assert_eq!(source, Some([10, 5, 1, 2].into()), "{engine}: to a container elsewhere");
            let mark = match engine {
                LEGACY => "iptables-legacy -t mangle -A PREROUTING -j MARK --set-mark 0x5000",
                _other => "iptables-nft -t mangle -A PREROUTING -j MARK --set-mark 0x5000",
            };
            run(mark);
            let container = socket(&world.container, [10, 5, 1, 2]);
            let source = send(&container, &outside, true).map(|source| source.ip());
            assert_eq!(source, Some([10, 5, 1, 2].into()), "{engine}: marked by Kubernetes");
        });
    }
}

/// A client of the world that reaches, through this host, a container of another one.
#[test]
fn the_clients_address_is_hidden_or_kept() {
    for (engine, clients) in [
        (IPTABLES, Clients::Hidden),
        (IPTABLES, Clients::Kept),
        (Engine::Nftables, Clients::Hidden),
        (Engine::Nftables, Clients::Kept),
    ] {
        on_a_host(async |scratch| {
            let world = World::new(&scratch);
            let masquerade = policy(1).masquerade.map(|it| Masquerade { clients, ..it });
            let policy = Policy { masquerade, ..policy(1) };
            firewall(engine).await.ensure(std::slice::from_ref(&policy)).await.unwrap();
            let client = socket(&world.outside, [192, 168, 140, 23]);
            let peer = socket(&world.peer, [10, 5, 2, 2]);
            let source = send(&client, &peer, true).map(|source| source.ip());
            let want = match clients {
                Clients::Hidden => [10, 5, 2, 1],
                Clients::Kept => [192, 168, 140, 23],
            };
            assert_eq!(source, Some(want.into()), "{engine}: {clients:?}");
            let container = socket(&world.container, [10, 5, 1, 2]);
            let source = send(&client, &container, true).map(|source| source.ip());
            assert_eq!(source, Some([192, 168, 140, 23].into()), "{engine}: to our own container");
        });
    }
}
