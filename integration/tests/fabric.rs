//! The main job on the real parts: hosts, etcd, agents, containers, for both backends.
#![expect(clippy::print_stdout, reason = "what was measured is part of what a test says")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use twill_integration::container::Endpoint;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::flow::{Flow, transfer};
use twill_integration::{Snapshot, may_build_labs, probe, wait_until};

/// What a busy machine may need for something that takes milliseconds on an idle one.
const LIMIT: Duration = Duration::from_secs(20);

/// What the issue promises for a host that joins.
const JOINED: Duration = Duration::from_secs(1);

const MIB: u64 = 1024 * 1024;

#[test]
fn every_pair_of_containers_talks_over_udp() -> Result<()> {
    every_pair_of_containers_talks(Backend::Udp)
}

#[test]
fn every_pair_of_containers_talks_by_the_shortcut() -> Result<()> {
    every_pair_of_containers_talks(Backend::UdpShortcut)
}

#[test]
fn every_pair_of_containers_talks_over_vxlan() -> Result<()> {
    every_pair_of_containers_talks(Backend::Vxlan)
}

fn every_pair_of_containers_talks(backend: Backend) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = Fabric::start(3, backend)?;
    let containers = one_on_each(&fabric, 3)?;
    for (from, to) in pairs(&containers) {
        from.ping(to.address)?;
        from.ping_whole(to.address, backend.mtu())?;
        let took = transfer(from, to, 64 * MIB)?;
        let rate = 64.0 * 8.0 * 1.048_576 / took.as_secs_f64();
        println!("{} {} -> {}: 64 MiB at {rate:.0} Mbit/s", backend.name(), from.name, to.name);
    }
    for container in containers {
        container.remove_container()?;
    }
    fabric.finish()
}

#[test]
fn a_host_that_joins_is_reached_and_one_that_leaves_is_forgotten_over_udp() -> Result<()> {
    a_host_joins_and_leaves(Backend::Udp)
}

#[test]
fn a_host_that_joins_is_reached_and_one_that_leaves_is_forgotten_by_the_shortcut() -> Result<()> {
    a_host_joins_and_leaves(Backend::UdpShortcut)
}

#[test]
fn a_host_that_joins_is_reached_and_one_that_leaves_is_forgotten_over_vxlan() -> Result<()> {
    a_host_joins_and_leaves(Backend::Vxlan)
}

fn a_host_joins_and_leaves(backend: Backend) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::start(2, backend)?;
    let first = one_on_each(&fabric, 2)?.remove(0);
    let before: Vec<Snapshot> = rows_of(&fabric, 2)?;

    let third = fabric.add_host()?;
    let agent = fabric.spawn_agent(&third)?;
    // Counted from before the look that found the lease, so rather too much than too little.
    let mut absent = Instant::now();
    let (subnet, _) = probe("node3 has a lease", LIMIT, || {
        let look = Instant::now();
        let found = lease_of(&fabric, "192.168.140.24");
        absent = if found.is_none() { look } else { absent };
        found
    })?;
    // The tunnel's own address, the first thing on a new host that can answer.
    let address = subnet.split('/').next().context("a subnet has a length")?.parse()?;
    let briefly = ["-c", "1", "-W", "0.1"];
    probe("node3 answers", LIMIT, || first.ping_with(address, &briefly).ok())?;
    let took = absent.elapsed();
    println!("{}: node3 was reached within {took:.0?} of its lease", backend.name());
    ensure!(took < JOINED, "it took {took:?}");

    agent.kill()?;
    fabric.node(1).ok(["twillctl", "lease", "revoke", &subnet, "--yes"])?;
    for (number, before) in (1..=2).zip(&before) {
        let host = fabric.node(number);
        let forgotten =
            || Snapshot::of_network(host).is_ok_and(|now| before.changes(&now).is_empty());
        let took = wait_until("node3's rows are gone", LIMIT, forgotten)?;
        println!("{}: {} forgot node3 within {took:.0?}", backend.name(), host.name());
        ensure!(took < JOINED, "it took {took:?}");
    }
    fabric.meet(2)?;
    fabric.finish()
}

#[test]
fn a_killed_agent_costs_no_byte_over_udp() -> Result<()> {
    a_killed_agent_costs_no_byte(Backend::Udp)
}

#[test]
fn a_killed_agent_costs_no_byte_by_the_shortcut() -> Result<()> {
    a_killed_agent_costs_no_byte(Backend::UdpShortcut)
}

#[test]
fn a_killed_agent_costs_no_byte_over_vxlan() -> Result<()> {
    a_killed_agent_costs_no_byte(Backend::Vxlan)
}

fn a_killed_agent_costs_no_byte(backend: Backend) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::start(2, backend)?;
    let containers = one_on_each(&fabric, 2)?;
    let flow = Flow::start(&containers[0], &containers[1])?;
    let goes_on = |what: &str| {
        let seen = flow.arrived();
        wait_until(what, LIMIT, || flow.arrived() > seen + 8 * MIB)
    };
    goes_on("the flow runs")?;
    for number in 1..=2 {
        let before = Snapshot::of_network(fabric.node(number))?;
        let subnet = fabric.subnet(number)?;
        fabric.stop_agent(number, Signal::SIGKILL)?;
        if backend != Backend::Udp {
            goes_on("the flow goes on without an agent")?;
        }
        fabric.start_agent(number)?;
        let took = goes_on("the flow goes on after the restart")?;
        println!("{}: 8 MiB more {took:.0?} after a restart", backend.name());
        assert_eq!(fabric.subnet(number)?, subnet);
        let same = || {
            Snapshot::of_network(fabric.node(number))
                .is_ok_and(|now| before.changes(&now).is_empty())
        };
        if let Err(error) = wait_until("nothing is lost and nothing doubled", LIMIT, same) {
            let changes = before.changes(&Snapshot::of_network(fabric.node(number))?).join("\n");
            return Err(error.context(changes));
        }
    }
    println!("{}: {} MiB in order", backend.name(), flow.finish()? / MIB);
    fabric.finish()
}

#[test]
fn a_pod_reaches_a_container_on_another_host_over_udp() -> Result<()> {
    a_pod_reaches_a_container(Backend::Udp)
}

#[test]
fn a_pod_reaches_a_container_on_another_host_over_vxlan() -> Result<()> {
    a_pod_reaches_a_container(Backend::Vxlan)
}

fn a_pod_reaches_a_container(backend: Backend) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = Fabric::start(2, backend)?;
    let pod = Endpoint::pod(fabric.node(1), "pod")?;
    let neighbour = Endpoint::container(fabric.node(1), "neighbour", &["sleep", "10000"])?;
    let far = Endpoint::container(fabric.node(2), "far", &["sleep", "10000"])?;
    ensure!(pod.address != neighbour.address, "one pool: both have {}", pod.address);
    for (from, to) in [(&pod, &far), (&far, &pod), (&pod, &neighbour)] {
        from.ping_whole(to.address, backend.mtu())?;
        transfer(from, to, MIB)?;
    }
    pod.remove_pod()?;
    fabric.finish()
}

#[test]
fn containers_leave_nothing_behind() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = Fabric::start(1, Backend::Vxlan)?;
    let host = fabric.node(1);
    // The first ones make the bridge and the directories, which are to stay.
    Endpoint::container(host, "first", &["sleep", "10000"])?.remove_container()?;
    Endpoint::pod(host, "first")?.remove_pod()?;
    let before = Snapshot::take(host)?;
    let running = Endpoint::container(host, "running", &["sleep", "10000"])?;
    let ended = ["twill", "run", "--name", "ended", "busybox", "true"];
    host.ok(ended)?;
    host.ok(["twill", "run", "--rm", "busybox", "true"])?;
    let pod = Endpoint::pod(host, "pod")?;
    ensure!(!before.changes(&Snapshot::take(host)?).is_empty(), "the snapshot sees nothing");
    pod.remove_pod()?;
    running.remove_container()?;
    host.ok(["twill", "rm", "ended"])?;
    before.assert_same(host)?;
    fabric.finish()
}

// === helpers ===

fn one_on_each(fabric: &Fabric, hosts: usize) -> Result<Vec<Endpoint>> {
    let start = |number| {
        Endpoint::container(fabric.node(number), &format!("c{number}"), &["sleep", "10000"])
    };
    (1..=hosts).map(start).collect()
}

fn pairs(all: &[Endpoint]) -> impl Iterator<Item = (&Endpoint, &Endpoint)> {
    let each = all.iter().flat_map(move |from| all.iter().map(move |to| (from, to)));
    each.filter(|(from, to)| from.address != to.address)
}

fn lease_of(fabric: &Fabric, host: &str) -> Option<String> {
    let text = fabric.node(1).ok(["twillctl", "lease", "list", "-o", "json"]).ok()?;
    let leases: serde_json::Value = serde_json::from_str(&text).ok()?;
    let all = leases.as_array()?.iter();
    let mut ours = all.filter(|lease| lease["public_ip"].as_str() == Some(host));
    ours.next()?["subnet"].as_str().map(str::to_owned)
}

fn rows_of(fabric: &Fabric, hosts: usize) -> Result<Vec<Snapshot>> {
    (1..=hosts).map(|number| Snapshot::of_network(fabric.node(number))).collect()
}
