//! Ports of a host that is in several networks: each has a pool, and all of them one set of rules.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use twill_core::firewall::ports::Protocol;
use twill_endpoint::{Error, Host, Keeper, Kept, Owner, Port, Request, StaticRoute};
use twill_net::blocking::Kernel;
use twill_net::netns::Netns;

use crate::world::World;

/// A pod of a network.
fn pod<'a>(network: &str, container: &str, netns: &'a Netns) -> Request<'a> {
    let interface = if network == "blue" { "eth0" } else { "eth1" };
    let owner = Owner {
        keeper: Keeper::Cni(network.to_owned()),
        container: container.to_owned(),
        interface: interface.parse().unwrap(),
    };
    let bridge = format!("tw-{network}").parse().unwrap();
    Request { bridge, default_route: false, ..Request::new(owner, netns) }
}

fn publishing(request: Request<'_>, host_port: u16) -> Request<'_> {
    let port = Port { container_port: 80, protocol: Protocol::Tcp, host_ip: None, host_port };
    Request { ports: vec![port], ..request }
}

/// The pool of another network beside the world's own.
fn beside(world: &World) -> Host {
    let subnet_env = world.host.subnet_env.with_file_name("green.env");
    let text = "FLANNEL_NETWORK=10.89.0.0/16\nFLANNEL_SUBNET=10.89.2.1/24\nFLANNEL_MTU=1450\n\
                FLANNEL_IPMASQ=true\n";
    fs::write(&subnet_env, text).unwrap();
    Host { subnet_env, state: world.host.state.with_file_name("endpoint-green") }
}

fn rules() -> String {
    #[expect(clippy::disallowed_methods, reason = "tests start programs")]
    let output = std::process::Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Refused is an answer: somebody is there who has nothing on that port.
fn is_led(port: u16) -> bool {
    let to: SocketAddr = (IpAddr::from([127, 0, 0, 1]), port).into();
    match TcpStream::connect_timeout(&to, Duration::from_secs(2)) {
        Ok(_stream) => true,
        Err(error) => error.kind() != std::io::ErrorKind::ConnectionRefused,
    }
}

#[test]
fn pools_publish_side_by_side() {
    let Some(world) = World::new("10.88.2.1/24") else { return };
    let (blue, green) = (&world.host, beside(&world));
    let (one, two, three) = (world.container(), world.container(), world.container());
    blue.attach(&publishing(pod("blue", "one", &one), 8080)).unwrap();
    green.attach(&publishing(pod("green", "two", &two), 8081)).unwrap();
    let both = rules();
    assert!(both.contains("dport 8080") && both.contains("dport 8081"), "{both}");
    for host in [blue, &green] {
        assert_eq!(host.keep_ports(None).unwrap(), Kept::Right);
        assert_eq!(host.published().unwrap().len(), 2);
        let taken = host.attach(&publishing(pod("blue", "three", &three), 8081)).unwrap_err();
        assert!(matches!(&taken, Error::PortTaken { owner, .. } if owner.container == "two"));
    }
    let gone = |owner: &Owner| owner.container != "one";
    blue.reclaim(&Keeper::Cni("blue".to_owned()), gone).unwrap();
    let left = rules();
    assert!(!left.contains("dport 8080") && left.contains("dport 8081"), "{left}");
    green.detach(&pod("green", "two", &two).owner).unwrap();
    assert!(!rules().contains("twill-ports"), "{}", rules());
}

#[test]
fn a_container_in_two_networks_has_its_port_once_and_keeps_it_when_it_leaves_one() {
    let Some(world) = World::new("10.88.2.1/24") else { return };
    let (blue, green) = (&world.host, beside(&world));
    let web = world.container();
    blue.attach(&publishing(pod("blue", "web", &web), 8080)).unwrap();
    let second = publishing(pod("green", "web", &web), 8080);
    drop(green.hold_ports(&second.owner, &second.ports).unwrap());
    green.attach(&second).unwrap();
    assert_eq!(rules().matches("dport 8080").count(), 2, "arriving and leaving: {}", rules());
    for (host, request) in [(blue, pod("blue", "web", &web)), (&green, pod("green", "web", &web))] {
        host.check(&request.owner, &web).unwrap();
    }
    blue.detach(&pod("blue", "web", &web).owner).unwrap();
    assert!(rules().contains("to 10.89.2."), "{}", rules());
    green.detach(&pod("green", "web", &web).owner).unwrap();
    assert!(!rules().contains("dport 8080"), "{}", rules());
}

#[test]
fn a_lost_state_directory_leaves_no_rules_behind() {
    let Some(world) = World::new("10.88.2.1/24") else { return };
    let netns = world.container();
    let keeper = Keeper::Cni("blue".to_owned());
    for notes in [false, true] {
        world.host.attach(&publishing(pod("blue", "web", &netns), 8080)).unwrap();
        assert!(rules().contains("dport 8080"));
        fs::remove_dir_all(&world.host.state).unwrap();
        if notes {
            fs::remove_dir_all(world.host.state.with_file_name("ports")).unwrap();
        }
        world.host.reclaim(&keeper, |_owner| true).unwrap();
        assert!(!rules().contains("twill-ports"), "notes lost: {notes}: {}", rules());
        world.host.detach(&pod("blue", "web", &netns).owner).unwrap();
    }
}

/// Each waits for the other's turn, and neither for a lock that is kept meanwhile.
#[test]
fn a_removal_and_a_collection_of_the_same_pod_both_end() {
    let Some(world) = World::new("10.88.2.1/24") else { return };
    let netns = [world.container(), world.container()];
    let host = &world.host;
    for _round in 0..20 {
        let pods = [("one", 8080), ("two", 8081)].into_iter().zip(&netns);
        let pods: Vec<_> =
            pods.map(|((name, port), netns)| publishing(pod("blue", name, netns), port)).collect();
        for pod in &pods {
            host.attach(pod).unwrap();
        }
        std::thread::scope(|scope| {
            let removals = pods.iter().map(|pod| scope.spawn(|| host.detach(&pod.owner)));
            let removals: Vec<_> = removals.collect();
            host.reclaim(&Keeper::Cni("blue".to_owned()), |_owner| false).unwrap();
            for removal in removals {
                removal.join().unwrap().unwrap();
            }
        });
        assert!(!rules().contains("twill-ports"), "{}", rules());
    }
}

/// Without it nobody knows what is published, so the rules that stand are left alone.
#[test]
fn an_unreadable_record_of_another_network_closes_no_port() {
    let Some(world) = World::new("10.88.2.1/24") else { return };
    let (blue, green) = (&world.host, beside(&world));
    let (one, two) = (world.container(), world.container());
    green.attach(&publishing(pod("green", "two", &two), 8081)).unwrap();
    let entries = fs::read_dir(&green.state).unwrap().map(|entry| entry.unwrap().path());
    let record = entries.into_iter().find(|path| path.extension().is_some()).unwrap();
    let text = fs::read(&record).unwrap();
    fs::write(&record, "torn").unwrap();
    let error = blue.attach(&publishing(pod("blue", "one", &one), 8080)).unwrap_err();
    assert!(error.to_string().contains(record.to_str().unwrap()), "{error}");
    blue.keep_ports(None).unwrap_err();
    assert!(rules().contains("dport 8081"), "{}", rules());
    fs::write(&record, &text).unwrap();
    blue.attach(&publishing(pod("blue", "one", &one), 8080)).unwrap();
    fs::write(&record, "torn").unwrap();
    blue.detach(&pod("blue", "one", &one).owner).unwrap();
    assert!(!rules().contains("dport 8080") && rules().contains("dport 8081"), "{}", rules());
    // Of an earlier boot it is nobody's.
    let boot = fs::read(green.state.join("boot")).unwrap();
    fs::write(green.state.join("boot"), "another").unwrap();
    blue.attach(&publishing(pod("blue", "one", &one), 8080)).unwrap();
    fs::write(green.state.join("boot"), boot).unwrap();
    fs::write(&record, text).unwrap();
    blue.keep_ports(None).unwrap();
    assert!(rules().contains("dport 8081") && rules().contains("dport 8080"), "{}", rules());
}

/// Who has lost notes and records still finds what the usual bridge was switched to.
#[test]
fn lost_notes_leave_no_way_to_the_loopback_addresses() {
    let Some(world) = World::new("10.88.2.1/24") else { return };
    let netns = world.container();
    let owner = pod("blue", "web", &netns).owner;
    let usual = Request { default_route: false, ..Request::new(owner, &netns) };
    world.host.attach(&publishing(usual, 8080)).unwrap();
    let switch = "/proc/sys/net/ipv4/conf/twill0/route_localnet";
    assert_eq!(fs::read_to_string(switch).unwrap(), "1\n");
    fs::remove_dir_all(&world.host.state).unwrap();
    fs::remove_dir_all(world.host.state.with_file_name("ports")).unwrap();
    world.host.reclaim(&Keeper::Cni("blue".to_owned()), |_owner| true).unwrap();
    assert_eq!(fs::read_to_string(switch).unwrap(), "0\n");
}

#[test]
fn what_is_gone_of_a_container_is_noticed() {
    let Some(world) = World::new("10.88.2.1/24") else { return };
    let netns = world.container();
    let joined = world.host.attach(&publishing(pod("blue", "web", &netns), 8080)).unwrap();
    assert!(!is_led(8081));
    let owner = pod("blue", "web", &netns).owner;
    let record = world.host.check(&owner, &netns).unwrap();
    let gateway = joined.places[0].gateway();
    let way = StaticRoute { destination: "10.88.0.0/16".parse().unwrap(), gateway: Some(gateway) };
    let error = world.host.check_routes(&record, &netns, &[way]).unwrap_err();
    assert!(error.to_string().contains("a route that it was given is gone"), "{error}");
    let mut inside = Kernel::of(&netns).unwrap();
    let (destination, gateway) = (way.destination, way.gateway);
    let route = twill_net::blocking::Route { destination, gateway, link: None, protocol: 3 };
    inside.put_route(route).unwrap();
    world.host.check_routes(&record, &netns, &[way]).unwrap();
    #[expect(clippy::disallowed_methods, reason = "tests start programs")]
    let flushed = std::process::Command::new("nft").args(["flush", "ruleset"]).status().unwrap();
    assert!(flushed.success());
    let error = world.host.check(&owner, &netns).unwrap_err();
    assert!(error.to_string().contains("rules for its published ports"), "{error}");
    world.host.keep_ports(None).unwrap();
    world.host.check(&owner, &netns).unwrap();
}
