//! One backend: agents, containers, and the proof that they reach each other.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::show::Show;
use crate::container::Endpoint;
use crate::etcd;
use crate::fabric::{Backend, Fabric, SUBNET_FILE};
use crate::flow;
use crate::image::GREETING;

/// How long the throughput is measured.
const STREAM: Duration = Duration::from_secs(3);

/// What a round has shown.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) backend: Backend,
    /// How many pairs of containers have pinged each other.
    pub(super) pairs: usize,
    /// Throughput of one TCP stream between two hosts, in Mbit/s.
    pub(super) rate: f64,
}

pub(super) fn perform(show: &mut Show, fabric: &mut Fabric, backend: Backend) -> Result<Measured> {
    start_agents(show, fabric)?;
    let containers = start_containers(show, fabric)?;
    look(show, fabric, backend)?;
    let name = backend.name();

    show.step(&format!("{name}: an HTTP request from every container to the next host's"));
    for (from, to) in containers.iter().zip(containers.iter().cycle().skip(1)) {
        let wget = format!("twill exec {} wget -qO- http://{}/", from.name, to.address);
        let answer = show.run(&from.host, &wget)?;
        ensure!(answer == GREETING, "{} answers something else", to.name);
    }

    show.step(&format!("{name}: pings, every container to every other"));
    let mut pairs = 0;
    for from in &containers {
        for to in containers.iter().filter(|to| to.address != from.address) {
            let ping = format!("twill exec {} ping -q -c 2 {} | tail -2", from.name, to.address);
            let answer = show.run(&from.host, &ping)?;
            ensure!(answer.contains(" 0% packet loss"), "{} lost pings", from.name);
            pairs += 1;
        }
    }
    let rate = throughput(show, &containers[0], &containers[1], backend)?;
    Ok(Measured { backend, pairs, rate })
}

/// Ends what a round has started, so that the next one can begin.
pub(super) fn end(show: &Show, fabric: &mut Fabric) -> Result<()> {
    for number in 1..=fabric.lab().hosts().count() {
        show.run(fabric.node(number), &format!("twill rm -f c{number}"))?;
        show.say(&format!("node{number}# kill $(pidof twilld)"));
        fabric.stop_agent(number, Signal::SIGTERM)?;
    }
    Ok(())
}

fn start_agents(show: &mut Show, fabric: &mut Fabric) -> Result<()> {
    show.step("Start the agent on every host: it leases a subnet and makes the tunnel");
    let hosts = fabric.lab().hosts().count();
    for number in 1..=hosts {
        let command = format!("twilld --etcd-endpoints {}", etcd::ENDPOINT);
        show.background(fabric.node(number), &command);
        let took = fabric.start_agent(number)?;
        show.say(&format!("    ready after {} ms", took.as_millis()));
    }
    fabric.meet(hosts)?;
    show.run(fabric.node(1), &format!("cat {SUBNET_FILE} /run/flannel/docker"))?;
    Ok(())
}

fn start_containers(show: &mut Show, fabric: &Fabric) -> Result<Vec<Endpoint>> {
    show.step("Start a container with a web server on every host");
    let mut containers = Vec::new();
    for (index, host) in fabric.lab().hosts().enumerate() {
        let name = format!("c{}", index + 1);
        show.run(host, &format!("twill run -d --name {name} busybox httpd -f -h /"))?;
        let container = Endpoint::inspect(host, &name)?;
        show.say(&format!("    its address is {}", container.address));
        containers.push(container);
    }
    show.run(fabric.node(1), "twill ps")?;
    show.run(fabric.node(1), "twill exec c1 ip -4 address show dev eth0")?;
    Ok(containers)
}

fn look(show: &mut Show, fabric: &Fabric, backend: Backend) -> Result<()> {
    let (host, device) = (fabric.node(1), backend.device());
    show.step("Who has which subnet, and what the first host thinks");
    show.run(host, "twillctl lease list")?;
    show.run(host, "twillctl node list")?;
    show.run(host, "twillctl status")?;

    show.step("What the kernel has: the tunnel, its rows, the rules");
    show.run(host, &format!("ip -d link show {device}"))?;
    show.run(host, "ip route")?;
    if backend == Backend::Vxlan {
        show.run(host, &format!("ip neighbour show dev {device}"))?;
        show.run(host, &format!("bridge fdb show dev {device}"))?;
    }
    show.run(host, "iptables -S | grep -e FORWARD -e FLANNEL")?;
    Ok(())
}

fn throughput(show: &mut Show, from: &Endpoint, to: &Endpoint, backend: Backend) -> Result<f64> {
    show.step(&format!("{}: throughput of one TCP stream between containers", backend.name()));
    show.say("(sockets in the containers' own network namespaces; an iperf3 in both would do)");
    let rate = flow::throughput(from, to, STREAM)?;
    let (from, to) = (&from.name, &to.name);
    show.say(&format!("    {from} to {to}: {rate:.0} Mbit/s over {} s", STREAM.as_secs()));
    Ok(rate)
}
