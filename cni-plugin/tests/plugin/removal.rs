//! A DEL succeeds and leaves nothing, whatever has become of the pod, the host and the records.

use std::fs;
use std::thread;

use serde_json::json;

use crate::call::{World, add, call, del, links, with};

#[test]
fn a_del_after_everything_that_can_happen() {
    let Some(world) = World::new() else { return };
    let network = world.network("1.1.0");
    let clean = |name: &str| {
        del("one", &network).is_silent_success();
        assert_eq!((links(), world.records()), (vec!["twill0".to_owned()], 0), "{name}");
        del("one", &network).is_silent_success();
    };
    let pod = world.pod();
    add("one", &pod, &network).result();
    drop(pod);
    clean("the namespace is gone");

    let pod = world.pod();
    add("one", &pod, &network).result();
    world.lease("FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET=10.88.9.1/24\n");
    clean("the host has another subnet");

    add("one", &pod, &network).result();
    world.lease("FLANNEL_NETWORK=10.99.0.0/16\nFLANNEL_SUBNET=10.99.2.1/24\n");
    clean("the network is another one");

    add("one", &pod, &network).result();
    fs::remove_file(world.subnet_env()).unwrap();
    clean("the host has no subnet");

    world.lease(crate::call::IPV4);
    add("one", &pod, &network).result();
    fs::remove_dir_all(world.state()).unwrap();
    clean("the state directory was lost");

    add("one", &pod, &network).result();
    let files = fs::read_dir(world.state()).unwrap().map(|file| file.unwrap().path());
    for record in files.filter(|file| file.extension().is_some_and(|end| end == "json")) {
        fs::write(record, "{\"keeper\": \"cni").unwrap();
    }
    clean("the record is torn");
}

/// A runtime that lost patience calls DEL while its ADD is still at work.
#[test]
fn a_del_beside_an_add_of_the_same_id() {
    let Some(world) = World::new() else { return };
    let (pod, network) = (world.pod(), world.network("1.1.0"));
    let (pod, network) = (&pod, &network);
    for round in 0..25 {
        thread::scope(|scope| {
            scope.spawn(|| drop(add("one", pod, network)));
            scope.spawn(|| del("one", network).is_silent_success());
            scope.spawn(|| drop(add("one", pod, network)));
        });
        // Whoever came last: a pair has a record, and a record a pair.
        assert_eq!(links().len() - 1, world.records(), "round {round}");
        del("one", network).is_silent_success();
        assert_eq!((links(), world.records()), (vec!["twill0".to_owned()], 0), "round {round}");
    }
}

#[test]
fn an_address_that_was_just_freed_is_not_the_next() {
    let Some(world) =
        World::with_lines("FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET=10.88.2.1/29\n")
    else {
        return;
    };
    let network = world.network("1.0.0");
    let join = |name: &str| {
        let pod = world.pod();
        let result = add(name, &pod, &network).result();
        (pod, result["ips"][0]["address"].as_str().unwrap().to_owned())
    };
    let pods: Vec<_> = ["a", "b", "c", "d"].into_iter().map(join).collect();
    assert_eq!(pods.last().unwrap().1, "10.88.2.5/29");
    for name in ["b", "a"] {
        del(name, &network).is_silent_success();
    }
    // Of those that are free, the one that nobody had lately, and then the one that has rested longest.
    let (_pod, first) = join("e");
    let (_pod, second) = join("f");
    let (_pod, third) = join("g");
    assert_eq!([first, second, third], ["10.88.2.6/29", "10.88.2.3/29", "10.88.2.2/29"]);
}

#[test]
fn gc_goes_on_after_what_it_cannot_do_and_tells_all_of_it() {
    let Some(world) = World::new() else { return };
    let mut network = world.network("1.1.0");
    let pods: Vec<_> = (0..4).map(|_n| world.pod()).collect();
    for (n, pod) in pods.iter().enumerate() {
        add(&format!("pod-{n}"), pod, &network).result();
    }
    let torn: Vec<_> = ["10.88.2.2,", "10.88.2.3,"]
        .into_iter()
        .map(|start| {
            let files = fs::read_dir(world.state()).unwrap().map(|file| file.unwrap().path());
            let is_it = |file: &std::path::PathBuf| {
                file.file_name().and_then(|it| it.to_str()).is_some_and(|it| it.starts_with(start))
            };
            let file = files.into_iter().find(is_it).unwrap();
            fs::write(&file, "torn").unwrap();
            file
        })
        .collect();
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        network[key] = json!([{ "containerID": "pod-3", "ifname": "eth0" }]);
    }
    let (code, message) = call(&[("CNI_COMMAND", "GC")], &network.to_string()).failure();
    assert_eq!(code, 6);
    for file in &torn {
        assert!(message.contains(file.to_str().unwrap()), "{message}");
    }
    assert_eq!(world.records(), 3, "what could be done was done");
    let pod = pods[3].path().to_str().unwrap();
    call(&with("CHECK", "pod-3", &[("CNI_NETNS", pod)]), &network.to_string()).is_silent_success();
}

/// Power was lost in the middle of an ADD: records of a boot that ended, whole and torn.
#[test]
fn gc_is_enough_after_another_boot() {
    let Some(world) = World::new() else { return };
    let mut network = world.network("1.1.0");
    let pod = world.pod();
    add("one", &pod, &network).result();
    let file = |name: &str| world.state().join(name);
    let boot = fs::read_to_string(file("boot")).unwrap();
    let earlier = "00000000-0000-4000-8000-000000000000";
    for entry in fs::read_dir(world.state()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        if text.contains(&boot) {
            fs::write(&path, text.replace(&boot, earlier)).unwrap();
        }
    }
    fs::write(file("10.88.2.3,tw0000000000.json"), "").unwrap();
    let other = json!([]);
    network["name"] = json!("another");
    network["cni.dev/valid-attachments"] = other;
    call(&[("CNI_COMMAND", "GC")], &network.to_string()).is_silent_success();
    assert_eq!(world.records(), 0);
}
