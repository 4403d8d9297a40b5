//! What the verbs do to the host.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use twill_core::ids::Mac;
use twill_net::blocking::Kernel;
use twill_net::netns::Netns;

use crate::call::{World, add, call, del, kill, links, with};

#[test]
fn pods_reach_the_host() {
    let Some(world) = World::new() else { return };
    let pod = world.pod();
    let result = add("one", &pod, &world.network("1.0.0")).result();
    assert_eq!(result["ips"][0]["address"], "10.88.2.2/24");
    let address = Ipv4Addr::new(10, 88, 2, 2);
    let listener = pod.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
    let to = listener.local_addr().unwrap();
    TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
    let routes = Kernel::of(&pod).unwrap().routes().unwrap();
    let ipv4 = routes.iter().filter(|route| route.destination.base().is_ipv4());
    let mut destinations: Vec<String> = ipv4.map(|route| route.destination.to_string()).collect();
    destinations.sort();
    assert_eq!(destinations, ["0.0.0.0/0", "10.88.0.0/16", "10.88.2.0/24"]);
}

#[test]
fn settings_of_the_network_are_obeyed() {
    let Some(world) = World::new() else { return };
    let pod = world.pod();
    let mut network = world.network("1.1.0");
    network["bridge"] = json!("cni0");
    network["mtu"] = json!(1300);
    network["isDefaultGateway"] = json!(false);
    network["runtimeConfig"] = json!({ "ips": ["10.88.2.99/24"], "mac": "02:00:00:00:00:07" });
    add("one", &pod, &network).result();
    assert!(links().contains(&"cni0".to_owned()));
    let mut inside = Kernel::of(&pod).unwrap();
    let eth0 = inside.link("eth0").unwrap().unwrap();
    assert_eq!((eth0.mtu, eth0.mac), (1300, Some(Mac([2, 0, 0, 0, 0, 7]))));
    assert!(inside.routes().unwrap().iter().all(|route| route.destination.len() != 0));
    let address = Ipv4Addr::new(10, 88, 2, 99);
    assert!(inside.addresses().unwrap().iter().any(|row| row.address == address));

    let other = world.pod();
    let answer = add("two", &other, &network);
    let owner = "eth0 of container one (cni:pods)";
    assert_eq!(answer.failure(), (102, format!("address 10.88.2.99 is in use by {owner}")));
    assert_eq!(world.records(), 1);
}

#[test]
fn arguments_of_the_environment_are_obeyed() {
    let Some(world) = World::new() else { return };
    let pod = world.pod();
    let variables = [
        ("CNI_NETNS", pod.path().to_str().unwrap()),
        ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=x;MAC=02:00:00:00:00:07;IP=10.88.2.50"),
    ];
    let network = world.network("0.4.0").to_string();
    let result = call(&with("ADD", "one", &variables), &network).result();
    assert_eq!(result["ips"][0]["address"], "10.88.2.50/24");
    assert_eq!(result["interfaces"][2]["mac"], "02:00:00:00:00:07");
}

#[test]
fn an_interface_that_is_there_is_an_error_and_stays() {
    let Some(world) = World::new() else { return };
    let pod = world.pod();
    add("one", &pod, &world.network("1.0.0")).result();
    let before = links();
    for container in ["one", "two"] {
        let (code, _message) = add(container, &pod, &world.network("1.0.0")).failure();
        assert_eq!(code, 103);
    }
    assert_eq!(links(), before);
    assert_eq!(world.records(), 1);
}

#[test]
fn without_a_subnet_the_runtime_is_told_to_try_again() {
    let Some(world) = World::new() else { return };
    let pod = world.pod();
    let network = world.network("1.1.0");
    let status = || call(&[("CNI_COMMAND", "STATUS")], &network.to_string());
    status().is_silent_success();
    fs::remove_file(world.subnet_env()).unwrap();
    let answer = add("one", &pod, &network);
    assert_eq!(answer.failure().0, 11);
    assert!(answer.stdout.contains("twilld.service"), "{answer:?}");
    assert_eq!(status().failure().0, 50);
    assert!(links().is_empty());
    del("one", &network).is_silent_success();
}

#[test]
fn the_host_itself_is_no_pod() {
    let Some(world) = World::new() else { return };
    let here = Netns::current().unwrap();
    assert_eq!(add("one", &here, &world.network("1.0.0")).failure().0, 8);
}

#[test]
fn del_can_be_repeated_and_needs_nothing() {
    let Some(world) = World::new() else { return };
    let network = world.network("1.0.0");
    del("never seen", &network).failure();
    del("never-seen", &network).is_silent_success();
    let pod = world.pod();
    add("one", &pod, &network).result();
    del("one", &network).is_silent_success();
    del("one", &network).is_silent_success();
    assert_eq!(links(), ["twill0"]);
    add("one", &pod, &network).result();
    drop(pod);
    let gone = with("DEL", "one", &[("CNI_NETNS", "/proc/0/ns/net"), ("CNI_ARGS", "IP")]);
    call(&gone, &network.to_string()).is_silent_success();
    assert_eq!((links(), world.records()), (vec!["twill0".to_owned()], 0));
}

#[test]
fn twenty_pods_at_once() {
    let Some(world) = World::new() else { return };
    let network = world.network("1.0.0");
    let pods: Vec<Netns> = (0..20).map(|_n| world.pod()).collect();
    let (world, network) = (&world, &network);
    let mut addresses: Vec<String> = thread::scope(|scope| {
        let join = |n: usize, pod| add(&format!("pod-{n}"), pod, network).result();
        let threads: Vec<_> = pods
            .iter()
            .enumerate()
            .map(|(n, pod)| scope.spawn(move || join(n, pod)["ips"][0]["address"].to_string()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    addresses.sort();
    addresses.dedup();
    assert_eq!((addresses.len(), world.records()), (20, 20));
    for n in 0..20 {
        del(&format!("pod-{n}"), network).is_silent_success();
    }
    assert_eq!((links(), world.records()), (vec!["twill0".to_owned()], 0));
}

#[test]
fn gc_takes_back_what_the_runtime_does_not_know() {
    let Some(world) = World::new() else { return };
    let mut network = world.network("1.1.0");
    let (one, two) = (world.pod(), world.pod());
    add("one", &one, &network).result();
    add("two", &two, &network).result();
    let gc = |network: &Value| call(&[("CNI_COMMAND", "GC")], &network.to_string());
    assert_eq!(gc(&network).failure().0, 7, "no list is not an empty list");
    network["cni.dev/valid-attachments"] = json!([{ "containerID": "one", "ifname": "eth0" }]);
    gc(&network).is_silent_success();
    assert_eq!(world.records(), 1);
    let mut other = network.clone();
    other["name"] = json!("other");
    other["cni.dev/valid-attachments"] = json!([]);
    gc(&other).is_silent_success();
    assert_eq!(world.records(), 1, "another network's pods are not ours to judge");
}

/// What was good when the pod came may be bad when it goes: the configuration was changed under it.
#[test]
fn no_setting_keeps_a_pod_from_being_removed() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.pod(), world.pod());
    let mut network = world.network("1.1.0");
    add("one", &one, &network).result();
    add("two", &two, &network).result();
    for (key, value) in [
        ("mtu", json!("wide")),
        ("vlan", json!(7)),
        ("ipam", json!({ "type": "dhcp" })),
        ("prevResult", json!([])),
        ("runtimeConfig", json!({ "ips": ["nowhere"], "ipRanges": [[{}]] })),
        ("delegate", json!(7)),
    ] {
        network[key] = value;
    }
    add("three", &world.pod(), &network).failure();
    del("one", &network).is_silent_success();
    assert_eq!(world.records(), 1);
    network["cni.dev/valid-attachments"] = json!(null);
    call(&[("CNI_COMMAND", "GC")], &network.to_string()).is_silent_success();
    assert_eq!((links(), world.records()), (vec!["twill0".to_owned()], 0));
}

/// The agent reads them there.
#[test]
fn aliases_are_kept_in_the_pods_record() {
    let Some(world) = World::new() else { return };
    let mut network = world.network("1.0.0");
    network["runtimeConfig"] = json!({ "Aliases": ["web", "front"] });
    add("one", &world.pod(), &network).result();
    let files = fs::read_dir(world.state()).unwrap().map(|file| file.unwrap().path());
    let record = files.into_iter().find(|it| it.extension().is_some()).unwrap();
    let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    assert_eq!(record["aliases"], json!(["web", "front"]));
}

#[test]
fn masquerade_is_the_agents_and_not_passed_over() {
    let Some(world) = World::new() else { return };
    let mut network = world.network("1.0.0");
    network["ipMasq"] = json!(true);
    add("one", &world.pod(), &network).result();
    let text = fs::read_to_string(world.subnet_env()).unwrap();
    fs::write(world.subnet_env(), text.replace("IPMASQ=true", "IPMASQ=false")).unwrap();
    let answer = add("two", &world.pod(), &network);
    assert_eq!(answer.failure().0, 2);
    assert!(answer.stdout.contains("--ip-masq"), "{answer:?}");
    network["ipMasq"] = json!(false);
    add("two", &world.pod(), &network).result();
}

#[test]
fn routes_of_the_configuration_are_the_pods() {
    let Some(world) = World::new() else { return };
    let pod = world.pod();
    let mut network = world.network("1.0.0");
    network["ipam"] = json!({ "type": "host-local", "routes": [
        { "dst": "192.168.0.0/16", "gw": "10.88.2.9" }, { "dst": "0.0.0.0/0" }, { "dst": "10.88.0.0/16" },
    ] });
    add("one", &pod, &network).result();
    let routes = Kernel::of(&pod).unwrap().routes().unwrap();
    let ipv4 = routes.iter().filter(|route| route.destination.base().is_ipv4());
    let mut ways: Vec<String> = ipv4.map(ToString::to_string).collect();
    ways.sort();
    let known = ["0.0.0.0/0 via 10.88.2.1", "10.88.0.0/16 via 10.88.2.1", "10.88.2.0/24"];
    assert_eq!(ways, [&known[..], &["192.168.0.0/16 via 10.88.2.9"]].concat());
}

#[test]
fn check_says_whether_a_pod_is_as_add_left_it() {
    let Some(world) = World::new() else { return };
    let pod = world.pod();
    let mut network = world.network("1.0.0");
    let check = |network: &Value| {
        let netns = pod.path().to_str().unwrap();
        call(&with("CHECK", "one", &[("CNI_NETNS", netns)]), &network.to_string())
    };
    let name = "eth0 of container one (cni:pods)";
    let unknown = format!("{name} is not joined to this host's subnet");
    assert_eq!(check(&network).failure(), (3, unknown));
    let result = add("one", &pod, &network).result();
    check(&network).is_silent_success();
    network["prevResult"] = result;
    check(&network).is_silent_success();
    assert_eq!(check(&with_version(&network, "0.3.1")).failure().0, 1);

    let mut other = network.clone();
    other["prevResult"]["ips"][0]["address"] = json!("10.88.2.77/24");
    let (code, message) = check(&other).failure();
    assert!(code == 105 && message.contains("`prevResult` does not name"), "{message}");

    // The host has another subnet: only a new pod is of use there.
    let text = fs::read_to_string(world.subnet_env()).unwrap();
    fs::write(world.subnet_env(), text.replace("10.88.2.1", "10.88.3.1")).unwrap();
    let answer = check(&network);
    let stranded = format!("{name} has 10.88.2.2, but this host's subnet is 10.88.3.0/24 now");
    assert_eq!(answer.failure(), (105, stranded));
    assert!(answer.stdout.contains("make it again"), "{answer:?}");
    del("one", &network).is_silent_success();
    assert_eq!(world.records(), 0);
    network["prevResult"] = add("one", &pod, &world.network("1.0.0")).result();
    assert_eq!(network["prevResult"]["ips"][0]["address"], "10.88.3.2/24");
    check(&network).is_silent_success();
}

/// Wherever an ADD is cut short, a DEL finds what it has left, and the next ADD goes through.
#[test]
fn an_add_that_was_killed_leaves_nothing_after_a_del() {
    let Some(world) = World::new() else { return };
    let network = world.network("1.0.0");
    let pod = world.pod();
    let started = Instant::now();
    add("whole", &pod, &network).result();
    let whole = started.elapsed();
    del("whole", &network).is_silent_success();
    let variables = with("ADD", "cut", &[("CNI_NETNS", pod.path().to_str().unwrap())]);
    let cuts = 40;
    for cut in 0..cuts {
        kill(&variables, &network.to_string(), whole * cut / cuts);
        del("cut", &network).is_silent_success();
        assert_eq!((links(), world.records()), (vec!["twill0".to_owned()], 0), "cut {cut}");
    }
    add("whole", &pod, &network).result();
}

fn with_version(network: &Value, version: &str) -> Value {
    let mut network = network.clone();
    network["cniVersion"] = json!(version);
    network
}
