//! Ports of a container, reached from other hosts.
//!
//! ```text
//!   node1 192.168.140.22:8080 ──► web 10.88.a.2:80
//!   node2 192.168.140.23 ── asks by both networks, its container by the overlay
//! ```

use std::time::Duration;

use anyhow::Result;
use twill_integration::container::Endpoint;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::{Host, may_build_labs, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
const SERVE: &str = "while :; do hostname | nc -l -p 80; done";

#[test]
fn a_published_port_is_reached_from_other_hosts_and_comes_back() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = Fabric::start(2, Backend::Vxlan)?;
    let (here, there) = (fabric.node(1), fabric.node(2));
    here.ok(["iptables", "-P", "FORWARD", "DROP"])?;
    let run = ["twill", "run", "-d", "--name", "web", "-h", "web", "-p", "8080:80", "busybox"];
    here.ok(run.iter().chain(&["sh", "-c", SERVE]))?;
    let far = Endpoint::container(there, "far", &["sleep", "10000"])?;
    let near = Endpoint::container(here, "near", &["sleep", "10000"])?;
    let gateway = fabric.subnet(1)?.subnet.first_host().to_string();
    for place in ["192.168.140.22", &gateway] {
        let ask = format!("busybox nc -w 3 {place} 8080 </dev/null");
        answers(&format!("node2 at {place}"), || there.sh(&ask))?;
        answers(&format!("node1 at {place}"), || here.sh(&ask))?;
        let ask = format!("nc -w 3 {place} 8080 </dev/null");
        // No host masquerades here, so to a container of another host this one's own address is its gateway's.
        let within = [&near, &far].into_iter().filter(|it| it.name == "near" || place == gateway);
        for container in within {
            let name = format!("{} at {place}", container.name);
            answers(&name, || container.exec(&["sh", "-c", &ask]))?;
        }
    }
    let local = "busybox nc -w 3 127.0.0.1 8080 </dev/null";
    answers("node1 at 127.0.0.1", || here.sh(local))?;
    // Somebody throws all rules away.
    here.sh("nft flush ruleset; iptables -P FORWARD DROP")?;
    let back = || here.sh(local).is_ok_and(|said| said.trim() == "web");
    wait_until("the agent puts the rules back", LIMIT, back)?;
    // All of the container's processes are gone at once: nobody could clear up, so the agent does.
    let pid = here.ok(["twill", "inspect", "-f", "{{.State.Pid}}", "web"])?;
    here.sh(&format!("kill -9 $(sed -n 's/^PPid:.//p' /proc/{}/status)", pid.trim()))?;
    let gone = || rules(here).is_ok_and(|rules| !rules.contains("8080"));
    wait_until("the agent takes the rules away", LIMIT, gone)?;
    fabric.finish()
}

/// Whoever answers may be between two clients.
fn answers(what: &str, ask: impl Fn() -> Result<String>) -> Result<()> {
    let web = || ask().is_ok_and(|said| said.trim() == "web");
    wait_until(&format!("web answers {what}"), LIMIT, web).map(drop)
}

fn rules(host: &Host) -> Result<String> {
    host.sh("nft list ruleset; iptables-save")
}
