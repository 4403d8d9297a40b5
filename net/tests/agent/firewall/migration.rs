//! From one engine to another without a gap.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::spawn;
use std::time::Duration;

use super::world::{World, assert_passes, docker, socket};
use super::{IPTABLES, LEGACY, firewall, policy, saved};
use crate::host::{on_a_host, run};
use twill_core::firewall::Engine;

const OUTSIDE: [u8; 4] = [192, 168, 140, 23];
const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 140, 22);
const CONTAINER: Ipv4Addr = Ipv4Addr::new(10, 5, 1, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 5, 2, 2);

const WAY: [Engine; 7] =
    [IPTABLES, Engine::Nftables, LEGACY, IPTABLES, LEGACY, Engine::Nftables, IPTABLES];

/// Every packet of a new flow, whenever it comes, is masqueraded, and a flow that was there goes on.
#[test]
fn no_packet_meets_a_gap() {
    on_a_host(async |scratch| {
        let world = Arc::new(World::new(&scratch));
        firewall(WAY[0]).await.ensure(&[policy(1)]).await.unwrap();
        let (mut near, mut far) = flow(&world);
        let target = socket(&world.outside, OUTSIDE);
        let address = target.local_addr().unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let receiver = spawn({
            let done = Arc::clone(&done);
            move || listen(&target, &done)
        });
        let sender = spawn({
            let (world, done) = (Arc::clone(&world), Arc::clone(&done));
            let knock = move || {
                while !done.load(Ordering::Relaxed) {
                    let fresh = UdpSocket::bind((CONTAINER, 0)).unwrap();
                    fresh.send_to(b"knock", address).unwrap();
                }
            };
            move || world.container.run(knock).unwrap()
        });
        for engine in WAY {
            firewall(engine).await.ensure(&[policy(1)]).await.unwrap();
            assert_eq!(masquerading(), [engine], "only one is left");
            echo(&mut near, &mut far);
        }
        done.store(true, Ordering::Relaxed);
        sender.join().unwrap();
        let count = receiver.join().unwrap();
        assert!(count > 0, "nothing was tested");
    });
}

#[test]
fn the_way_between_hosts_stays_open_beside_docker() {
    on_a_host(async |scratch| {
        let world = World::new(&scratch);
        docker("iptables-nft");
        firewall(WAY[0]).await.ensure(&[policy(1)]).await.unwrap();
        let world = Arc::new(world);
        let container = socket(&world.container, CONTAINER.octets());
        let peer = socket(&world.peer, PEER.octets());
        let echoes = socket(&world.container, CONTAINER.octets());
        let address = echoes.local_addr().unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let echoing = spawn({
            let done = Arc::clone(&done);
            move || echo_all(&echoes, &done)
        });
        let knocking = spawn({
            let (world, done) = (Arc::clone(&world), Arc::clone(&done));
            move || world.peer.run(|| knock(address, &done)).unwrap()
        });
        for engine in WAY {
            firewall(engine).await.ensure(&[policy(1)]).await.unwrap();
            assert_passes(&peer, &container, &engine.to_string());
        }
        done.store(true, Ordering::Relaxed);
        assert!(knocking.join().unwrap() > 0, "nothing was tested");
        echoing.join().unwrap();
    });
}

/// New flow after new flow, each with a packet there and one back.
fn knock(address: SocketAddr, done: &AtomicBool) -> usize {
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        let fresh = UdpSocket::bind((PEER, 0)).unwrap();
        fresh.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        fresh.send_to(b"knock", address).unwrap();
        fresh.recv_from(&mut [0; 16]).unwrap_or_else(|error| panic!("knock {count}: {error}"));
        count += 1;
    }
    count
}

fn echo_all(echoes: &UdpSocket, done: &AtomicBool) {
    echoes.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut buffer = [0; 16];
    while !done.load(Ordering::Relaxed) {
        if let Ok((length, source)) = echoes.recv_from(&mut buffer) {
            echoes.send_to(&buffer[..length], source).unwrap();
        }
    }
}

#[test]
fn without_an_engine_nothing_of_ours_is_left() {
    on_a_host(async |_scratch| {
        docker("iptables-nft");
        run("iptables-legacy -P FORWARD DROP");
        run("nft add table inet filter");
        let foreign = lines(&saved());
        for engine in [IPTABLES, LEGACY, Engine::Nftables] {
            firewall(engine).await.ensure(&[policy(1)]).await.unwrap();
            let mut none = firewall(Engine::None).await;
            assert!(none.ensure(&[policy(1)]).await.unwrap());
            assert_eq!(lines(&saved()), foreign, "{engine}");
            assert!(!none.ensure(&[policy(1)]).await.unwrap());
            assert!(!firewall(Engine::None).await.ensure(&[policy(1)]).await.unwrap(), "as before");
        }
    });
}

/// Packets that seem to come from the container itself were not masqueraded.
fn listen(target: &UdpSocket, done: &AtomicBool) -> usize {
    target.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let (mut received, mut buffer) = (0, [0; 16]);
    while !done.load(Ordering::Relaxed) {
        if let Ok((_length, source)) = target.recv_from(&mut buffer) {
            assert_eq!(source.ip(), HOST, "packet {received}");
            received += 1;
        }
    }
    received
}

/// A connection of the container to the world: both of its ends.
fn flow(world: &World) -> (TcpStream, TcpStream) {
    let listener = world.outside.run(|| TcpListener::bind((Ipv4Addr::from(OUTSIDE), 0))).unwrap();
    let listener = listener.unwrap();
    let address = listener.local_addr().unwrap();
    let near = world.container.run(|| TcpStream::connect(address)).unwrap().unwrap();
    let (far, source) = listener.accept().unwrap();
    assert_eq!(source.ip(), HOST);
    for end in [&near, &far] {
        end.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    (near, far)
}

fn echo(near: &mut TcpStream, far: &mut TcpStream) {
    let mut buffer = [0; 5];
    near.write_all(b"hello").unwrap();
    far.read_exact(&mut buffer).unwrap();
    far.write_all(&buffer).unwrap();
    near.read_exact(&mut buffer).unwrap();
}

/// The engines that masquerade now.
fn masquerading() -> Vec<Engine> {
    let chain = |program: &str| run(&format!("{program}-save -t nat")).contains("MASQUERADE");
    let table = run("nft list tables").contains("inet twill");
    let all = [
        (IPTABLES, chain("iptables-nft")),
        (LEGACY, chain("iptables-legacy")),
        (Engine::Nftables, table),
    ];
    all.into_iter().filter(|(_engine, on)| *on).map(|(engine, _on)| engine).collect()
}

/// Rules and policies, in the order of their words: built-in chains stay when their last rule goes.
fn lines(rules: &str) -> Vec<String> {
    let counts = |line: &&str| {
        line.starts_with("-A") || line.starts_with("table inet") || line.ends_with("DROP")
    };
    let mut lines: Vec<String> = rules.lines().filter(counts).map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}
