//! A network that is changed under hosts that run: what the tool says before is what they do after.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use twill_core::status::Status;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::{may_build_labs, status, wait_until};

/// What a busy machine may need for something that takes milliseconds on an idle one.
const LIMIT: Duration = Duration::from_secs(30);

/// ```text
///   vxlan ── MTU 1400 ──► vxlan, 1350 inside ── udp ──► udp ── limits ──► one host moves, one stays
/// ```
#[test]
fn running_hosts_do_what_was_said_before_it_was_written() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::bare(2)?;
    fabric.start_etcd()?;
    // Above it there is room for whoever has to move.
    fabric.init_network_with(Backend::Vxlan, &["--subnet-max", "10.88.9.0"])?;
    fabric.start_agents(1..=2)?;
    fabric.meet(2)?;
    let set = |options: &[&str]| -> Result<Value> {
        let common = ["network", "set", "-o", "json", "--yes"];
        Ok(serde_json::from_str(&fabric.ctl(&[&common[..], options].concat())?)?)
    };
    let both = |what: &str, holds: &dyn Fn(&Status) -> bool| -> Result<()> {
        let host = |number| status(fabric.node(number)).is_ok_and(|status| holds(&status));
        wait_until(what, LIMIT, || host(1) && host(2))?;
        fabric.meet(2)
    };

    let said = set(&["--mtu", "1400"])?;
    ensure!(said["changes"][0]["effect"] == "live", "{said}");
    both("the devices have the new MTU", &|status| status.mtu.bytes() == 1350)?;
    let said = set(&["--backend", "udp"])?;
    ensure!(said["outgrown"] == Value::Array(Vec::new()), "{said}");
    both("the hosts speak udp", &|status| status.backend == "udp")?;

    let mut subnets = [status(fabric.node(1))?.subnet, status(fabric.node(2))?.subnet];
    subnets.sort_unstable();
    let [moves, stays] = subnets;
    let lowest = stays.base().to_string();
    let said = set(&["--subnet-min", &lowest, "--subnet-max", "default"])?;
    let outgrown = said["outgrown"].as_array().context("a list")?;
    ensure!(outgrown.len() == 1 && outgrown[0]["subnet"] == *moves.to_string(), "{said}");
    ensure!(said["changes"][0]["effect"] == "rejoin", "{said}");
    both("who was named has moved, and nobody else", &|status| status.subnet >= stays)?;
    let kept = |number| status(fabric.node(number)).is_ok_and(|status| status.subnet == stays);
    ensure!(kept(1) || kept(2), "the other one kept its subnet");
    fabric.finish()
}
