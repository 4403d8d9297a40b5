//! Containers of `twill` and pods of `twill-cni` on two hosts, in networks of IPv6, alone and beside IPv4.
//!
//! ```text
//!   node1: web ── twill0 ── flannel-v6.1 ══ fd00:140::1 ══ fd00:140::2 ══ flannel-v6.1 ── twill0 ── other, pod :node2
//! ```

use std::net::IpAddr;
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

const THIEF_OF_BOTH: &str = r#"{"PublicIP":"192.168.140.99","PublicIPv6":"fd00:140::99","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:98"},"BackendV6Data":{"VNI":1,"VtepMAC":"02:00:00:00:00:99"}}"#;

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

    traces(&fabric, &other)?;
    traces_without_its_agent(&mut fabric, &other)?;
    let web = follows(&fabric, &web)?;
    wait_until("both hosts know", LIMIT, || other.ping_whole(web.address, 1430).is_ok())?;
    web.ping_whole(pod.address, 1430)?;
    leave(fabric, pod, [web, other])
}

#[test]
fn containers_of_both_families() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = hosts(&["--network", "10.88.0.0/16", "--ipv6-network", "fd00:88::/48"])?;
    let [one, two] = [1, 2].map(|number| fabric.node(number).clone());
    let web = Endpoint::container(&one, "web", &SLEEP)?;
    let other = Endpoint::container(&two, "other", &SLEEP)?;
    let pod = Endpoint::pod(&two, "pod")?;
    for (from, to) in [(&web, &other), (&other, &web), (&web, &pod), (&pod, &other)] {
        for address in addresses(to) {
            from.ping_whole(address, 1430)?;
        }
    }
    for (from, to) in [(&web, &other), (&pod, &web)] {
        flow::transfer(from, to, 64 << 20)?;
        flow::transfer(&by_ipv6(from)?, &by_ipv6(to)?, 64 << 20)?;
    }
    for end in [&other, &by_ipv6(&other)?] {
        traces(&fabric, end)?;
    }
    traces_without_its_agent(&mut fabric, &other)?;
    let web = follows(&fabric, &web)?;
    for address in addresses(&web) {
        let reached = || other.ping_whole(address, 1430).is_ok();
        wait_until("both hosts know", LIMIT, reached)?;
    }
    leave(fabric, pod, [web, other])
}

/// A network of IPv4 gets IPv6 and loses it again, and its containers with it, while they talk.
#[test]
fn containers_get_ipv6_and_lose_it() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = hosts(&["--network", "10.88.0.0/16"])?;
    let web = Endpoint::container(fabric.node(1), "web", &SLEEP)?;
    let other = Endpoint::container(fabric.node(2), "other", &SLEEP)?;
    let look = |of: &Endpoint| Endpoint::inspect(&of.host, &of.name);
    let both = |wanted: bool| {
        [&web, &other].iter().all(|it| look(it).is_ok_and(|now| now.ipv6.is_some() == wanted))
    };
    fabric.ctl(&["network", "set", "--ipv6-network", "fd00:88::/48", "--yes"])?;
    wait_until("both have IPv6", LIMIT, || both(true))?;
    let (grown, far) = (look(&web)?, look(&other)?);
    ensure!((grown.address, far.address) == (web.address, other.address), "IPv4 has moved");
    for address in addresses(&far) {
        let reached = || grown.ping_whole(address, 1430).is_ok();
        wait_until("both hosts know", LIMIT, reached)?;
    }
    fabric.ctl(&["network", "set", "--ipv6-network", "default", "--yes"])?;
    wait_until("both have lost IPv6", LIMIT, || both(false))?;
    web.ping(other.address)?;
    let left = || {
        let bridge = web.host.sh("ip -6 -o address show dev twill0 scope global; ip -6 route");
        let inside = web.exec(&["ip", "-6", "route"]);
        [bridge, inside]
            .iter()
            .all(|text| text.as_ref().is_ok_and(|text| !text.contains("fd00:88")))
    };
    wait_until("nothing of it is left", LIMIT, left)?;
    for container in [web, other] {
        container.remove_container()?;
    }
    fabric.finish()
}

fn addresses(of: &Endpoint) -> Vec<IpAddr> {
    [of.address].into_iter().chain(of.ipv6).collect()
}

/// The same, known by its other address.
fn by_ipv6(of: &Endpoint) -> Result<Endpoint> {
    Ok(Endpoint { address: of.ipv6.context("it has both")?, ..of.clone() })
}

/// Two hosts that know each other by IPv6 as well, with such a network, whose agents answer each other.
fn hosts(network: &[&str]) -> Result<Fabric> {
    let mut fabric = Fabric::bare_of_both(2)?;
    let answer = ["--healthz-ip=::", "--healthz-port=8471"];
    fabric.give_agents(&[&["--iface=eth0", "--ip-masq"][..], &answer].concat());
    fabric.start_etcd()?;
    let init = ["network", "init", "--force", "--backend", "vxlan"];
    fabric.ctl(&[&init[..], network].concat())?;
    fabric.start_agents(1..=2)?;
    for number in 1..=2 {
        meets(&fabric, number)?;
    }
    fabric.lab().hosts().try_for_each(Endpoint::import_image)?;
    Ok(fabric)
}

/// The way is whole, and where it breaks it is said.
fn traces(fabric: &Fabric, other: &Endpoint) -> Result<()> {
    let one = fabric.node(1);
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

    let block = block_of(fabric, other)?;
    let gateway = format!("{}/{}", block.first_host(), block.len());
    let two = &other.host;
    two.ok(["ip", "address", "del", &gateway, "dev", "twill0"])?;
    breaks(one, other, (8, "broken at bridge on node2: twill0 has not the gateway's address"))?;
    two.ok(["ip", "address", "add", &gateway, "dev", "twill0"]).map(drop)
}

/// By what it left on disk; without it nothing is mended.
fn traces_without_its_agent(fabric: &mut Fabric, other: &Endpoint) -> Result<()> {
    fabric.stop_agent(1, Signal::SIGKILL)?;
    let one = fabric.node(1);
    let base = block_of(fabric, other)?.base().to_string();
    let device = if other.address.is_ipv4() { "flannel.1" } else { "flannel-v6.1" };
    one.ok(["ip", "neigh", "del", &base, "dev", device])?;
    let words = format!("broken at neighbour on node1: the permanent neighbour {base}");
    breaks(one, other, (6, &words))?;
    fabric.start_agent(1)?;
    meets(fabric, 1)
}

/// What a trace from `web` to it says.
fn breaks(one: &Host, other: &Endpoint, (code, words): (i32, &str)) -> Result<()> {
    let said = one.run(["twillctl", "trace", "web", &other.address.to_string()])?;
    let text = format!("{}{}", said.stdout, said.stderr);
    ensure!(said.code == code && text.contains(words), "{code} {words}: {text}");
    Ok(())
}

/// The block of node2 that its address is of.
fn block_of(fabric: &Fabric, other: &Endpoint) -> Result<Subnet> {
    let env = fabric.subnet(2)?;
    let mut blocks = env.blocks().map(|blocks| blocks.subnet);
    blocks.find(|block| block.contains(other.address)).context("its host's block")
}

/// Waits until a host knows the other one in each family.
fn meets(fabric: &Fabric, number: usize) -> Result<()> {
    let families = fabric.subnet(number).map_or(1, |env| env.blocks().count());
    fabric.knows(number, families)
}

/// Another host takes the subnet of node1, whose containers move to the next one with it. Answers where
/// `web` is then.
fn follows(fabric: &Fabric, web: &Endpoint) -> Result<Endpoint> {
    let former = fabric.subnet(1)?;
    let key = |block: Subnet| format!("{}-{}", block.base(), block.len());
    let (ipv4, ipv6) = match former.ipv6 {
        Some(ipv6) => (key(former.subnet), ipv6.subnet()),
        None => ("0.0.0.0-0".to_owned(), former.subnet),
    };
    let key = format!("/coreos.com/network/subnets/{ipv4}&{}", key(ipv6));
    let thief = if former.ipv6.is_some() { THIEF_OF_BOTH } else { THIEF };
    fabric.node(1).ok(["env", "ETCDCTL_API=3", "etcdctl", "put", &key, thief])?;
    let look = || Endpoint::inspect(&web.host, "web");
    let moved = || {
        let (Ok(now), Ok(env)) = (look(), fabric.subnet(1)) else { return false };
        let mut pairs = env.blocks().zip(addresses(&now));
        env != former && pairs.all(|(blocks, address)| blocks.subnet.contains(address))
    };
    wait_until("web has moved", LIMIT, moved)?;
    let now = look()?;
    ensure!(now.network == web.network, "another process");
    let look = "ip addr show eth0; ip route; ip -6 route; cat /etc/hosts";
    let inside = now.exec(&["sh", "-c", look])?;
    for (blocks, address) in fabric.subnet(1)?.blocks().zip(addresses(&now)) {
        ensure!(inside.contains(&format!("{address}/{}", blocks.subnet.len())), "{inside}");
        let gateway = blocks.subnet.first_host();
        ensure!(inside.contains(&format!("default via {gateway} ")), "{inside}");
    }
    for address in addresses(web) {
        ensure!(
            !inside.split([' ', '/', '\t']).any(|word| word == address.to_string()),
            "{inside}"
        );
    }
    Ok(now)
}

/// All go, and nothing of them is left.
fn leave(fabric: Fabric, pod: Endpoint, containers: [Endpoint; 2]) -> Result<()> {
    pod.remove_pod()?;
    containers.into_iter().try_for_each(Endpoint::remove_container)?;
    fabric.lab().hosts().try_for_each(deserted)?;
    fabric.finish()
}

/// No container has an interface or an address.
fn deserted(host: &Host) -> Result<()> {
    let left = host.sh("ip -o link show type veth | grep ': tw' || true; \
         ls /var/lib/twill/endpoint | grep json || true")?;
    ensure!(left.trim().is_empty(), "{left}");
    Ok(())
}
