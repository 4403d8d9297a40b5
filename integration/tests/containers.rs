//! Containers on a host of the lab: many at once, bad input, and what is left of them.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use twill_integration::container::Endpoint;
use twill_integration::fabric::{Backend, Fabric, SUBNET_FILE};
use twill_integration::{Host, Snapshot, may_build_labs, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn twenty_containers_start_at_once() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = Fabric::start(1, Backend::Vxlan)?;
    let host = fabric.node(1);
    // The first one makes the bridge and the directories, which are to stay.
    Endpoint::container(host, "first", &["sleep", "10000"])?.remove_container()?;
    let before = Snapshot::take(host)?;
    let containers = at_once(20, |number| {
        Endpoint::container(host, &format!("many{number}"), &["sleep", "10000"])
    })?;
    let addresses: BTreeSet<_> = containers.iter().map(|container| container.address).collect();
    ensure!(addresses.len() == 20, "an address was given twice: {addresses:?}");
    containers[0].ping(containers[19].address)?;
    at_once(20, |number| host.ok(["twill", "rm", "-f", &format!("many{number}")]))?;
    before.assert_same(host)?;
    fabric.finish()
}

#[test]
fn what_cannot_run_is_refused_with_the_right_code_and_leaves_nothing() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = Fabric::start(1, Backend::Vxlan)?;
    let host = fabric.node(1);
    Endpoint::container(host, "taken", &["sleep", "10000"])?;
    let before = Snapshot::take(host)?;
    // The command line after `twill`, its exit code, and a word that its message must have.
    let rows: [(&str, i32, &str); 8] = [
        ("run --rm nosuch true", 125, "nosuch"),
        ("run --name taken busybox true", 125, "taken"),
        ("run --bogus busybox true", 125, "--bogus"),
        ("run --rm busybox nosuch", 127, "nosuch"),
        ("run --rm busybox /etc/passwd", 126, "/etc/passwd"),
        ("run --rm busybox sh -c 'exit 7'", 7, ""),
        ("exec nosuch true", 1, "nosuch"),
        ("rm nosuch", 1, "nosuch"),
    ];
    for (line, code, word) in rows {
        let ended = host.run(["sh", "-c", &format!("twill {line}")])?;
        ensure!(ended.code == code, "twill {line}: {code} was due, not {ended:?}");
        ensure!(ended.stderr.contains(word), "twill {line}: {ended:?} does not say {word}");
        settles(&before, host, line)?;
    }
    host.ok(["twill", "kill", "taken"])?;
    ensure!(host.ok(["twill", "wait", "taken"])?.trim() == "137", "128 + 9 was due");
    fabric.finish()
}

#[test]
fn a_subnet_that_overlaps_the_hosts_own_network_is_refused() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = Fabric::bare(1)?;
    let host = fabric.node(1);
    Endpoint::import_image(host)?;
    let before = Snapshot::of_network(host)?;
    let run = ["twill", "run", "--rm", "busybox", "true"];

    let ended = host.run(run)?;
    ensure!(ended.code == 125 && ended.stderr.contains("subnet.env"), "no agent: {ended:?}");
    ensure!(ended.stderr.contains("hint: "), "what is to be done? {ended:?}");

    fs::create_dir(host.path("/run/flannel"))?;
    let overlapping = "FLANNEL_NETWORK=192.168.0.0/16\nFLANNEL_SUBNET=192.168.140.1/24\n\
        FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n";
    fs::write(host.path(SUBNET_FILE), overlapping)?;
    let ended = host.run(run)?;
    ensure!(ended.code == 125 && ended.stderr.contains("192.168.140.0/24"), "{ended:?}");
    let changes = before.changes(&Snapshot::of_network(host)?);
    ensure!(changes.is_empty(), "a refused container left {changes:?}");
    fabric.finish()
}

// A monitor may need a moment to go after its container.
fn settles(before: &Snapshot, host: &Host, line: &str) -> Result<()> {
    let same = || Snapshot::take(host).is_ok_and(|now| before.changes(&now).is_empty());
    if wait_until("it leaves nothing", LIMIT, same).is_err() {
        let changes = before.changes(&Snapshot::take(host)?);
        return Err(anyhow!("twill {line} left {changes:#?}"));
    }
    Ok(())
}

fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|i| scope.spawn(move || work(i))).collect();
        let joined = threads.into_iter().map(|thread| {
            thread.join().map_err(|panic| anyhow!("a thread panicked: {panic:?}"))?
        });
        joined.collect()
    })
}
