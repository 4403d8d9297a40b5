//! A host whose agent sleeps for longer than its lease lives, as a laptop does whose lid is shut.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use twill_core::ids::Subnet;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::observer::{Listener, Observer};
use twill_integration::{may_build_labs, status, wait_until};

/// The shortest that an agent accepts.
const TTL: &str = "30s";

/// What a busy machine may need for something that takes milliseconds on an idle one.
const LIMIT: Duration = Duration::from_secs(30);

/// The lease's time, and what etcd needs to notice that it is over.
const EXPIRY: Duration = Duration::from_mins(1);

#[test]
fn a_host_that_slept_for_too_long_steps_back_and_waits_for_a_subnet() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::bare(3)?;
    let network = fabric.lab().underlay().network_of(1);
    let observer = Observer::start(&network, &["http://192.168.140.22:2379".to_owned()]);
    fabric.start_etcd()?;
    // Room for two hosts, and three want in.
    let limits = ["--subnet-min", "10.88.1.0", "--subnet-max", "10.88.2.0"];
    fabric.init_network_with(Backend::Vxlan, &limits)?;
    fabric.give_agents(&["--lease-ttl", TTL]);
    fabric.start_agents(1..=2)?;
    let listener = Listener::start();
    (1..=3).for_each(|number| listener.add(fabric.node(number)));
    let (stays, slept) = (subnet(&fabric, 1)?, subnet(&fabric, 2)?);
    let third = fabric.node(3).clone();
    let early = fabric.spawn_agent(&third)?;
    let full = || early.transcript().contains("no subnet is free");
    wait_until("the third host is told that the network is full", LIMIT, full)?;
    drop(early);

    fabric.agent(2)?.signal(Signal::SIGSTOP)?;
    let expired = || !observer.ledger().held().contains_key(&slept.into());
    wait_until("the sleeper's lease is over", EXPIRY, expired)?;
    fabric.start_agent(3)?;
    ensure!(subnet(&fabric, 3)? == slept, "there was one subnet to have");
    fabric.agent(2)?.signal(Signal::SIGCONT)?;
    let agent = fabric.agent(2)?;
    let steps_back = || agent.transcript().contains("ANOTHER HOST OWNS OUR SUBNET");
    wait_until("the sleeper steps back", LIMIT, steps_back)?;

    // It waits until one is free, and takes that.
    fabric.stop_agent(1, Signal::SIGTERM)?;
    listener.forget();
    fabric.ctl(&["lease", "revoke", &stays.to_string(), "--yes"])?;
    let host = fabric.node(2).clone();
    let has_one = || status(&host).is_ok_and(|status| status.subnet == stays);
    wait_until("the sleeper has a subnet again", LIMIT, has_one)?;
    listener.check()?;
    let node = status(&host)?.node;
    let owns = || {
        let ledger = observer.ledger();
        ledger.held().get(&stays.into()).is_some_and(|owner| owner.node == Some(node))
    };
    wait_until("etcd says so as well", LIMIT, owns)?;
    let at = observer.ledger().at();
    observer.finish(at.revision)?;
    fabric.finish()
}

fn subnet(fabric: &Fabric, number: usize) -> Result<Subnet> {
    Ok(status(fabric.node(number))?.subnet)
}
