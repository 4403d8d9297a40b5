//! Limits that a runtime asks for, in the kernel.

use serde_json::json;
use twill_net::netns::Netns;

use crate::call::{World, add, call, del, links, with};

fn tc(line: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "tests start programs")]
    let output = std::process::Command::new("tc").args(line.split(' ')).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn inside(pod: &Netns, line: &str) -> String {
    pod.run(|| tc(line)).unwrap()
}

#[test]
fn both_directions_are_limited() {
    let Some(world) = World::new() else { return };
    let pod = world.pod();
    let mut network = world.network("1.0.0");
    network["spoofchk"] = json!(true);
    network["runtimeConfig"] = json!({ "bandwidth": {
        "IngressRate": 8_000_000, "IngressBurst": 819_200, "EgressRate": 16_000_000, "EgressBurst": 8,
    } });
    let result = add("one", &pod, &network).result();
    let port = links().into_iter().find(|name| name != "twill0").unwrap();
    let host = tc(&format!("qdisc show dev {port} root"));
    assert!(host.contains("tbf") && host.contains("rate 8Mbit burst 100Kb"), "{host}");
    assert!(tc(&format!("qdisc show dev {port}")).contains("clsact"), "beside the other filter");
    let own = inside(&pod, "qdisc show dev eth0");
    assert!(own.contains("tbf") && own.contains("rate 16Mbit"), "{own}");
    assert!(own.contains("burst 146"), "a packet goes through: {own}");

    network["prevResult"] = result;
    let netns = [("CNI_NETNS", pod.path().to_str().unwrap())];
    let check = || call(&with("CHECK", "one", &netns), &network.to_string());
    check().is_silent_success();
    inside(&pod, "qdisc del dev eth0 root");
    let (code, message) = check().failure();
    assert!(code == 105 && message.ends_with("what it sends is not limited any more"), "{message}");
    tc(&format!("qdisc del dev {port} root"));
    let (_code, message) = check().failure();
    assert!(message.ends_with("what it gets is not limited any more"), "{message}");
    del("one", &network).is_silent_success();
    assert_eq!((links(), world.records()), (vec!["twill0".to_owned()], 0));
    // More than 32 bits of bytes.
    network["runtimeConfig"] = json!({ "bandwidth": { "egressRate": 80_000_000_000_u64 } });
    let other = world.pod();
    add("two", &other, &network).result();
    let own = inside(&other, "qdisc show dev eth0");
    assert!(own.contains("rate 80Gbit"), "{own}");
}

/// More than fits into the limit arrives all the same, and in one piece.
#[test]
fn a_pod_with_limits_is_reached() {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    let Some(world) = World::new() else { return };
    let pod = world.pod();
    let mut network = world.network("1.0.0");
    let rate = 80_000_000;
    network["runtimeConfig"] = json!({ "bandwidth": { "ingressRate": rate, "egressRate": rate } });
    add("one", &pod, &network).result();
    let address = (Ipv4Addr::new(10, 88, 2, 2), 80);
    let listener = pod.run(|| TcpListener::bind(address).unwrap()).unwrap();
    let echo = std::thread::spawn(move || {
        let (mut stream, _from) = listener.accept().unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        stream.write_all(&heard).unwrap();
    });
    let mut stream = TcpStream::connect(address).unwrap();
    let said: Vec<u8> = (0..4_000_000_u32).map(|n| n.to_ne_bytes()[0]).collect();
    stream.write_all(&said).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    assert!(heard == said, "{} of {} bytes", heard.len(), said.len());
    echo.join().unwrap();
}
