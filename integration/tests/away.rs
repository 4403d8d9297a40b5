//! etcd dies, and then everything that could be in need of it.
//!
//! ```text
//!   node1: etcd (killed), twilld (killed, started), container a ──┐ a flow that must not end
//!   node2:                twilld (killed, started), container b ◄─┘
//! ```

#![expect(clippy::print_stdout, reason = "the figures are for people")]

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use twill_core::status::{EtcdState, Source, Status};
use twill_integration::container::Endpoint;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::flow::Flow;
use twill_integration::{Snapshot, may_build_labs, status, wait_until};

/// What a busy machine may need for something that takes milliseconds on an idle one.
const LIMIT: Duration = Duration::from_secs(30);
const PICTURE: &str = "/var/lib/twill/agent/picture";
/// Keeps the flow alive and the machine free.
const PAUSE: Duration = Duration::from_millis(5);

#[test]
fn hosts_with_vxlan_live_without_etcd() -> Result<()> {
    live_without_etcd(Backend::Vxlan)
}

#[test]
fn hosts_with_udp_live_without_etcd() -> Result<()> {
    live_without_etcd(Backend::Udp)
}

#[test]
fn hosts_with_the_shortcut_live_without_etcd() -> Result<()> {
    live_without_etcd(Backend::UdpShortcut)
}

fn live_without_etcd(backend: Backend) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::start(2, backend)?;
    let [a, b] = [(1, "one"), (2, "two")]
        .map(|(number, name)| Endpoint::container(fabric.node(number), name, &["sleep", "1000"]));
    let (a, b) = (a?, b?);
    kept(&fabric)?;
    let flow = Flow::paced(&a, &b, PAUSE)?;
    let before = both(&fabric)?;

    fabric.stop_etcd()?;
    for number in 1..=2 {
        fabric.stop_agent(number, Signal::SIGKILL)?;
    }
    come_up(&mut fabric, backend)?;
    ensure!(same(&fabric, &before)?.is_empty(), "{:?}", same(&fabric, &before)?);

    let route = match backend {
        Backend::Udp | Backend::UdpShortcut | Backend::Wireguard => "10.88.0.0/16".to_owned(),
        Backend::Vxlan | Backend::HostGw => status(fabric.node(2))?.subnet.to_string(),
    };
    fabric.node(1).ok(["ip", "route", "del", &route])?;
    let healed = || same(&fabric, &before).is_ok_and(|changes| changes.is_empty());
    let took = wait_until("the route is there again", LIMIT, healed)?;
    println!("{backend:?}: a route deleted by hand was away for at most {took:?}");

    // Containers start, with nobody to ask.
    let late = Endpoint::container(fabric.node(2), "late", &["sleep", "1000"])?;
    a.ping(late.address)?;
    late.remove_container()?;

    fabric.start_etcd()?;
    settle(&mut fabric)?;
    ensure!(same(&fabric, &before)?.is_empty(), "{:?}", same(&fabric, &before)?);

    let silence = flow.longest_silence();
    let bytes = flow.finish()?;
    println!("{backend:?}: {bytes} bytes arrived in order, the longest silence was {silence:?}");
    ensure!(silence < Duration::from_secs(5), "the flow was silent for {silence:?}");
    for endpoint in [a, b] {
        endpoint.remove_container()?;
    }
    fabric.finish()
}

fn come_up(fabric: &mut Fabric, backend: Backend) -> Result<()> {
    for number in 1..=2 {
        let took = fabric.start_agent(number)?;
        println!("{backend:?}: node{number} is ready without etcd after {took:?}");
        let Status { etcd, standing, .. } = status(fabric.node(number))?;
        ensure!(etcd == EtcdState::Away && standing.source == Source::Picture, "{standing:?}");
        ensure!(standing.degraded.len() == 2, "{standing:?}");
    }
    Ok(())
}

fn settle(fabric: &mut Fabric) -> Result<()> {
    for number in 1..=2 {
        let host = fabric.node(number).clone();
        let well = |status: Status| {
            status.etcd == EtcdState::Connected && status.standing.degraded.is_empty()
        };
        let well = || status(&host).is_ok_and(well);
        wait_until("etcd is there for it again", LIMIT, well)?;
        let agent = fabric.agent(number)?;
        let known = || agent.transcript().contains("etcd knows this host by the lease");
        wait_until("its lease was looked at", LIMIT, known)?;
        ensure!(agent.transcript().matches("bootstrap done").count() == 1, "it joined again");
    }
    Ok(())
}

/// Waits until both hosts have both subnets on disk.
fn kept(fabric: &Fabric) -> Result<()> {
    let [one, two] = [1, 2].map(|number| status(fabric.node(number)));
    let keys = [one?, two?].map(|host| host.subnet.to_string().replace('/', "-"));
    for number in 1..=2 {
        let path = fabric.node(number).path(PICTURE);
        let all = || {
            fs::read_to_string(&path).is_ok_and(|text| keys.iter().all(|key| text.contains(key)))
        };
        wait_until("the picture is on disk", LIMIT, all)?;
    }
    Ok(())
}

fn both(fabric: &Fabric) -> Result<[Snapshot; 2]> {
    Ok([Snapshot::of_network(fabric.node(1))?, Snapshot::of_network(fabric.node(2))?])
}

/// What differs on the two hosts.
fn same(fabric: &Fabric, before: &[Snapshot; 2]) -> Result<Vec<String>> {
    let now = both(fabric)?;
    Ok(before.iter().zip(&now).flat_map(|(before, now)| before.changes(now)).collect())
}
