//! A host loses its subnet to another while its containers run, and steps back with all of them.
//!
//! ```text
//!   node1: web, db, pod ── 10.88.a.0/24, taken by 192.168.140.99 ──► 10.88.b.0/24: web, db; pod is cut off
//!   node2: far ── talks to web and db, before and after
//! ```

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use twill_core::ids::Subnet;
use twill_core::status::Status;
use twill_integration::container::{CNI_CONFIGURATION, Endpoint, cni, cni_environment};
use twill_integration::fabric::{Backend, Fabric, SUBNET_FILE};
use twill_integration::{Host, may_build_labs, rights, status, wait_until};

/// What a busy machine may need for something that takes milliseconds on an idle one.
const LIMIT: Duration = Duration::from_secs(30);
/// A host that is not there.
const THIEF: &str = r#"{"PublicIP":"192.168.140.99","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:99"}}"#;

#[test]
fn a_host_steps_back_with_its_containers_over_vxlan() -> Result<()> {
    steps_back(Backend::Vxlan)
}

#[test]
fn a_host_steps_back_with_its_containers_over_udp() -> Result<()> {
    steps_back(Backend::Udp)
}

fn steps_back(backend: Backend) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::start(2, backend)?;
    let [one, two] = [1, 2].map(|number| fabric.node(number).clone());
    let sleep = ["sleep", "10000"];
    let web = Endpoint::container(&one, "web", &sleep)?;
    Endpoint::container(&one, "db", &sleep)?;
    let pod = Endpoint::pod(&one, "pod")?;
    let far = Endpoint::container(&two, "far", &sleep)?;
    far.ping(web.address)?;
    far.ping(pod.address)?;
    let former = status(&one)?.subnet;

    steal(&fabric, former)?;
    wait_until("node1 has another subnet", LIMIT, || {
        // Told of first, published when all is in place.
        published(&fabric).is_ok_and(|subnet| subnet != former)
            && status(&one).is_ok_and(|status| status.pending.is_empty())
    })?;
    let subnet = published(&fabric)?;
    let (new_web, new_db) = (moved(&one, "web", subnet)?, moved(&one, "db", subnet)?);
    let alone = || nothing_is_left(&one, former).is_ok();
    if wait_until("nothing is left of the former subnet", LIMIT, alone).is_err() {
        nothing_is_left(&one, former)?;
    }
    ensure!(new_web.network == web.network, "another process");
    published_for_docker(&one, subnet)?;

    let known = |status: Status| {
        status.pending.is_empty() && status.peers.iter().any(|peer| peer.subnet == subnet)
    };
    wait_until("node2 knows it", LIMIT, || status(&two).is_ok_and(known))?;
    for near in [&new_web, &new_db] {
        far.ping(near.address)?;
        near.ping(far.address)?;
        inside(near, former)?;
    }
    let late = Endpoint::container(&one, "late", &sleep)?;
    ensure!(subnet.contains(late.address), "{}", late.address);
    late.ping(new_web.address)?;
    order(&mut fabric, &pod)?;
    checks(&pod)?;

    if backend == Backend::Vxlan {
        mtu(&fabric, &[&new_web, &late, &far])?;
    }
    pod.remove_pod()?;
    for container in [new_web, new_db, late, far] {
        container.remove_container()?;
    }
    nothing_is_left(&one, former)?;
    deserted(&one)?;
    fabric.finish()
}

/// The subnet that containers of node1 are told of.
fn published(fabric: &Fabric) -> Result<Subnet> {
    Ok(fabric.subnet(1)?.subnet)
}

/// Waits until a container has an address there, and looks at it.
fn moved(host: &Host, name: &str, subnet: Subnet) -> Result<Endpoint> {
    let look = || Endpoint::inspect(host, name);
    wait_until(&format!("{name} has moved"), LIMIT, || {
        look().is_ok_and(|now| subnet.contains(now.address))
    })?;
    look()
}

fn published_for_docker(host: &Host, subnet: Subnet) -> Result<()> {
    let text = fs::read_to_string(host.path("/run/flannel/docker"))?;
    ensure!(text.contains(&format!("{}/{}", subnet.first_host(), subnet.len())), "{text}");
    Ok(())
}

/// No container has an interface or an address.
fn deserted(host: &Host) -> Result<()> {
    let ports = host.sh("ip -o link show type veth | grep -c ': tw' || true")?;
    ensure!(ports.trim() == "0", "interfaces are left: {ports}");
    let pool = host.sh("ls /var/lib/twill/endpoint | grep -c json || true")?;
    ensure!(pool.trim() == "0", "records are left: {pool}");
    Ok(())
}

/// One transaction, as an administrator's mistake or a lapse of the lease would look like.
fn steal(fabric: &Fabric, subnet: Subnet) -> Result<()> {
    let key = format!("/coreos.com/network/subnets/{}", subnet.to_string().replace('/', "-"));
    let text = format!("mod(\"{key}\") > \"0\"\n\nput {key} {}\n\n\n", quoted(THIEF));
    let command = ["env", "ETCDCTL_API=3", "etcdctl", "--endpoints", &fabric.endpoints(), "txn"];
    let said = fabric.node(1).run_with(command, text.as_bytes(), LIMIT)?.success()?;
    ensure!(said.stdout.contains("SUCCESS"), "{}", said.stdout);
    Ok(())
}

/// As etcdctl's transactions take it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}

/// No address, route or neighbour entry of the former subnet that leads to this host's bridge.
fn nothing_is_left(host: &Host, former: Subnet) -> Result<()> {
    let block = former.base().to_string();
    let prefix = block.rsplit_once('.').context("an address")?.0.to_owned() + ".";
    for table in
        [&["ip", "-o", "addr"][..], &["ip", "route", "show", "table", "all", "dev", "twill0"]]
    {
        let rows = host.ok(table)?;
        let rows = rows.lines().filter(|row| row.contains(&prefix) && !row.contains("flannel"));
        let rows: Vec<&str> = rows.collect();
        ensure!(rows.is_empty(), "{table:?}: {rows:?}");
    }
    let env = fs::read_to_string(host.path(SUBNET_FILE))?;
    ensure!(!env.contains(&prefix), "{env}");
    // The new owner is where its containers are looked for.
    let way = host.ok(["ip", "route", "get", &format!("{prefix}77")])?;
    ensure!(way.contains("flannel"), "{way}");
    Ok(())
}

/// What a program in the container sees of the network.
fn inside(container: &Endpoint, former: Subnet) -> Result<()> {
    let look = "cat /etc/hosts; ip -o addr show eth0; ip route";
    let seen = container.exec(&["sh", "-c", look])?;
    let base = former.base().to_string();
    let prefix = base.trim_end_matches(".0");
    ensure!(!seen.contains(&format!("{prefix}.")), "{seen}");
    ensure!(seen.contains(&format!("{}\t{}", container.address, container.name)), "{seen}");
    let text = container.host.ok(["twill", "inspect", &container.name])?;
    let known: Value = serde_json::from_str(&text)?;
    ensure!(!text.contains(&format!("{prefix}.")), "{known}");
    Ok(())
}

/// Each step is told after the one before it.
fn order(fabric: &mut Fabric, pod: &Endpoint) -> Result<()> {
    let left =
        format!("container pod (cni:twill) has {}, which is not this host's any more", pod.address);
    let agent = fabric.agent(1)?;
    wait_until("the pod is named", LIMIT, || agent.transcript().contains(&left))?;
    let said = agent.transcript();
    let mut rest = said.as_str();
    for words in
        ["ANOTHER HOST OWNS OUR SUBNET", "lease acquired", "bootstrap done", "subnet hook: ", &left]
    {
        rest =
            rest.split_once(words).with_context(|| format!("no `{words}` in its place: {said}"))?.1;
    }
    for name in ["web", "db"] {
        ensure!(said.contains(&format!(" {name}: ")), "{name} is not named: {said}");
    }
    ensure!(!said.contains("the subnet hook has failed"), "{said}");
    Ok(())
}

/// The pod's runtime learns from CHECK that it has to make it again.
fn checks(pod: &Endpoint) -> Result<()> {
    let variables = cni_environment("CHECK", &pod.name);
    let variables = variables.map(|(name, value)| format!("{name}={value}"));
    let argv = std::iter::once("env".to_owned()).chain(variables).chain(["twill-cni".to_owned()]);
    let said = pod.host.run_with(argv, CNI_CONFIGURATION.as_bytes(), LIMIT)?;
    let right = said.stdout.contains("\"code\": 105") && said.stdout.contains("make it again");
    ensure!(said.code != 0 && right, "{}", said.stdout);
    let other = Endpoint::pod(&pod.host, "other")?;
    cni(&pod.host, "CHECK", "other")?;
    other.remove_pod()
}

/// Another MTU reaches containers that run, through the hook.
fn mtu(fabric: &Fabric, containers: &[&Endpoint]) -> Result<()> {
    fabric.ctl(&["network", "set", "--mtu", "1300", "--yes"])?;
    wait_until("the devices have it", LIMIT, || {
        (1..=2)
            .all(|number| status(fabric.node(number)).is_ok_and(|status| status.mtu.bytes() < 1300))
    })?;
    let mtu = fabric.subnet(1)?.mtu.bytes();
    for container in containers {
        wait_until(&format!("{} has it", container.name), LIMIT, || {
            let seen = container.exec(&["cat", "/sys/class/net/eth0/mtu"]);
            seen.is_ok_and(|seen| seen.trim() == mtu.to_string())
        })?;
    }
    containers[0].ping_whole(containers[2].address, usize::try_from(mtu)?)
}

/// Under systemd the hook is a unit, which has these capabilities and no others.
#[test]
fn the_units_capabilities_are_enough_to_move_containers() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::bare(1)?;
    fabric.give_agents(&["--subnet-hook", "none"]);
    fabric.start_etcd()?;
    fabric.init_network(Backend::Vxlan)?;
    fabric.start_agent(1)?;
    let host = fabric.node(1).clone();
    Endpoint::import_image(&host)?;
    let web = Endpoint::container(&host, "web", &["sleep", "10000"])?;
    // What a dead one has left is cleared away too.
    let gone = Endpoint::container(&host, "gone", &["sleep", "10000"])?;
    let status_file = gone.network.replace("ns/net", "status");
    host.sh(&format!("kill -9 $(awk '/^PPid/ {{ print $2 }}' {status_file})"))?;
    let former = status(&host)?.subnet;
    steal(&fabric, former)?;
    // In the file, which is written last.
    wait_until("another subnet", LIMIT, || {
        published(&fabric).is_ok_and(|subnet| subnet != former)
    })?;
    let bounds = rights::of_unit(rights::SYNC)?;
    let sync = ["twill", "network", "sync"].map(str::to_owned);
    let said = host.ok(bounds.iter().chain(&sync))?;
    ensure!(said.contains(&format!("web: {} -> ", web.address)), "{said}");
    ensure!(fabric.subnet(1)?.subnet.contains(Endpoint::inspect(&host, "web")?.address), "{said}");
    let all = host.ok(["twill", "ps", "-a"])?;
    ensure!(all.lines().any(|row| row.contains("gone") && row.contains("Exited")), "{all}");
    for container in [web, gone] {
        container.remove_container()?;
    }
    fabric.finish()
}
