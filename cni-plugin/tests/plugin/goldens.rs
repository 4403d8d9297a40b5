//! Results and errors, byte by byte, in every release of the specification.
//!
//! `UPDATE_GOLDENS=1` writes the files anew.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::call::{IPV4, IPV6, World, add, call, del};

#[test]
fn results() {
    let Some(world) = World::new() else { return };
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let pod = world.pod();
        let answer = add("pod-1", &pod, &world.network(version));
        golden(&format!("add-{version}.json"), &normalised(answer.result()));
        del("pod-1", &world.network(version)).is_silent_success();
        fs::remove_dir_all(world.state()).unwrap();
    }
}

#[test]
fn results_with_ipv6() {
    for (name, lines) in [("ipv6", IPV6.to_owned()), ("dual", [IPV4, IPV6].concat())] {
        for version in ["0.4.0", "1.1.0"] {
            let Some(world) = World::with_lines(&lines) else { return };
            let answer = add("pod-1", &world.pod(), &world.network(version));
            golden(&format!("add-{name}-{version}.json"), &normalised(answer.result()));
        }
    }
}

#[test]
fn a_result_after_that_of_another_plugin() {
    let Some(world) = World::new() else { return };
    let pod = world.pod();
    let mut network = world.network("1.0.0");
    network["prevResult"] = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": "net9", "sandbox": "/run/netns/x", "kept": true }],
        "ips": [{ "address": "192.0.2.9/24", "interface": 0 }],
        "dns": { "nameservers": ["192.0.2.53"] },
    });
    golden("add-chained.json", &normalised(add("pod-1", &pod, &network).result()));
}

#[test]
fn a_result_of_another_release_is_converted() {
    let Some(world) = World::new() else { return };
    for (version, theirs) in [("0.4.0", "1.1.0"), ("1.0.0", "0.4.0")] {
        let pod = world.pod();
        let mut network = world.network(version);
        let mut ip = json!({ "address": "fd00:9::9/64", "interface": 0 });
        if theirs == "0.4.0" {
            ip["version"] = json!("6");
        }
        network["prevResult"] = json!({
            "cniVersion": theirs,
            "interfaces": [{ "name": "net9", "sandbox": "/run/netns/x", "mtu": 1400, "socketPath": "/x" }],
            "ips": [ip],
            "routes": [{ "dst": "fd00:9::/48", "mtu": 1400, "table": 7 }],
            "dns": {},
        });
        network["dns"] = json!({ "Nameservers": ["10.88.2.1"], "search": ["a.example"] });
        golden(
            &format!("add-converted-{version}.json"),
            &normalised(add("pod-1", &pod, &network).result()),
        );
        del("pod-1", &network).is_silent_success();
        fs::remove_dir_all(world.state()).unwrap();
    }
}

#[test]
fn answers_that_need_no_host() {
    golden("version.json", &parse(&call(&[("CNI_COMMAND", "VERSION")], "").stdout));
    let variables = [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "a"), ("CNI_IFNAME", "eth0")];
    let answer = call(&variables, "{\"cniVersion\":\"0.2.0\",\"name\":\"pods\"}");
    golden("error-version.json", &parse(&answer.stdout));
    let network = "{\"cniVersion\":\"0.4.0\",\"name\":[]}";
    golden("error-configuration.json", &parse(&call(&variables, network).stdout));
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What differs from run to run: the path of the namespace, and the host's own hardware addresses.
fn normalised(mut result: Value) -> Value {
    for interface in result["interfaces"].as_array_mut().unwrap() {
        if interface["sandbox"].as_str().is_some_and(|path| path.starts_with("/proc/")) {
            interface["sandbox"] = json!("NETNS");
        }
        if interface["name"].as_str().unwrap().starts_with("tw") && interface["name"] != "twill0" {
            interface["mac"] = json!("RANDOM");
        }
    }
    result
}

#[track_caller]
fn golden(name: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name);
    let text = format!("{value:#}\n");
    if std::env::var_os("UPDATE_GOLDENS").is_some_and(|value| value == "1") {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap(), "{}", path.display());
}
