//! Lists of plugins in which ours is one: Debian's before it and after it, called as a runtime calls them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use twill_net::netns::Netns;

use crate::call::{Answer, OURS, World, call_of, links, with};
use crate::table::plugins;

/// A list, in order.
struct List<'a> {
    plugins: Vec<Value>,
    directory: PathBuf,
    pod: &'a Netns,
}

impl List<'_> {
    fn one(&self, verb: &str, plugin: &Value, previous: Option<&Value>) -> Answer {
        let mut config = plugin.clone();
        config["cniVersion"] = json!("1.0.0");
        config["name"] = json!("pods");
        if let Some(previous) = previous {
            config["prevResult"] = previous.clone();
        }
        let paths = [
            ("CNI_NETNS", self.pod.path().to_str().unwrap()),
            ("CNI_PATH", self.directory.to_str().unwrap()),
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ];
        let program = match plugin["type"].as_str().unwrap() {
            "twill-cni" => PathBuf::from(OURS),
            other => self.directory.join(other),
        };
        call_of(Path::new(&program), &with(verb, "web", &paths), &config.to_string())
    }

    /// What each has made of what the one before has answered.
    fn add(&self) -> Value {
        let mut result = None;
        for plugin in &self.plugins {
            result = Some(self.one("ADD", plugin, result.as_ref()).result());
        }
        result.unwrap()
    }

    /// Debian's portmap 1.1.1 looks for rules of IPv6 at pods that have none.
    fn check(&self, result: &Value) {
        for plugin in self.plugins.iter().filter(|plugin| plugin["type"] != "portmap") {
            self.one("CHECK", plugin, Some(result)).is_silent_success();
        }
    }

    fn del(&self, result: &Value) {
        for plugin in self.plugins.iter().rev() {
            let answer = self.one("DEL", plugin, Some(result));
            assert_eq!(answer.exit_code, 0, "{plugin}: {answer:?}");
        }
    }
}

fn shell(line: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "tests start programs")]
    let output = std::process::Command::new("sh").args(["-c", line]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What is not declared of ours is asked of the others, as by Podman, which leaves declarations in.
#[test]
fn debians_plugins_after_ours_do_what_is_theirs() {
    let Some(world) = World::new() else { return };
    let Some(directory) = plugins() else { return };
    let pod = world.pod();
    let runtime = json!({
        "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }],
        "bandwidth": {
            "ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 16_000_000, "egressBurst": 800_000,
        },
        "mac": "02:00:00:00:00:07",
    });
    let mut ours = world.network("1.0.0");
    ours["capabilities"] = json!({ "mac": true });
    ours["runtimeConfig"] = runtime.clone();
    let theirs = |name: &str, capability: &str| json!({ "type": name, "capabilities": { capability: true }, "runtimeConfig": runtime });
    let list = List {
        plugins: vec![
            ours,
            theirs("portmap", "portMappings"),
            json!({ "type": "firewall" }),
            json!({ "type": "tuning", "sysctl": { "net.core.somaxconn": "500" } }),
            theirs("bandwidth", "bandwidth"),
        ],
        directory,
        pod: &pod,
    };
    for _again in 0..2 {
        let result = list.add();
        assert_eq!(result["interfaces"][2]["mac"], "02:00:00:00:00:07", "{result}");
        list.check(&result);
        let rules = shell("iptables-save");
        let address = result["ips"][0]["address"].as_str().unwrap().replace("/24", "");
        let led = format!("--to-destination {address}:80");
        assert!(rules.contains(&led) && rules.contains("CNI-FORWARD"), "{rules}");
        assert!(!shell("nft list tables").contains("twill-ports"), "ours publishes nothing");
        let port = result["interfaces"][1]["name"].as_str().unwrap();
        assert!(shell(&format!("tc qdisc show dev {port}")).contains("tbf"));
        let tuned = pod.run(|| shell("cat /proc/sys/net/core/somaxconn")).unwrap();
        assert_eq!(tuned.trim(), "500");
        list.del(&result);
        assert_eq!((links(), world.records()), (vec!["twill0".to_owned()], 0));
        let left = shell("iptables-save");
        assert!(!left.contains(&address), "{left}");
    }
}

/// Places in the result are counted from what was there.
#[test]
fn what_a_plugin_before_ours_has_made_stays_in_the_result() {
    let Some(world) = World::new() else { return };
    let Some(directory) = plugins() else { return };
    let pod = world.pod();
    let list = List {
        plugins: vec![
            json!({ "type": "loopback" }),
            world.network("1.0.0"),
            json!({ "type": "tuning", "mac": "02:00:00:00:00:09" }),
        ],
        directory,
        pod: &pod,
    };
    let result = list.add();
    let names: Vec<&str> = result["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|interface| interface["name"].as_str().unwrap())
        .collect();
    assert_eq!((names[0], names[1], names.last().copied()), ("lo", "twill0", Some("eth0")));
    let ips = result["ips"].as_array().unwrap();
    let own =
        ips.iter().find(|row| row["address"].as_str().unwrap().starts_with("10.88.2.")).unwrap();
    assert_eq!(own["interface"], json!(names.len() - 1), "{result}");
    assert_eq!(own["gateway"].as_str().unwrap().parse(), Ok(IpAddr::from([10, 88, 2, 1])));
    list.check(&result);
    list.del(&result);
    assert_eq!((links(), world.records()), (vec!["twill0".to_owned()], 0));
}
