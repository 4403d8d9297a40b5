//! STATUS says whether the next ADD would go through, and be of use.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::thread;

use serde_json::json;
use twill_net::netns::Netns;

use crate::call::{Answer, World, add, call, del};

fn status(world: &World) -> Answer {
    call(&[("CNI_COMMAND", "STATUS")], &world.network("1.1.0").to_string())
}

#[test]
fn a_full_pool_is_told_and_an_add_confirms_it() {
    let Some(world) =
        World::with_lines("FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET=10.88.2.1/29\n")
    else {
        return;
    };
    let network = world.network("1.1.0");
    let pods: Vec<Netns> = (0..5).map(|_n| world.pod()).collect();
    for (n, pod) in pods.iter().enumerate() {
        status(&world).is_silent_success();
        add(&format!("pod-{n}"), pod, &network).result();
    }
    let words = "all 5 addresses of this host's subnet 10.88.2.0/29 are in use";
    let answer = status(&world);
    assert_eq!(answer.failure(), (50, words.to_owned()));
    assert!(answer.stdout.contains("remove containers"), "{answer:?}");
    assert_eq!(add("late", &world.pod(), &network).failure(), (101, words.to_owned()));
    del("pod-3", &network).is_silent_success();
    status(&world).is_silent_success();
}

/// An ADD would take back what the dead hold.
#[test]
fn a_pool_that_is_full_of_the_dead_is_not_full() {
    let Some(world) =
        World::with_lines("FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET=10.88.2.1/30\n")
    else {
        return;
    };
    let pod = world.pod();
    add("one", &pod, &world.network("1.1.0")).result();
    assert_eq!(status(&world).failure().0, 50);
    drop(pod);
    while crate::call::links().len() > 1 {
        thread::yield_now();
    }
    status(&world).is_silent_success();
    assert_eq!(world.records(), 1, "it is not for STATUS to take back");
    add("two", &world.pod(), &world.network("1.1.0")).result();
}

#[test]
fn what_stands_in_an_adds_way_is_told() {
    let Some(world) = World::new() else { return };
    fs::write(world.state(), "a file in the directory's place").unwrap();
    assert_eq!(status(&world).failure().0, 50);
    fs::remove_file(world.state()).unwrap();
    fs::write(world.subnet_env(), "FLANNEL_NETWORK\n").unwrap();
    let answer = status(&world);
    assert_eq!(answer.failure().0, 50);
    assert!(answer.stdout.contains("line 1 has no `=`"), "{answer:?}");
    fs::remove_file(world.subnet_env()).unwrap();
    assert_eq!(status(&world).failure().0, 50);
    let mut network = world.network("1.1.0");
    network["vlan"] = json!(7);
    assert_eq!(call(&[("CNI_COMMAND", "STATUS")], &network.to_string()).failure().0, 2);
}

/// What only the host's subnet shows to be impossible.
#[test]
fn what_this_subnet_cannot_do_is_told() {
    let lines = "FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET=10.88.2.1/24\n\
        FLANNEL_IPV6_NETWORK=fd00:88::/48\nFLANNEL_IPV6_SUBNET=fd00:88:0:2::1/64\n";
    let Some(world) = World::new() else { return };
    let text = format!("{lines}FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n");
    fs::write(world.subnet_env(), text).unwrap();
    status(&world).is_silent_success();
    let rows = [
        ("ipMasq", json!(true), 2, "`ipMasq` is true"),
        ("mtu", json!(1200), 50, "an MTU of 1200 is too small"),
    ];
    for (key, value, code, words) in rows {
        let mut network = world.network("1.1.0");
        network[key] = value;
        let answer = call(&[("CNI_COMMAND", "STATUS")], &network.to_string());
        assert_eq!(answer.failure().0, code, "{key}: {answer:?}");
        assert!(answer.stdout.contains(words), "{answer:?}");
    }
}

#[test]
fn a_bridge_that_is_none_is_told() {
    let Some(world) = World::new() else { return };
    let mut network = world.network("1.1.0");
    network["bridge"] = json!("lo");
    let answer = call(&[("CNI_COMMAND", "STATUS")], &network.to_string());
    assert_eq!(answer.failure(), (50, "interface lo is not a bridge".to_owned()));
}

#[test]
fn the_agent_is_asked() {
    let Some(world) = World::new() else { return };
    status(&world).is_silent_success();
    let listener = UnixListener::bind(world.agent_socket()).unwrap();
    let serve = |answer: &'static str| {
        let listener = listener.try_clone().unwrap();
        thread::spawn(move || {
            let (mut stream, _from) = listener.accept().unwrap();
            let mut asked = String::new();
            BufReader::new(&stream).read_line(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            asked
        })
    };
    let agent = serve("HTTP/1.0 200 OK\r\n\r\nflanneld is ready");
    status(&world).is_silent_success();
    assert_eq!(agent.join().unwrap(), "GET /readyz HTTP/1.0\r\n");
    let agent = serve(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 1\r\n\r\nflanneld is not ready yet\nthe lease ran out\n",
    );
    let answer = status(&world);
    agent.join().unwrap();
    let words = "the agent of this host is not ready: the lease ran out";
    assert_eq!(answer.failure(), (51, words.to_owned()));
    assert!(answer.stdout.contains("twillctl status"), "{answer:?}");
    // Killed: what it has made stands, and so would a new pod.
    drop(listener);
    status(&world).is_silent_success();
    add("one", &world.pod(), &world.network("1.1.0")).result();
}
