//! Pods of IPv6, alone and beside IPv4.

use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use twill_net::blocking::Kernel;
use twill_net::netns::Netns;

use crate::call::{IPV4, IPV6, World, add, call, del, links, with};

fn reach(pod: &Netns, address: &str) {
    let address: IpAddr = address.parse().unwrap();
    let listener = pod.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
    let to = listener.local_addr().unwrap();
    TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
}

#[test]
fn pods_of_both_families_come_and_go() {
    let Some(world) = World::with_lines(&[IPV4, IPV6].concat()) else { return };
    let pod = world.pod();
    let mut network = world.network("1.1.0");
    network["runtimeConfig"] = json!({ "ips": ["fd00:88:0:2::99/64"] });
    let result = add("one", &pod, &network).result();
    let told: Vec<&str> = result["ips"].as_array().unwrap().iter().map(address).collect();
    assert_eq!(told, ["10.88.2.2/24", "fd00:88:0:2::99/64"]);
    for address in ["10.88.2.2", "fd00:88:0:2::99"] {
        reach(&pod, address);
    }
    let routes = Kernel::of(&pod).unwrap().routes().unwrap();
    let mut ways: Vec<String> = routes.iter().map(|route| route.destination.to_string()).collect();
    ways.retain(|way| way != "fe80::/64");
    ways.sort();
    let known = ["10.88.0.0/16", "10.88.2.0/24", "::/0", "fd00:88:0:2::/64", "fd00:88::/48"];
    assert_eq!(ways, [&["0.0.0.0/0"], &known[..]].concat());
    del("one", &network).is_silent_success();
    assert_eq!((links(), world.records()), (vec!["twill0".to_owned()], 0));
}

fn address(row: &Value) -> &str {
    row["address"].as_str().unwrap()
}

#[test]
fn a_check_knows_both() {
    let Some(world) = World::with_lines(&[IPV4, IPV6].concat()) else { return };
    let pod = world.pod();
    let mut network = world.network("1.0.0");
    let check = |network: &Value| {
        let netns = pod.path().to_str().unwrap();
        call(&with("CHECK", "one", &[("CNI_NETNS", netns)]), &network.to_string())
    };
    network["prevResult"] = add("one", &pod, &network).result();
    check(&network).is_silent_success();
    // The same address in other words.
    network["prevResult"]["ips"][1]["address"] = json!("fd00:88:0:2:0::2/64");
    check(&network).is_silent_success();
    network["prevResult"]["ips"].as_array_mut().unwrap().pop();
    let (code, message) = check(&network).failure();
    let words = "has fd00:88:0:2::2, which `prevResult` does not name";
    assert_eq!((code, message), (105, format!("eth0 of container one (cni:pods) {words}")));
    world.lease(IPV4);
    let (code, message) = check(&network).failure();
    assert!(code == 105 && message.contains("has fd00:88:0:2::2, but"), "{message}");
}

#[test]
fn status_and_wishes_on_a_host_of_ipv6_alone() {
    let Some(world) = World::with_lines(IPV6) else { return };
    let pod = world.pod();
    let mut network = world.network("1.1.0");
    call(&[("CNI_COMMAND", "STATUS")], &network.to_string()).is_silent_success();
    network["runtimeConfig"] = json!({ "ips": ["10.88.2.7"] });
    let words = "address 10.88.2.7 is of IPv4, which this host's network has not";
    assert_eq!(add("one", &pod, &network).failure(), (7, words.to_owned()));
    network["runtimeConfig"] = json!({ "ips": ["fd00:88:0:2::7"] });
    let result = add("one", &pod, &network).result();
    assert_eq!(address(&result["ips"][0]), "fd00:88:0:2::7/64");
    reach(&pod, "fd00:88:0:2::7");
    network["cni.dev/valid-attachments"] = json!([]);
    call(&[("CNI_COMMAND", "GC")], &network.to_string()).is_silent_success();
    assert_eq!((links(), world.records()), (vec!["twill0".to_owned()], 0));
}
