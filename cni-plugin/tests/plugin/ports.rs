//! Ports that a runtime has published, natively and by the plugin after ours.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use twill_core::ids::Mtu;
use twill_net::blocking::{Address, Kernel, VethEnd, VethPair};
use twill_net::netns::Netns;

use crate::call::{IPV4, IPV6, World, add, call, call_of, del, links, with};
use crate::table::plugins;

/// Whatever is dropped takes as long as this to be missed.
const LIMIT: Duration = Duration::from_secs(2);
/// The host's own addresses on a link to somebody outside.
const HOST: &str = "192.0.2.1";
const HOST6: &str = "fd00:99::1";

/// A neighbour of the host that has no route to pods.
fn outsider(world: &World) -> Netns {
    let netns = world.pod();
    let mut host = Kernel::here().unwrap();
    let end = |name| VethEnd { name, mtu: Mtu::new(1450).unwrap(), mac: None };
    host.add_veth(&VethPair { host: end("out0"), peer: end("in0"), bridge: None }, &netns).unwrap();
    let configure = |kernel: &mut Kernel, name: &str, last: u8| {
        let link = kernel.link(name).unwrap().unwrap().index;
        let rows = [(format!("192.0.2.{last}"), 24), (format!("fd00:99::{last}"), 64)];
        let rows = rows.map(|(address, prefix_length)| Address {
            link,
            address: address.parse().unwrap(),
            prefix_length,
        });
        kernel.configure(link, &rows, &[]).unwrap();
    };
    configure(&mut host, "out0", 1);
    configure(&mut Kernel::of(&netns).unwrap(), "in0", 2);
    netns
}

/// Says its name to whoever connects, and sends it back to whoever sends.
fn serve(pod: &Netns, name: &'static str) {
    pod.run(|| {
        let any: SocketAddr = (IpAddr::from([0_u16; 8]), 80).into();
        let (listener, socket) = (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                drop(stream.unwrap().write_all(name.as_bytes()));
            }
        });
        thread::spawn(move || {
            while let Ok((_length, from)) = socket.recv_from(&mut [0; 64]) {
                drop(socket.send_to(name.as_bytes(), from));
            }
        });
    })
    .unwrap();
}

fn ask(host: &str, port: u16) -> Option<String> {
    let to = (host.parse::<IpAddr>().unwrap(), port).into();
    let mut stream = TcpStream::connect_timeout(&to, LIMIT).ok()?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said)
}

fn ask_by_datagram(host: &str, port: u16) -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.send_to(b"?", (host, port)).unwrap();
    let mut said = [0; 64];
    let (length, _from) = socket.recv_from(&mut said).ok()?;
    Some(String::from_utf8_lossy(&said[..length]).into_owned())
}

fn rules() -> String {
    #[expect(clippy::disallowed_methods, reason = "tests start programs")]
    let output = std::process::Command::new("sh")
        .args(["-c", "nft list ruleset; iptables-legacy-save; ip6tables-legacy-save"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn publishing(world: &World, ports: &Value) -> Value {
    let mut network = world.network("1.0.0");
    network["runtimeConfig"] = json!({ "portMappings": ports });
    network
}

/// In the words of containerd, which is written in Go, and with what it sends for nothing.
#[test]
fn a_published_port_is_reached_from_everywhere() {
    let Some(world) = World::with_lines(&[IPV4, IPV6].concat()) else { return };
    let (web, other, outsider) = (world.pod(), world.pod(), outsider(&world));
    let network = publishing(
        &world,
        &json!([
            { "HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": "" },
            { "HostPort": 8080, "ContainerPort": 80, "Protocol": "UDP", "HostIP": null },
            { "HostPort": 0, "ContainerPort": 443, "Protocol": "tcp" },
            { "hostPort": 8081, "containerPort": 80, "hostIP": HOST },
            { "hostPort": 8082, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1" },
            { "hostPort": 8083, "containerPort": 80, "protocol": "tcp", "hostIP": HOST6 },
            { "hostPort": 8084, "containerPort": 80, "protocol": "sctp" },
        ]),
    );
    add("web", &web, &network).result();
    add("other", &other, &world.network("1.0.0")).result();
    serve(&web, "web");
    let web_says = Some("web".to_owned());
    for (from, name) in [(&outsider, "outside"), (&other, "a neighbour"), (&web, "itself")] {
        let reached = |host: &str, port| from.run(|| ask(host, port)).unwrap();
        assert_eq!(reached(HOST, 8080), web_says, "{name}");
        assert_eq!(reached(HOST6, 8080), web_says, "{name}");
        assert_eq!(reached(HOST, 8081), web_says, "{name}");
        assert_eq!(reached(HOST6, 8083), web_says, "{name}");
        assert_eq!(reached(HOST, 8082), None, "{name}: for the host alone");
        assert_eq!(from.run(|| ask_by_datagram(HOST, 8080)).unwrap(), web_says, "{name}");
    }
    for host in ["127.0.0.1", HOST, HOST6] {
        assert_eq!(ask(host, 8080), web_says, "the host itself, at {host}");
    }
    assert_eq!(ask_by_datagram("127.0.0.1", 8080), web_says);
    assert_eq!((ask("127.0.0.1", 8082), ask("127.0.0.1", 8081)), (web_says, None));
    assert!(rules().contains("8084"), "{}", rules());
    // The namespace is gone first, as with a pod whose sandbox was killed.
    drop(web);
    del("web", &world.network("1.0.0")).is_silent_success();
    assert!(!rules().contains("808"), "{}", rules());
    assert_eq!(ask(HOST, 8080), None);
    del("other", &network).is_silent_success();
    assert_eq!(world.records(), 0);
}

#[test]
fn a_port_that_is_taken_is_refused_with_the_owners_name() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.pod(), world.pod());
    let port =
        |number: u16, ip: &str| json!([{ "hostPort": number, "containerPort": 80, "hostIP": ip }]);
    add("one", &one, &publishing(&world, &port(8080, ""))).result();
    let answer = add("two", &two, &publishing(&world, &port(8080, "127.0.0.1")));
    let words = "Bind for 127.0.0.1:8080 failed: port is already allocated: eth0 of container one (cni:pods) has it";
    assert_eq!(answer.failure(), (102, words.to_owned()));
    assert!(answer.stdout.contains("\"details\""), "{answer:?}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port();
    let (code, message) = add("two", &two, &publishing(&world, &port(taken, ""))).failure();
    let process = format!("process {} (", std::process::id());
    assert!(code == 102 && message.contains(&process), "{message}");
    drop(listener);
    for (ip, words) in [
        (
            "::1",
            "a port cannot be published at ::1, which Linux leads to no container: use 127.0.0.1",
        ),
        ("fd00::1", "a port cannot be published at fd00::1: the network has no IPv6"),
        (
            "203.0.113.9",
            "a port cannot be published at 203.0.113.9:8081: Cannot assign requested address (os error 99)",
        ),
    ] {
        let answer = add("two", &two, &publishing(&world, &port(8081, ip)));
        assert_eq!(answer.failure(), (7, words.to_owned()));
    }
    // What was refused left nothing, and whoever has the port may be made anew.
    assert_eq!((links().len(), world.records()), (2, 1));
    add("two", &two, &publishing(&world, &port(taken, ""))).result();
    let again = world.pod();
    drop(one);
    add("one", &again, &publishing(&world, &port(8080, ""))).result();
}

/// Podman's conmon keeps the ports of its container busy, and is there when the network is reloaded.
#[test]
fn a_port_that_is_held_for_the_very_pod_is_free_for_it() {
    let Some(world) = World::new() else { return };
    let pod = world.pod();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let network =
        publishing(&world, &json!([{ "hostPort": port, "containerPort": 80, "protocol": "tcp" }]));
    #[expect(clippy::disallowed_methods, reason = "tests start programs")]
    let mut holder = std::process::Command::new("sh")
        .args(["-c", "read line", "web"])
        .stdin(Stdio::piped())
        .stderr(OwnedFd::from(listener))
        .spawn()
        .unwrap();
    let (code, message) = add("other", &pod, &network).failure();
    assert!(code == 102 && message.contains(&format!("process {} (sh)", holder.id())), "{message}");
    add("web", &pod, &network).result();
    serve(&pod, "web");
    assert_eq!(ask("127.0.0.1", port), Some("web".to_owned()), "rules come before the holder");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    del("web", &network).is_silent_success();
}

#[test]
fn ports_that_make_no_sense_are_refused() {
    let Some(world) = World::new() else { return };
    let pod = world.pod();
    for (row, words) in [
        (
            json!({ "hostPort": 80 }),
            "`runtimeConfig.portMappings[0].containerPort` of the network configuration is not a port",
        ),
        (
            json!({ "hostPort": 70000, "containerPort": 80 }),
            "`runtimeConfig.portMappings[0].hostPort` of the network configuration is not a port",
        ),
        (
            json!({ "hostPort": 80, "containerPort": 80, "protocol": "icmp" }),
            "`icmp` is neither tcp nor udp nor sctp",
        ),
        (
            json!({ "hostPort": 80, "containerPort": 80, "hostIP": "here" }),
            "`runtimeConfig.portMappings[0].hostIP` of the network configuration is not an address",
        ),
    ] {
        let (code, message) = add("one", &pod, &publishing(&world, &json!([row]))).failure();
        assert!(code == 7 && message.ends_with(words), "{message}");
    }
    let twice = json!([
        { "hostPort": 80, "containerPort": 80 }, { "hostPort": 80, "containerPort": 81, "hostIP": "127.0.0.1" },
    ]);
    let (code, message) = add("one", &pod, &publishing(&world, &twice)).failure();
    assert!(code == 7 && message.contains("port 80/tcp of the host"), "{message}");
    let same =
        json!([{ "hostPort": 80, "containerPort": 80 }, { "hostPort": 80, "containerPort": 80 }]);
    add("one", &pod, &publishing(&world, &same)).result();
}

/// Podman leaves the declaration in what it sends: what is declared of another plugin is that one's.
#[test]
fn what_is_not_declared_of_us_is_the_chained_plugins() {
    let Some(world) = World::new() else { return };
    let Some(directory) = plugins() else { return };
    let (web, outsider) = (world.pod(), outsider(&world));
    let ports = json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }]);
    let mut network = publishing(&world, &ports);
    network["capabilities"] = json!({ "aliases": true, "portMappings": false });
    let result = add("web", &web, &network).result();
    serve(&web, "web");
    assert_eq!(outsider.run(|| ask(HOST, 8080)).unwrap(), None, "nobody has published it yet");
    let chained = json!({
        "cniVersion": "1.0.0", "name": "pods", "type": "portmap", "capabilities": { "portMappings": true },
        "runtimeConfig": { "portMappings": ports }, "prevResult": result,
    });
    let netns = web.path().to_str().unwrap();
    let portmap = |verb| {
        let paths = [
            ("CNI_NETNS", netns),
            ("CNI_PATH", directory.to_str().unwrap()),
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ];
        call_of(&directory.join("portmap"), &with(verb, "web", &paths), &chained.to_string())
    };
    assert_eq!(portmap("ADD").result()["ips"], chained["prevResult"]["ips"]);
    assert_eq!(outsider.run(|| ask(HOST, 8080)).unwrap(), Some("web".to_owned()));
    network["prevResult"] = chained["prevResult"].clone();
    call(&with("CHECK", "web", &[("CNI_NETNS", netns)]), &network.to_string()).is_silent_success();
    portmap("DEL").is_silent_success();
    assert_eq!(outsider.run(|| ask(HOST, 8080)).unwrap(), None);
    del("web", &network).is_silent_success();
    assert_eq!((world.records(), links().len()), (0, 2), "the bridge and the outsider's link");
}
