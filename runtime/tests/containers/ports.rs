//! Ports that are published, and what becomes of them.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use twill_endpoint::{Host, Keeper, Owner, Port, Request};
use twill_net::netns::Netns;

use crate::bridge::{assert_pool_is_empty, host};
use crate::world::{World, eventually, strike};

/// Says its own name to whoever connects to its port 80.
const SERVE: &str = "while :; do hostname | nc -l -p 80; done";

fn ask(at: &str) -> Option<String> {
    let to: SocketAddr = at.parse().unwrap();
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&to, limit).ok()?;
    stream.set_read_timeout(Some(limit)).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said.trim().to_owned())
}

/// Whoever answers may be between two clients.
#[track_caller]
fn answers(at: &str, name: &str) {
    eventually(&format!("{name} answers at {at}"), || ask(at).as_deref() == Some(name));
}

fn run(world: &World, name: &str, options: &[&str]) {
    let words = [&["run", "-d", "--name", name, "-h", name], options, &["bb", "sh", "-c", SERVE]];
    world.twill(&words.concat()).ok();
}

fn rules() -> String {
    let all = "nft list ruleset; iptables-save; iptables-legacy-save; ip6tables-save";
    World::run(&["sh", "-c", all])
}

#[track_caller]
fn assert_no_rules() {
    let rules = rules();
    assert!(!rules.contains("TWILL-PORTS") && !rules.contains("twill-ports"), "{rules}");
}

#[test]
fn a_published_port_leads_to_its_container() {
    let Some(world) = host() else { return };
    World::run(&["iptables", "-P", "FORWARD", "DROP"]);
    run(&world, "web", &["-p", "127.0.0.1:8080:80", "-p", "9000-9001:90-91/udp", "--expose", "53"]);
    answers("127.0.0.1:8080", "web");
    let ps = world.twill(&["ps", "--format", "{{.Ports}}"]).ok();
    assert_eq!(ps, "53/tcp, 127.0.0.1:8080->80/tcp, 0.0.0.0:9000->90/udp, 0.0.0.0:9001->91/udp");
    let ports = world.twill(&["port", "web"]).ok();
    assert_eq!(ports, "80/tcp -> 127.0.0.1:8080\n90/udp -> 0.0.0.0:9000\n91/udp -> 0.0.0.0:9001");
    assert_eq!(world.twill(&["port", "web", "91/udp"]).ok(), "0.0.0.0:9001");
    world.twill(&["port", "web", "53"]).fails(1, "No public port '53' published for web");
    let json = |pointer: &str| world.inspect("web", pointer).to_string();
    assert_eq!(
        json("/HostConfig/PortBindings"),
        r#"{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}],"90/udp":[{"HostIp":"","HostPort":"9000"}],"91/udp":[{"HostIp":"","HostPort":"9001"}]}"#
    );
    assert_eq!(json("/NetworkSettings/Ports/53~1tcp"), "null");
    assert_eq!(json("/NetworkSettings/Ports/90~1udp/0/HostIp"), "\"0.0.0.0\"");
    assert_eq!(json("/Config/ExposedPorts/53~1tcp"), "{}");
    for (filter, want) in [("publish=80", "web"), ("publish=1-99/udp", "web"), ("expose=54", "")] {
        let found = world.twill(&["ps", "--format", "{{.Names}}", "-f", filter]).ok();
        assert_eq!(found, want, "{filter}");
    }
    world.twill(&["stop", "-t", "0", "web"]).ok();
    assert_eq!(ask("127.0.0.1:8080"), None);
    assert_no_rules();
    assert_eq!(json("/NetworkSettings/Ports"), "{}");
    world.twill(&["start", "web"]).ok();
    answers("127.0.0.1:8080", "web");
    world.twill(&["rm", "-f", "web"]).ok();
    assert_no_rules();
    world.assert_nothing_left();
    assert_pool_is_empty();
}

#[test]
fn a_used_port_is_refused_with_its_owners_name() {
    let Some(world) = host() else { return };
    run(&world, "web", &["-p", "8080:80"]);
    let taken = |options: &[&str]| {
        world.twill(&[&["run", "-d", "--name", "two"], options, &["bb", "sleep", "9"]].concat())
    };
    taken(&["-p", "8080:1"]).fails(
        125,
        "Bind for 0.0.0.0:8080 failed: port is already allocated: container web has it",
    );
    let server = TcpListener::bind("127.0.0.1:8081").unwrap();
    let words = format!("process {} (", std::process::id());
    taken(&["-p", "8081:1"]).fails(125, &words);
    taken(&["-p", "127.0.0.1:8081:1"]).fails(125, "Bind for 127.0.0.1:8081 failed");
    drop(server);
    taken(&["-p", "192.0.2.77:1:1"]).fails(125, "Bind for 192.0.2.77:1 failed: ");
    taken(&["-p", "[fd00::1]:1:1"]).fails(125, "the network has no IPv6");
    for wrong in ["99999:80", "80:0", "1-2:1-3", "x"] {
        taken(&["-p", wrong]).fails(125, "invalid ");
    }
    // A range has room as long as one of them is free, and nobody else can take what is published.
    run(&world, "two", &["-p", "8080-8081:80"]);
    answers("127.0.0.1:8081", "two");
    assert!(TcpListener::bind("0.0.0.0:8081").is_err());
    taken(&["-p", "8080-8081:80"]).fails(125, "is already in use by container");
    world.twill(&["rm", "-f", "web", "two"]).ok();
    world.assert_nothing_left();
    assert_no_rules();
}

#[test]
fn exposed_ports_are_published_anywhere() {
    let Some(world) = host() else { return };
    run(&world, "web", &["-P", "--expose", "80", "--expose", "90/udp"]);
    assert_eq!(world.twill(&["port", "web", "80"]).ok(), "0.0.0.0:32768");
    assert_eq!(world.twill(&["port", "web", "90/udp"]).ok(), "0.0.0.0:32768");
    answers("127.0.0.1:32768", "web");
    run(&world, "two", &["-P", "--expose", "80"]);
    assert_eq!(world.twill(&["port", "two", "80"]).ok(), "0.0.0.0:32769");
    world.twill(&["rm", "-f", "web", "two"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_policy_keeps_the_ports_and_a_new_subnet_as_well() {
    let Some(world) = host() else { return };
    run(&world, "web", &["-P", "--expose", "80", "--restart", "always"]);
    answers("127.0.0.1:32768", "web");
    let first = world.pid("web");
    strike(first);
    eventually("it runs again", || {
        let pid = world.inspect("web", "/State/Pid").as_i64();
        pid.is_some_and(|pid| pid > 0 && pid != i64::from(first))
    });
    answers("127.0.0.1:32768", "web");
    let text = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
    fs::write(world.path("subnet.env"), text).unwrap();
    world.twill(&["network", "sync"]).ok();
    answers("127.0.0.1:32768", "web");
    assert!(!rules().contains("10.5.2."), "{}", rules());
    world.twill(&["rm", "-f", "web"]).ok();
    assert_no_rules();
    world.assert_nothing_left();
}

#[test]
fn no_rule_survives_its_container() {
    let Some(world) = host() else { return };
    run(&world, "web", &["-p", "8080:80"]);
    answers("127.0.0.1:8080", "web");
    strike(world.monitor("web"));
    world.twill(&["ps"]).ok();
    assert_no_rules();
    assert!(TcpListener::bind("0.0.0.0:8080").is_ok());
    world.twill(&["rm", "-f", "web"]).ok();
    world.assert_nothing_left();
    assert_pool_is_empty();
}

#[test]
fn who_loses_a_race_for_one_port_of_several_takes_the_next() {
    let Some(world) = host() else { return };
    World::run(&["ip", "netns", "add", "other"]);
    let netns = Netns::open("/run/netns/other").unwrap();
    let (env, kept) = (world.path("subnet.env"), world.path("kept.env"));
    fs::rename(&env, &kept).unwrap();
    let other = Host { subnet_env: kept.clone(), ..Host::default() };
    let owner = || Owner {
        keeper: Keeper::Cni("net".into()),
        container: "other".into(),
        interface: "eth0".parse().unwrap(),
    };
    mkfifo(&env, Mode::S_IRWXU).unwrap();
    let mut faster = false;
    std::thread::scope(|scope| {
        let client = scope.spawn(|| run(&world, "web", &["-P", "--expose", "80"]));
        while !client.is_finished() {
            let Some(mut reader) = next_reader(&env) else {
                _ = nix::poll::poll(&mut [], 1_u8);
                continue;
            };
            // The monitor has chosen its port and is about to write that down.
            if !faster && TcpListener::bind("0.0.0.0:32768").is_err() {
                let port = Port {
                    host_port: 32768,
                    host_ip: None,
                    container_port: 1,
                    protocol: "tcp".parse().unwrap(),
                };
                other
                    .attach(&Request { ports: vec![port], ..Request::new(owner(), &netns) })
                    .unwrap();
                faster = true;
            }
            reader.write_all(&fs::read(&kept).unwrap()).unwrap();
        }
        client.join().unwrap();
    });
    fs::rename(&kept, &env).unwrap();
    assert!(faster, "the other one came in between");
    assert_eq!(world.twill(&["port", "web", "80"]).ok(), "0.0.0.0:32769");
    answers("127.0.0.1:32769", "web");
    world.twill(&["rm", "-f", "web"]).ok();
    Host { subnet_env: env, ..Host::default() }.detach(&owner()).unwrap();
    World::run(&["ip", "netns", "del", "other"]);
    assert_no_rules();
    world.assert_nothing_left();
    assert_pool_is_empty();
}

/// Whoever waits at the pipe; the one after them finds a pipe of its own.
fn next_reader(pipe: &Path) -> Option<fs::File> {
    let mut options = OpenOptions::new();
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let reader = options.write(true).custom_flags(flags).open(pipe).ok()?;
    let fresh = pipe.with_extension("next");
    mkfifo(&fresh, Mode::S_IRWXU).unwrap();
    fs::rename(&fresh, pipe).unwrap();
    Some(reader)
}
