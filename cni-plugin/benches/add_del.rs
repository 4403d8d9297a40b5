//! How long an ADD and a DEL take, from the start of the process to its end.
//!
//! `cargo bench -p twill-cni` as root. The host and its pods are namespaces of the benchmark. With
//! Debian's `containernetworking-plugins` installed, its bridge with host-local runs beside ours,
//! on the same host by turns.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use twill_core::ids::Mtu;
use twill_net::blocking::{Kernel, VethEnd, VethPair};
use twill_net::netns::{Netns, Scratch};

const ROUNDS: usize = 50;
const REFERENCE: &str = "/usr/lib/cni/bridge";

/// A plugin and the network that it is called for.
struct Plugin {
    name: &'static str,
    path: &'static Path,
    network: Value,
    adds: Vec<Duration>,
    dels: Vec<Duration>,
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn main() {
    let Some(scratch) = Scratch::enter() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let mut plugins = plugins(directory.path());
    for round in 0..ROUNDS {
        for plugin in &mut plugins {
            let pod = scratch.another();
            let container = format!("pod-{round}");
            plugin.adds.push(call(plugin, "ADD", (&container, &pod)));
            plugin.dels.push(call(plugin, "DEL", (&container, &pod)));
        }
    }
    let (adds, dels) = kernel_alone(&scratch);
    println!("{ROUNDS} pods each, milliseconds: median (fastest .. slowest)");
    for Plugin { name, adds, dels, .. } in plugins {
        println!("{name:<40} ADD {}   DEL {}", summary(adds), summary(dels));
    }
    println!(
        "{:<40} add {}   del {}",
        "the kernel's veth pair alone",
        summary(adds),
        summary(dels)
    );
}

/// What no plugin can be faster than: one message that makes a pair, one that removes it.
fn kernel_alone(scratch: &Scratch) -> (Vec<Duration>, Vec<Duration>) {
    let mut kernel = Kernel::here().expect("a socket");
    let bridge = kernel.link("twill0").expect("an answer").map(|bridge| bridge.index);
    let (mut adds, mut dels) = (Vec::new(), Vec::new());
    for _round in 0..ROUNDS {
        let pod = scratch.another();
        let end = |name| VethEnd { name, mtu: Mtu::new(1450).expect("in range"), mac: None };
        let pair = VethPair { host: end("bench0"), peer: end("eth0"), bridge };
        let start = Instant::now();
        kernel.add_veth(&pair, &pod).expect("a pair");
        adds.push(start.elapsed());
        let port = kernel.link("bench0").expect("an answer").expect("the pair").index;
        let start = Instant::now();
        kernel.drop_link(port).expect("no pair");
        dels.push(start.elapsed());
    }
    (adds, dels)
}

fn plugins(directory: &Path) -> Vec<Plugin> {
    let subnet_env = directory.join("subnet.env");
    let text = "FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET=10.88.2.1/24\nFLANNEL_MTU=1450\n\
                FLANNEL_IPMASQ=true\n";
    fs::write(&subnet_env, text).expect("subnet.env");
    let ours = json!({
        "cniVersion": "1.0.0", "name": "ours", "type": "twill-cni", "subnetFile": subnet_env,
        "stateDir": directory.join("endpoint"),
    });
    let theirs = json!({
        "cniVersion": "1.0.0", "name": "theirs", "type": "bridge", "bridge": "cni0", "mtu": 1450,
        "isDefaultGateway": true, "hairpinMode": true,
        "ipam": {
            "type": "host-local", "ranges": [[{ "subnet": "10.89.2.0/24" }]],
            "dataDir": directory.join("host-local"), "routes": [{ "dst": "10.89.0.0/16" }],
        },
    });
    let plugin = |name, path, network| Plugin {
        name,
        path: Path::new(path),
        network,
        adds: Vec::new(),
        dels: Vec::new(),
    };
    let mut plugins = vec![plugin("twill-cni", env!("CARGO_BIN_EXE_twill-cni"), ours)];
    if Path::new(REFERENCE).exists() {
        plugins.push(plugin("bridge with host-local (Debian)", REFERENCE, theirs));
    }
    plugins
}

#[expect(clippy::disallowed_methods, reason = "the plugin is a program to be called")]
fn call(plugin: &Plugin, verb: &str, (container, pod): (&str, &Netns)) -> Duration {
    let mut command = Command::new(plugin.path);
    command.env_clear().env("CNI_COMMAND", verb).env("CNI_CONTAINERID", container);
    command.env("CNI_NETNS", pod.path()).env("CNI_IFNAME", "eth0").env("CNI_PATH", "/usr/lib/cni");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let network = plugin.network.to_string();
    let start = Instant::now();
    let mut child = command.spawn().expect("the plugin starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(network.as_bytes()).expect("the plugin reads");
    drop(stdin);
    let output = child.wait_with_output().expect("the plugin ends");
    let took = start.elapsed();
    assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stdout));
    took
}

fn summary(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |index: usize| times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    format!("{:6.2} ({:.2} .. {:.2})", at(times.len() / 2), at(0), at(times.len() - 1))
}
