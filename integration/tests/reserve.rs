//! A subnet that is reserved and released while its host runs, and while it does not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use twill_core::status::Status;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::{may_build_labs, status, wait_until};

/// What a busy machine may need for something that takes milliseconds on an idle one.
const LIMIT: Duration = Duration::from_secs(30);

/// The shortest lease that an agent accepts, and what etcd needs to notice that it is over.
const TTL: &str = "30s";
const EXPIRY: Duration = Duration::from_mins(1);

/// ```text
///   reserve ──► no end ──► agent killed, its time over: the key stays, nobody knows when it was seen
///   agent back ──► the same subnet ──► release ──► ends again, and the host renews it
/// ```
#[test]
fn a_reservation_outlives_its_host_and_a_release_touches_nobody() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::bare(2)?;
    fabric.start_etcd()?;
    fabric.init_network(Backend::Vxlan)?;
    fabric.give_agents(&["--lease-ttl", TTL]);
    fabric.start_agents(1..=2)?;
    fabric.meet(2)?;
    let before = status(fabric.node(2))?;
    let subnet = before.subnet.to_string();
    let index = fabric.node(2).ok(["cat", "/sys/class/net/flannel.1/ifindex"])?;
    let as_ever = |fabric: &Fabric| -> Result<()> {
        let now = fabric.node(2).ok(["cat", "/sys/class/net/flannel.1/ifindex"])?;
        ensure!(now == index, "the device was made anew");
        ensure!(status(fabric.node(2))?.subnet == before.subnet, "the subnet is another one");
        fabric.knows(1, 1)
    };

    fabric.ctl(&["lease", "reserve", &subnet, "--node", &before.hostname])?;
    until(&fabric, "the host holds a reservation", |status| status.lease_expires.is_none())?;
    as_ever(&fabric)?;
    let shown = show(&fabric, &subnet)?;
    ensure!(shown["reserved"] == true && shown["used"] == true, "{shown}");

    fabric.stop_agent(2, Signal::SIGKILL)?;
    let over = || show(&fabric, &subnet).is_ok_and(|shown| shown["record"].is_null());
    wait_until("the host's record has ended", EXPIRY, over)?;
    ensure!(show(&fabric, &subnet)?["reserved"] == true, "the key stays");
    let judged: Value = serde_json::from_str(&fabric.ctl(&[
        "lease",
        "gc",
        "--unseen",
        "1m",
        "--include-unknown",
        "--dry-run",
        "-o",
        "json",
    ])?)?;
    ensure!(judged[0]["subnet"] == *subnet && judged[0]["last_seen"].is_null(), "{judged}");
    ensure!(judged.as_array().context("a list")?.len() == 1, "node1 lives: {judged}");

    fabric.start_agent(2)?;
    until(&fabric, "it is still reserved", |status| status.lease_expires.is_none())?;
    as_ever(&fabric)?;
    fabric.ctl(&["lease", "release", &subnet])?;
    until(&fabric, "the host holds a lease", |status| status.lease_expires.is_some())?;
    as_ever(&fabric)?;
    ensure!(show(&fabric, &subnet)?["reserved"] == false);
    fabric.finish()
}

fn until(fabric: &Fabric, what: &str, holds: impl Fn(&Status) -> bool) -> Result<()> {
    wait_until(what, LIMIT, || status(fabric.node(2)).is_ok_and(|status| holds(&status)))?;
    Ok(())
}

fn show(fabric: &Fabric, subnet: &str) -> Result<Value> {
    Ok(serde_json::from_str(&fabric.ctl(&["lease", "show", subnet, "-o", "json"])?)?)
}
