//! Containers of `twill` and pods of `twill-cni` on two hosts, in a network of IPv6.
//!
//! ```text
//!   node1: web ── twill0 ── flannel-v6.1 ══ fd00:140::1 ══ fd00:140::2 ══ flannel-v6.1 ── twill0 ── other, pod :node2
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use twill_core::ids::Subnet;
use twill_integration::container::Endpoint;
use twill_integration::fabric::Fabric;
use twill_integration::{Host, flow, may_build_labs, wait_until};

/// What a busy machine may need for something that takes milliseconds on an idle one.
const LIMIT: Duration = Duration::from_secs(30);
const SLEEP: [&str; 2] = ["sleep", "10000"];
/// A host that is not there.
const THIEF: &str = r#"{"PublicIP":"0.0.0.0","PublicIPv6":"fd00:140::99","BackendType":"vxlan","BackendV6Data":{"VNI":1,"VtepMAC":"02:00:00:00:00:99"}}"#;

#[test]
fn containers_of_ipv6_alone() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = hosts(&["--network", "fd00:88::/48"])?;
    let [one, two] = [1, 2].map(|number| fabric.node(number).clone());
    let web = Endpoint::container(&one, "web", &SLEEP)?;
    let other = Endpoint::container(&two, "other", &SLEEP)?;
    let pod = Endpoint::pod(&two, "pod")?;
    ensure!(web.address.is_ipv6() && web.ipv6.is_none(), "{web:?}");
    for (from, to) in [(&web, &other), (&other, &web), (&web, &pod), (&pod, &other)] {
        from.ping_whole(to.address, 1430)?;
    }
    for (from, to) in [(&web, &other), (&pod, &web)] {
        flow::transfer(from, to, 64 << 20)?;
    }
    let named = other.exec(&["cat", "/etc/hosts"])?;
    ensure!(named.contains(&format!("{}\tother", other.address)), "{named}");

    traces(&mut fabric, &other)?;
    let web = follows(&fabric, &web)?;
    wait_until("both hosts know", LIMIT, || other.ping_whole(web.address, 1430).is_ok())?;
    web.ping_whole(pod.address, 1430)?;
    pod.remove_pod()?;
    for container in [web, other] {
        container.remove_container()?;
    }
    for host in [&one, &two] {
        deserted(host)?;
    }
    fabric.finish()
}

/// Two hosts that know each other by IPv6 as well, with such a network, whose agents answer each other.
fn hosts(network: &[&str]) -> Result<Fabric> {
    let mut fabric = Fabric::bare(2)?;
    for number in 1..=2 {
        let address = format!("fd00:140::{number}/64");
        fabric.node(number).ok(["ip", "address", "add", &address, "dev", "eth0", "nodad"])?;
        fabric.node(number).ok(["ip6tables", "-P", "FORWARD", "DROP"])?;
    }
    let answer = ["--healthz-ip=::", "--healthz-port=8471"];
    fabric.give_agents(&[&["--iface=eth0", "--ip-masq"][..], &answer].concat());
    fabric.start_etcd()?;
    let init = ["network", "init", "--force", "--backend", "vxlan"];
    fabric.ctl(&[&init[..], network].concat())?;
    fabric.start_agents(1..=2)?;
    fabric.meet(2)?;
    fabric.lab().hosts().try_for_each(Endpoint::import_image)?;
    Ok(fabric)
}

/// The way is whole, and where it breaks it is said.
fn traces(fabric: &mut Fabric, other: &Endpoint) -> Result<()> {
    let one = fabric.node(1).clone();
    let there = other.address.to_string();
    let command = ["twillctl", "trace", "web", &there];
    let document = one.run(command.iter().copied().chain(["-o", "json"]))?.stdout;
    let trace: Value = serde_json::from_str(&document).context(document)?;
    ensure!(trace["verdict"] == "whole", "{trace:#}");
    let halves = [&trace["there"]["steps"], &trace["back"]["steps"], &trace["probes"]];
    let steps: Vec<&Value> = halves.into_iter().filter_map(Value::as_array).flatten().collect();
    // Under its unit the agent may not enter containers.
    let passes = |step: &&Value| step["outcome"] == "passes" || step["stage"] == "container";
    ensure!(steps.iter().all(passes), "{trace:#}");
    for stage in ["container", "bridge", "route", "neighbour", "fdb", "underlay", "peer", "mtu"] {
        ensure!(steps.iter().any(|step| step["stage"] == stage), "no {stage} in {trace:#}");
    }

    let breaks = |code: i32, words: &str| -> Result<()> {
        let said = one.run(command)?;
        let text = format!("{}{}", said.stdout, said.stderr);
        ensure!(said.code == code && text.contains(words), "{code} {words}: {text}");
        Ok(())
    };
    let twill0 =
        "ip -6 address show dev twill0 scope global | sed -n 's/.*inet6 \\([^ ]*\\).*/\\1/p'";
    let two = other.host.clone();
    let gateway = two.sh(twill0)?;
    two.ok(["ip", "-6", "address", "del", gateway.trim(), "dev", "twill0"])?;
    breaks(8, "broken at bridge on node2: twill0 has not the gateway's address")?;
    two.ok(["ip", "-6", "address", "add", gateway.trim(), "dev", "twill0", "nodad"])?;

    // Without its agent nothing is mended.
    fabric.stop_agent(1, Signal::SIGKILL)?;
    let base = fabric.subnet(2)?.subnet.base().to_string();
    one.ok(["ip", "-6", "neigh", "del", &base, "dev", "flannel-v6.1"])?;
    breaks(6, &format!("broken at neighbour on node1: the permanent neighbour {base}"))?;
    fabric.start_agent(1)?;
    fabric.meet(2)
}

/// Another host takes the subnet of node1, whose containers move to the next one with it. Answers where
/// `web` is then.
fn follows(fabric: &Fabric, web: &Endpoint) -> Result<Endpoint> {
    let former = fabric.subnet(1)?.subnet;
    let key = format!("/coreos.com/network/subnets/0.0.0.0-0&{}-{}", former.base(), former.len());
    fabric.node(1).ok(["env", "ETCDCTL_API=3", "etcdctl", "put", &key, THIEF])?;
    let look = || Endpoint::inspect(&web.host, "web");
    let published = || -> Result<Subnet> { Ok(fabric.subnet(1)?.subnet) };
    let moved = || {
        let (Ok(now), Ok(subnet)) = (look(), published()) else { return false };
        subnet != former && subnet.contains(now.address)
    };
    wait_until("web has moved", LIMIT, moved)?;
    let now = look()?;
    ensure!(now.network == web.network, "another process");
    let inside = now.exec(&["sh", "-c", "ip -6 addr show eth0; ip -6 route; cat /etc/hosts"])?;
    let subnet = published()?;
    ensure!(inside.contains(&format!("{}/64", now.address)), "{inside}");
    ensure!(inside.contains(&format!("default via {}", subnet.first_host())), "{inside}");
    let trimmed = former.base().to_string();
    ensure!(!inside.contains(&trimmed), "{inside}");
    Ok(now)
}

/// No container has an interface or an address.
fn deserted(host: &Host) -> Result<()> {
    let left = host.sh("ip -o link show type veth | grep ': tw' || true; \
         ls /var/lib/twill/endpoint | grep json || true")?;
    ensure!(left.trim().is_empty(), "{left}");
    Ok(())
}
