//! `twillctl trace` between containers of two hosts: whole, and broken in one place after the other.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use twill_integration::container::Endpoint;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::{Host, may_build_labs, wait_until};

/// What a busy machine may need for something that takes milliseconds on an idle one.
const LIMIT: Duration = Duration::from_secs(30);

/// What a host's own rules may do beside ours.
const STRANGER: &str = "nft 'add table inet mine; add chain inet mine forward { type filter hook \
                        forward priority 10; policy drop; }'";
const NO_STRANGER: &str = "nft delete table inet mine";

#[test]
fn a_trace_names_the_host_and_the_step_at_which_a_vxlan_breaks() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = listening(Backend::Vxlan)?;
    let (one, two) = (fabric.node(1).clone(), fabric.node(2).clone());
    let web = Endpoint::container(&one, "web", &["sleep", "10000"])?;
    let other = Endpoint::container(&two, "other", &["sleep", "10000"])?;
    let (here, there) = (web.address.to_string(), other.address.to_string());
    let trace = || traced(&one, "web", &there);

    trace()?.is(0, "whole")?;
    let document = documented(&one, "web", &there)?;
    ensure!(document["back"]["host"] == "node2", "{document}");
    ensure!(
        step(&document, "peer") == "passes" && step(&document, "mtu") == "passes",
        "{document}"
    );
    // An address says the same, and so does the other end.
    traced(&one, &here, &there)?.is(0, "whole")?;
    traced(&two, "other", &here)?.is(0, "whole")?;

    two.sh(STRANGER)?;
    trace()?.is(8, "broken at firewall on node2: table inet mine drops")?;
    traced(&two, "other", &here)?.is(6, "broken at firewall on node2")?;
    two.sh(NO_STRANGER)?;

    // Nobody tells the other half, and packets do.
    fabric.stop_agent(2, Signal::SIGKILL)?;
    trace()?.is(0, "whole")?;
    let document = documented(&one, "web", &there)?;
    ensure!(step(&document, "peer") == "unseen", "{document}");
    two.sh(STRANGER)?;
    trace()?
        .is(7, "no answer, and nothing broken on node1: the agent of 192.168.140.23 gave no")?;
    two.sh(NO_STRANGER)?;
    fabric.start_agent(2)?;

    two.ok(["twill", "stop", "-t", "0", "other"])?;
    let gone = format!("broken at container on node2: no container of this host has {there}");
    trace()?.is(8, &gone)?;
    traced(&two, "other", &here)?.is(6, "other does not run")?;

    // Without an agent of its own, by what that left on disk.
    fabric.stop_agent(1, Signal::SIGKILL)?;
    let gateway = fabric.subnet(2)?.subnet.base().to_string();
    one.ok(["ip", "neigh", "del", &gateway, "dev", "flannel.1"])?;
    let missing = format!("broken at neighbour on node1: the permanent neighbour {gateway}");
    trace()?.is(6, &missing)?;
    ensure!(trace()?.said.contains("does not answer; this is by what it left"), "a note");
    let default = one.ok(["ip", "route", "show", "default"])?;
    one.ok(["ip", "link", "set", "eth0", "down"])?;
    trace()?.is(6, "broken at uplink on node1: the uplink eth0 is down")?;
    // Routes by it went with it.
    one.sh(&format!("ip link set eth0 up && ip route add {}", default.trim()))?;
    fabric.start_agent(1)?;
    web.remove_container()?;
    other.remove_container()?;
    fabric.finish()
}

#[test]
fn a_trace_over_udp() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = listening(Backend::Udp)?;
    let (one, two) = (fabric.node(1), fabric.node(2));
    let (web, other) = (Endpoint::pod(one, "web")?, Endpoint::pod(two, "other")?);
    let (here, there) = (web.address.to_string(), other.address.to_string());
    traced(one, &here, &there)?.is(0, "whole")?;
    // Two hosts at once wait for nobody.
    let (forth, back) = std::thread::scope(|scope| {
        let forth = scope.spawn(|| documented(one, &here, &there));
        let back = scope.spawn(|| documented(two, &there, &here));
        (forth.join(), back.join())
    });
    for trace in [forth, back] {
        let document = trace.expect("traced")?;
        ensure!(
            document["verdict"] == "whole" && step(&document, "peer") == "passes",
            "{document}"
        );
    }
    traced(one, &here, "192.0.2.1")?.refuses(4, "is not in the overlay network")?;
    traced(one, "nobody", &there)?.refuses(4, "no container of this host is called nobody")?;
    web.remove_pod()?;
    other.remove_pod()?;
    fabric.finish()
}

#[test]
fn a_trace_names_a_route_that_is_missing_where_there_is_no_tunnel() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = listening(Backend::HostGw)?;
    let (one, two) = (fabric.node(1).clone(), fabric.node(2).clone());
    let (web, other) = (Endpoint::pod(&one, "web")?, Endpoint::pod(&two, "other")?);
    let (here, there) = (web.address.to_string(), other.address.to_string());
    traced(&one, &here, &there)?.is(0, "whole")?;
    let block = fabric.subnet(2)?.subnet;
    let picture = one.path("/var/lib/twill/agent/picture");
    let drawn =
        || fs::read_to_string(&picture).is_ok_and(|it| it.contains(&block.base().to_string()));
    wait_until("node1 has a picture of node2", LIMIT, drawn)?;
    // Without its agent nothing is mended.
    fabric.stop_agent(1, Signal::SIGKILL)?;
    one.ok(["ip", "route", "del", &block.to_string()])?;
    let missing = format!("broken at route on node1: the route {block} via 192.168.140.23");
    traced(&one, &here, &there)?.is(6, &missing)?;
    fabric.start_agent(1)?;
    fabric.knows(1, 1)?;
    traced(&one, &here, &there)?.is(0, "whole")?;
    web.remove_pod()?;
    other.remove_pod()?;
    fabric.finish()
}

/// Two hosts whose agents answer each other.
fn listening(backend: Backend) -> Result<Fabric> {
    let mut fabric = Fabric::bare(2)?;
    fabric.start_etcd()?;
    fabric.init_network(backend)?;
    fabric.give_agents(&["--healthz-port", "8471"]);
    fabric.start_agents(1..=2)?;
    fabric.meet(2)?;
    fabric.lab().hosts().try_for_each(Endpoint::import_image)?;
    Ok(fabric)
}

/// What `twillctl trace` says.
struct Trace {
    code: i32,
    /// For people, notes and all.
    said: String,
}

fn traced(host: &Host, from: &str, to: &str) -> Result<Trace> {
    let words = host.run(["twillctl", "trace", from, to])?;
    Ok(Trace { code: words.code, said: format!("{}{}", words.stdout, words.stderr) })
}

fn documented(host: &Host, from: &str, to: &str) -> Result<Value> {
    let text = host.run(["twillctl", "trace", from, to, "-o", "json"])?.stdout;
    serde_json::from_str(&text).context(text)
}

/// The outcome of a step on the first host, or of its packets.
fn step<'a>(document: &'a Value, stage: &str) -> &'a str {
    let lists = [&document["there"]["steps"], &document["probes"]];
    let mut steps = lists.into_iter().filter_map(Value::as_array).flatten();
    let found = steps.find(|step| step["stage"] == stage);
    found.and_then(|step| step["outcome"].as_str()).unwrap_or_default()
}

impl Trace {
    fn is(&self, code: i32, words: &str) -> Result<()> {
        let line = self.said.lines().next().unwrap_or_default();
        ensure!(self.code == code && line.contains(words), "{code} {words}: {}", self.said);
        Ok(())
    }

    fn refuses(&self, code: i32, words: &str) -> Result<()> {
        ensure!(self.code == code && self.said.contains(words), "{code} {words}: {}", self.said);
        Ok(())
    }
}
