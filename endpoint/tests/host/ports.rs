//! Ports of containers, reached from everywhere that may reach them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use twill_core::firewall::{Engine, Variant};
use twill_endpoint::{Error, Kept, Port, Request};
use twill_net::blocking::{Address, Kernel, Route, VethEnd, VethPair};
use twill_net::netns::Netns;

use crate::world::{World, eventually, ip, kernel, owner, request};

const SUBNET: &str = "10.88.2.1/24";
const BOTH: &str = "10.88.2.1/24 fd00:88:0:2::1/64";
/// Whatever is dropped takes as long as this to be missed.
const LIMIT: Duration = Duration::from_secs(2);
/// The host's own address on a link to somebody outside.
const HOST: &str = "192.0.2.1";
const HOST6: &str = "fd00:99::1";

fn port(protocol: &str, host_ip: &str, (host_port, container_port): (u16, u16)) -> Port {
    let protocol = protocol.parse().unwrap();
    Port { container_port, protocol, host_ip: host_ip.parse().ok(), host_port }
}

fn with_ports<'a>(name: &str, netns: &'a Netns, ports: &[Port]) -> Request<'a> {
    Request { ports: ports.to_vec(), ..request(name, netns) }
}

/// A neighbour of the host on another link, that has no route to containers.
fn outsider(world: &World) -> Netns {
    let netns = world.container();
    let mtu = "1450".parse::<u32>().ok().and_then(twill_core::ids::Mtu::new).unwrap();
    let mut host = kernel();
    let pair = VethPair {
        host: VethEnd { name: "out0", mtu, mac: None },
        peer: VethEnd { name: "in0", mtu, mac: None },
        bridge: None,
    };
    host.add_veth(&pair, &netns).unwrap();
    let end = |kernel: &mut Kernel, name: &str, last: &str| {
        let link = kernel.link(name).unwrap().unwrap().index;
        let rows = [(ip(&format!("192.0.2.{last}")), 24), (ip(&format!("fd00:99::{last}")), 64)];
        let rows = rows.map(|(address, prefix_length)| Address { link, address, prefix_length });
        kernel.configure(link, &rows, &[]).unwrap();
    };
    end(&mut host, "out0", "1");
    let mut inside = Kernel::of(&netns).unwrap();
    end(&mut inside, "in0", "2");
    netns
}

fn shell(line: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "tests start programs")]
    let output = std::process::Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What each engine has.
const DUMPS: [(Engine, &str); 3] = [
    (Engine::Nftables, "nft list table inet twill-ports 2>/dev/null || nft list tables"),
    (Engine::Iptables(Variant::NfTables), "iptables-nft-save; ip6tables-nft-save"),
    (Engine::Iptables(Variant::Legacy), "iptables-legacy-save; ip6tables-legacy-save"),
];

/// What whoever connects is told: the name of the service, and the address that it saw.
fn serve(netns: &Netns, name: &'static str, port: u16) {
    netns
        .run(|| {
            let any: SocketAddr = if ipv6_is_on() {
                (IpAddr::from([0_u16; 8]), port).into()
            } else {
                ([0, 0, 0, 0], port).into()
            };
            let listener = TcpListener::bind(any).unwrap();
            let socket = UdpSocket::bind(any).unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let from = stream.peer_addr().unwrap().ip().to_canonical();
                    drop(write!(stream, "{name} {from}"));
                }
            });
            std::thread::spawn(move || {
                while let Ok((_length, from)) = socket.recv_from(&mut [0; 64]) {
                    drop(socket.send_to(name.as_bytes(), from));
                }
            });
        })
        .unwrap();
}

fn ipv6_is_on() -> bool {
    std::path::Path::new("/proc/sys/net/ipv6").exists()
}

fn ask(to: (&str, u16)) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&(ip(to.0), to.1).into(), LIMIT).ok()?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said)
}

fn ask_from(netns: &Netns, to: (&str, u16)) -> Option<String> {
    netns.run(|| ask(to)).unwrap()
}

/// Rules of one engine, on a host that drops all that is forwarded.
fn hosts() -> impl Iterator<Item = (Engine, World)> {
    use Variant::{Legacy, NfTables};
    let engines = [Engine::Iptables(NfTables), Engine::Nftables, Engine::Iptables(Legacy)];
    engines.into_iter().filter_map(|engine| {
        let world = World::new(BOTH)?;
        for family in ["iptables", "ip6tables"] {
            let kind = if engine == Engine::Iptables(Legacy) { "-legacy" } else { "" };
            let source = if family == "iptables" { "203.0.113.0/24" } else { "2001:db8:9::/48" };
            let tool = format!("{family}{kind}");
            shell(&format!(
                "{tool} -P FORWARD DROP && {tool} -N MINE && {tool} -A MINE -s {source} -j DROP"
            ));
        }
        shell("nft add table inet mine && nft add chain inet mine c");
        Some((engine, world))
    })
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    for (engine, world) in hosts() {
        let (web, other, outsider) = (world.container(), world.container(), outsider(&world));
        // Chosen before there is anything to write.
        world.host.attach(&with_ports("first", &other, &[port("tcp", "", (9, 9))])).unwrap();
        world.host.keep_ports(Some(engine)).unwrap();
        let ports = [
            port("tcp", "", (8080, 80)),
            port("udp", "", (8080, 80)),
            port("tcp", HOST, (8081, 80)),
            port("tcp", "127.0.0.1", (8082, 80)),
        ];
        let joined = world.host.attach(&with_ports("web", &web, &ports)).unwrap();
        serve(&web, "web", 80);
        open_to_outsiders(engine, &outsider);
        open_to_the_host(engine);
        // To its neighbour and to itself.
        for netns in [&other, &web] {
            assert_eq!(ask_from(netns, (HOST, 8080)), Some(name("10.88.2.1")), "{engine}");
            assert_eq!(ask_from(netns, (HOST6, 8080)), Some(name("fd00:88:0:2::1")), "{engine}");
        }
        closed(engine, (&outsider, &other), &joined.places[0].address.to_string());
        // Rules of one engine alone, and after the container none.
        let all = || DUMPS.map(|(_engine, dump)| shell(dump)).concat();
        for (writes, dump) in DUMPS {
            assert_eq!(shell(dump).contains("dport 8081"), writes == engine, "{engine}: {dump}");
        }
        world.host.detach(&owner("web")).unwrap();
        assert_eq!(ask((HOST, 8080)), None, "{engine}");
        world.host.detach(&owner("first")).unwrap();
        let left = all();
        assert!(!left.contains("TWILL") && !left.contains("twill"), "{engine}: {left}");
        assert!(left.contains("MINE"), "{engine}: what is others' stays");
        let localnet = std::fs::read_to_string("/proc/sys/net/ipv4/conf/twill0/route_localnet");
        assert_eq!(localnet.unwrap().trim(), "0", "{engine}");
    }
}

fn name(from: &str) -> String {
    format!("web {from}")
}

/// With the client's own address.
fn open_to_outsiders(engine: Engine, outsider: &Netns) {
    assert_eq!(ask_from(outsider, (HOST, 8080)), Some(name("192.0.2.2")), "{engine}");
    assert_eq!(ask_from(outsider, (HOST6, 8080)), Some(name("fd00:99::2")), "{engine}");
    assert_eq!(ask_from(outsider, (HOST, 8081)), Some(name("192.0.2.2")), "{engine}");
    assert_eq!(ask_from(outsider, (HOST, 8082)), None, "{engine}: published for loopback");
    let datagram = outsider.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.send_to(b"?", (HOST, 8080)).unwrap();
        socket.recv_from(&mut [0; 64]).unwrap().1
    });
    assert_eq!(datagram.unwrap(), (ip(HOST), 8080).into(), "{engine}");
}

/// On each of its addresses.
fn open_to_the_host(engine: Engine) {
    assert_eq!(ask((HOST, 8080)), Some(name(HOST)), "{engine}");
    assert_eq!(ask((HOST6, 8080)), Some(name(HOST6)), "{engine}");
    assert_eq!(ask(("10.88.2.1", 8080)), Some(name("10.88.2.1")), "{engine}");
    for number in [8080, 8082] {
        assert_eq!(ask(("127.0.0.1", number)), Some(name("10.88.2.1")), "{engine} {number}");
    }
    assert_eq!(ask((HOST, 8082)), None, "{engine}");
    assert_eq!(ask(("127.0.0.1", 8081)), None, "{engine}");
}

/// What is not published stays closed, also by way of the door for the host's loopback.
fn closed(engine: Engine, (outsider, other): (&Netns, &Netns), own: &str) {
    let link = Kernel::of(outsider).unwrap().link("in0").unwrap().unwrap().index;
    let way = Route {
        destination: "10.88.0.0/16".parse().unwrap(),
        gateway: Some(ip(HOST)),
        link: Some(link),
        protocol: 4,
    };
    Kernel::of(outsider).unwrap().put_route(way).unwrap();
    assert_eq!(ask_from(outsider, (own, 80)), None, "{engine}: nobody opened that");
    assert_eq!(ask_from(outsider, (HOST, 80)), None, "{engine}");
    let secret = TcpListener::bind("127.0.0.1:7000").unwrap();
    loopback_through_gateway(other);
    assert_eq!(ask_from(other, ("127.0.0.1", 7000)), None, "{engine}");
    drop(secret);
}

/// All of 127.0.0.0/8 but the container's own loopback goes to the host.
fn loopback_through_gateway(netns: &Netns) {
    netns
        .run(|| {
            let way = shell(
                "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet && ip addr del 127.0.0.1/8 dev lo && \
                 ip route add 127.0.0.0/8 via 10.88.2.1 dev eth0 && ip route get 127.0.0.1",
            );
            assert!(way.contains("via 10.88.2.1"), "{way}");
        })
        .unwrap();
}

#[test]
fn a_port_belongs_to_one_container() {
    let Some(world) = World::new(SUBNET) else { return };
    let (one, two) = (world.container(), world.container());
    world.host.attach(&with_ports("one", &one, &[port("tcp", "", (8080, 80))])).unwrap();
    let refused = |ports: &[Port]| world.host.attach(&with_ports("two", &two, ports)).unwrap_err();
    let error = refused(&[port("udp", "", (1, 1)), port("tcp", "127.0.0.1", (8080, 1))]);
    assert!(matches!(&error, Error::PortTaken { owner, .. } if owner.container == "one"));
    assert_eq!(
        error.to_string(),
        "Bind for 127.0.0.1:8080 failed: port is already allocated: eth0 of container one (twill) has it"
    );
    assert_eq!(world.host.published().unwrap().len(), 1, "what was refused left nothing");
    world.host.attach(&with_ports("two", &two, &[port("udp", "", (8080, 1))])).unwrap();
}

#[test]
fn rules_follow_a_container_to_another_subnet() {
    let Some(world) = World::new(SUBNET) else { return };
    let web = world.container();
    let ports = [port("tcp", "", (8080, 80))];
    world.host.attach(&with_ports("web", &web, &ports)).unwrap();
    serve(&web, "web", 80);
    assert_eq!(ask(("127.0.0.1", 8080)).as_deref(), Some("web 10.88.2.1"));
    world.lease("10.88.3.1/24");
    world.host.renumber(&owner("web")).unwrap().unwrap();
    assert_eq!(ask(("127.0.0.1", 8080)).as_deref(), Some("web 10.88.3.1"));
    assert!(!shell("iptables-save; nft list ruleset").contains("10.88.2."));
}

#[test]
fn what_others_take_away_comes_back() {
    let Some(world) = World::new(SUBNET) else { return };
    assert_eq!(world.host.keep_ports(None).unwrap(), Kept::Right, "there is nothing to keep");
    let web = world.container();
    world.host.attach(&with_ports("web", &web, &[port("tcp", "", (8080, 80))])).unwrap();
    serve(&web, "web", 80);
    for engine in [Engine::Iptables(Variant::NfTables), Engine::Nftables] {
        world.host.keep_ports(Some(engine)).unwrap();
        assert_eq!(world.host.keep_ports(Some(engine)).unwrap(), Kept::Right, "{engine}");
        shell("nft flush ruleset; echo 0 > /proc/sys/net/ipv4/conf/twill0/route_localnet");
        assert_eq!(ask(("127.0.0.1", 8080)), None, "{engine}");
        assert_eq!(world.host.keep_ports(Some(engine)).unwrap(), Kept::Healed, "{engine}");
        assert_eq!(ask(("127.0.0.1", 8080)).as_deref(), Some("web 10.88.2.1"), "{engine}");
    }
    // Whoever was killed between the record and the rules is followed by the next one.
    std::fs::remove_file(&world.records()[0]).unwrap();
    world.host.sync_ports().unwrap();
    eventually("nobody answers", || ask(("127.0.0.1", 8080)).is_none());
    assert!(!shell("iptables-save; nft list ruleset").contains("8080"));
}

#[test]
fn rules_of_a_killed_container_go_without_anybody_who_sweeps() {
    let Some(world) = World::new(SUBNET) else { return };
    let web = world.container();
    world.host.attach(&with_ports("web", &web, &[port("tcp", "", (8080, 80))])).unwrap();
    assert!(shell("iptables-save; nft list ruleset").contains("8080"));
    drop(web);
    eventually("the agent's look follows", || world.host.keep_ports(None).unwrap() != Kept::Right);
    assert!(!shell("iptables-save; nft list ruleset").contains("8080"));
    assert_eq!(world.host.published().unwrap(), []);
    assert_eq!(world.host.records().unwrap().len(), 1, "its record is not the agent's to release");
}

#[test]
fn only_owners_with_ports_fail_when_rules_cannot_be_written() {
    let Some(world) = World::new(SUBNET) else { return };
    let (web, other) = (world.container(), world.container());
    let ports = [port("tcp", "", (8080, 80))];
    world.host.attach(&with_ports("web", &web, &ports)).unwrap();
    let lock = world.host.state.with_file_name("ports").join("lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    world.host.attach(&request("other", &other)).unwrap();
    world.host.detach(&owner("other")).unwrap();
    let more = [port("tcp", "", (8081, 80))];
    world.host.attach(&with_ports("other", &other, &more)).unwrap_err();
    assert_eq!(world.host.published().unwrap().len(), 1, "what failed left nothing");
    world.host.detach(&owner("web")).unwrap_err();
    std::fs::remove_dir(&lock).unwrap();
    assert_eq!(world.host.published().unwrap().len(), 1, "who is called again has to find it");
    world.host.detach(&owner("web")).unwrap();
    assert!(!shell("iptables-save; nft list ruleset").contains("8080"));
}

#[test]
fn the_old_iptables_of_a_family_is_used_though_it_was_idle() {
    let Some(world) = World::new(BOTH) else { return };
    let web = world.container();
    shell("iptables-legacy -N MINE; iptables-legacy -A MINE -s 203.0.113.0/24 -j DROP");
    let first = [port("tcp", "127.0.0.1", (9, 9))];
    world.host.attach(&with_ports("first", &world.container(), &first)).unwrap();
    let legacy = Engine::Iptables(Variant::Legacy);
    world.host.keep_ports(Some(legacy)).unwrap();
    world.host.attach(&with_ports("web", &web, &[port("tcp", "", (8080, 80))])).unwrap();
    assert!(shell("ip6tables-legacy-save").contains("--dport 8080"));
}

#[test]
fn a_client_of_udp_that_keeps_sending_is_led_by_the_rules_of_now() {
    for (engine, world) in hosts() {
        let (first, outsider) = (world.container(), outsider(&world));
        world.host.attach(&with_ports("first", &first, &[port("tcp", "", (9, 9))])).unwrap();
        world.host.keep_ports(Some(engine)).unwrap();
        // As a monitor holds it.
        let held = UdpSocket::bind(("0.0.0.0", 8080)).unwrap();
        let client = outsider.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        for socket in [&held, &client] {
            socket.set_read_timeout(Some(LIMIT)).unwrap();
        }
        client.connect((HOST, 8080)).unwrap();
        let arrives = |name: &str| {
            client.send(b"?").unwrap();
            held.recv(&mut [0; 8]).unwrap_or_else(|error| panic!("{engine}, {name}: {error}"));
        };
        arrives("before");
        for name in ["one", "two"] {
            let container = world.container();
            let ports = [port("udp", "", (8080, 80))];
            world.host.attach(&with_ports(name, &container, &ports)).unwrap();
            serve(&container, name, 80);
            client.send(b"?").unwrap();
            let mut said = [0; 8];
            let length = client.recv(&mut said).unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(&said[..length]), name, "{engine}");
            world.host.detach(&owner(name)).unwrap();
        }
        arrives("after");
    }
}
