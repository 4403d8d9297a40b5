//! Pods as a kubelet asks containerd for them.

use anyhow::{Result, ensure};
use twill_integration::{Host, machine};

use super::containerd;
use super::cri::{Cri, Sandbox, limited};
use super::left::{Before, Count, no_namespace};
use super::world::{PORT, World, published, served};

#[test]
fn containerd_runs_pods_with_ports_and_limits_and_leaves_nothing() -> Result<()> {
    let Some(files) = machine::may_boot().then(containerd::find).flatten() else { return Ok(()) };
    let mut world = World::start(2)?;
    let container = world.container()?;
    let cri = containerd::set_up(world.machine(2), &files)?;
    let host = world.host(2);
    let first = cri.run(limited("first", PORT, ["1M", "1M"]))?;
    end(&cri, &first)?;
    let before = Before::of(host)?;

    let id = cri.run(limited("web", PORT, ["8M", "4M"]))?;
    let web = cri.sandbox(&id)?;
    ensure!(web.is_ready, "{web:?}");
    reaches(&world, &web)?;
    is_limited(host, &web)?;
    published(&world, 2, &container)?;
    let own = container.address.to_string();
    let enter = ["nsenter", "-n", "-t", &web.pid.to_string()].map(str::to_owned);
    let inside =
        |command: &[&str]| host.ok(enter.iter().map(String::as_str).chain(command.iter().copied()));
    served("the pod", (&own, 80), inside)?;
    let taken = format!("{:#}", cri.run(limited("other", PORT, ["1M", "1M"])).expect_err("taken"));
    ensure!(taken.contains(&id), "the port's owner is not named: {taken}");

    // Pods outlive their runtime.
    host.ok(["systemctl", "restart", "containerd"])?;
    let cri = containerd::connect(world.machine(2))?;
    let host = world.host(2);
    ensure!(cri.sandbox(&id)?.is_ready, "the pod has not outlived containerd");
    reaches(&world, &web)?;
    // So they do the agent, and they go without it.
    host.ok(["systemctl", "stop", "twilld"])?;
    reaches(&world, &web)?;
    published(&world, 2, &container)?;
    end(&cri, &id)?;
    before.is_as_now(host)?;
    host.ok(["systemctl", "start", "twilld"])?;

    // A host that loses power has to be cleared up by the same two words.
    let lost = cri.run(limited("lost", PORT, ["8M", "4M"]))?;
    world.machine(2).cut()?;
    world.machine(2).start()?;
    world.meets()?;
    let cri = containerd::connect(world.machine(2))?;
    ensure!(!cri.sandbox(&lost)?.is_ready, "a pod has outlived its host");
    end(&cri, &lost)?;
    let id = cri.run(limited("web", PORT, ["8M", "4M"]))?;
    let host = world.host(2);
    Count { records: 1, pairs: 1, rules: true }.is(host)?;
    published(&world, 2, &container)?;
    end(&cri, &id)?;
    Count { records: 0, pairs: 0, rules: false }.is(host)?;
    no_namespace(host)?;
    ensure!(cri.all()?.is_empty(), "containerd knows of {:?}", cri.all()?);
    world.finish()
}

/// As a kubelet does it.
fn end(cri: &Cri, id: &str) -> Result<()> {
    cri.stop(id)?;
    cri.remove(id)
}

/// By its own address.
fn reaches(world: &World, pod: &Sandbox) -> Result<()> {
    served("its host", (&pod.address, 80), |command| world.host(2).ok(command))?;
    served("a container of another host", (&pod.address, 80), |command| {
        world.host(1).ok(["twill", "exec", "web"].iter().chain(command))
    })
}

/// What it gets at its host's end, and what it sends at its own.
fn is_limited(host: &Host, pod: &Sandbox) -> Result<()> {
    let gets = host.sh("tc qdisc show | grep tbf || :")?;
    ensure!(gets.lines().count() == 1 && gets.contains("rate 8Mbit"), "it gets: {gets}");
    let sends = host.sh(&format!("nsenter -n -t {} tc qdisc show dev eth0", pod.pid))?;
    ensure!(sends.contains("tbf") && sends.contains("rate 4Mbit"), "it sends: {sends}");
    Ok(())
}
