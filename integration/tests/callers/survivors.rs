//! Containers of Podman on two hosts, through a reboot of one and a loss of power of the other.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use twill_integration::{Endpoint, Host, machine, wait_until};

use super::left::{Count, no_namespace};
use super::podman::{address, id, inspect, podman, run, set_up};
use super::world::{LIMIT, PORT, World, published, served};

#[test]
fn pods_on_two_hosts_reach_each_other_before_and_after_each_end() -> Result<()> {
    if !machine::may_boot() {
        return Ok(());
    }
    let mut world = World::start(3)?;
    let container = world.container()?;
    for number in [2, 3] {
        let host = world.host(number);
        set_up(host)?;
        run(host, "web", &["--restart=always", &format!("-p={PORT}:80")])?;
        // Nobody starts this one again.
        run(host, "gone", &[])?;
        Count { records: 2, pairs: 2, rules: true }.is(host)?;
        host.ok(["systemctl", "enable", "--now", "podman-restart"])?;
    }
    all_reach_all(&world, &container)?;

    world.machine(2).reboot()?;
    world.machine(3).cut()?;
    world.machine(3).start()?;
    world.meets()?;
    for number in [2, 3] {
        let host = world.host(number);
        runs(host, "web")?;
        Count { records: 1, pairs: 1, rules: true }.is(host)?;
        host.ok(["twillctl", "cni", "check"])?;
        collect(host, &["web"])?;
        Count { records: 1, pairs: 1, rules: true }.is(host)?;
    }
    all_reach_all(&world, &container)?;

    for number in [2, 3] {
        let host = world.host(number);
        podman(host, &["start", "gone"])?;
        served("the host", (&address(host, "gone")?, 80), |command| host.ok(command))?;
        podman(host, &["rm", "-f", "-t=0", "gone", "web"])?;
        collect(host, &[])?;
        Count { records: 0, pairs: 0, rules: false }.is(host)?;
        no_namespace(host)?;
    }
    world.finish()
}

/// By their addresses and by their published ports.
fn all_reach_all(world: &World, container: &Endpoint) -> Result<()> {
    let places = [2, 3].map(|number| address(world.host(number), "web"));
    let [second, third] = places;
    let (second, third) = (second?, third?);
    let own = container.address.to_string();
    for (number, other) in [(2, &third), (3, &second)] {
        let host = world.host(number);
        for place in [other, &own] {
            let name = format!("the pod of {}", host.name());
            served(&name, (place, 80), |command| {
                host.ok(["podman", "exec", "web"].iter().chain(command))
            })?;
        }
        published(world, number, container).with_context(|| host.name().to_owned())?;
    }
    for place in [&second, &third] {
        served("the container", (place, 80), |command| container.exec(command))?;
        container.ping(place.parse::<IpAddr>()?)?;
    }
    Ok(())
}

/// Waits until it was started again.
fn runs(host: &Host, name: &str) -> Result<()> {
    let running = || inspect(host, name, "{{.State.Running}}").is_ok_and(|said| said == "true");
    wait_until(&format!("{name} on {} runs", host.name()), LIMIT, running).map(drop)
}

/// What newer runtimes do now and then, and this one does not: all but these may go.
fn collect(host: &Host, alive: &[&str]) -> Result<()> {
    let mut attachments = Vec::new();
    for name in alive {
        attachments.push(json!({ "containerID": id(host, name)?, "ifname": "eth0" }));
    }
    let configuration = json!({
        "cniVersion": "1.1.0",
        "name": "twill",
        "type": "twill-cni",
        "cni.dev/valid-attachments": attachments,
    });
    let command = ["env", "CNI_COMMAND=GC", "CNI_PATH=/usr/lib/cni", "/usr/lib/cni/twill-cni"];
    let limit = Duration::from_secs(30);
    host.run_with(command, configuration.to_string().as_bytes(), limit)?.success()?;
    Ok(())
}
