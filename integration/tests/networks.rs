//! Two hosts in two networks: containers reach each other within each, across hosts and on one, and
//! nobody across.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use twill_core::ids::Subnet;
use twill_integration::container::cni_environment;
use twill_integration::{Daemon, Endpoint, Fabric, Host, may_build_labs, wait_until};

const NETWORKS: [(&str, &str, &[&str]); 2] = [
    ("blue", "10.88.0.0/16", &["--backend", "vxlan"]),
    ("green", "10.89.0.0/16", &["--backend", "udp"]),
];

const READY: Duration = Duration::from_secs(30);

#[test]
fn containers_reach_their_own_network_and_no_other_with_iptables() -> Result<()> {
    containers_reach_their_own_network_and_no_other("--firewall=iptables")
}

#[test]
fn containers_reach_their_own_network_and_no_other_with_nftables() -> Result<()> {
    containers_reach_their_own_network_and_no_other("--firewall=nftables")
}

fn containers_reach_their_own_network_and_no_other(engine: &str) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::bare(2)?;
    fabric.start_etcd()?;
    for (name, range, options) in NETWORKS {
        let init = ["--network-name", name, "network", "init", "--network", range];
        fabric.ctl(&[&init[..], options].concat())?;
    }
    fabric.give_agents(&["--networks=blue,green", engine, "--ip-masq"]);
    let hosts = [fabric.node(1).clone(), fabric.node(2).clone()];
    let agents = [fabric.spawn_agent(&hosts[0])?, fabric.spawn_agent(&hosts[1])?];
    for (host, agent) in hosts.iter().zip(&agents) {
        knows(host, agent, &NETWORKS.map(|(name, ..)| name))?;
    }
    let mut pods = Vec::new();
    for (number, host) in (1..).zip(&hosts) {
        for (network, ..) in NETWORKS {
            pods.push((network, pod(host, network, &format!("{network}{number}"))?));
        }
    }
    stay_apart(&pods)?;
    // Somebody opens everything.
    for host in &hosts {
        host.ok(["iptables", "-I", "FORWARD", "-j", "ACCEPT"])?;
    }
    let (blue, green) = (&pods[0].1, &pods[3].1);
    ensure!(ping(blue, green.address).is_err(), "an accept of others opens nothing");
    tells(&hosts[0], (blue, green))?;
    agents.into_iter().try_for_each(|agent| agent.terminate(READY).map(drop))?;
    for host in &hosts {
        is_clean_after_a_cleanup(host)?;
    }
    fabric.finish()
}

/// What others made stays: a bridge that is called as ours are, one with a hardware address like theirs, a
/// pair on it.
fn is_clean_after_a_cleanup(host: &Host) -> Result<()> {
    host.sh("ip link add twill-other type bridge && \
         ip link add docker9 address 02:42:0a:07:01:01 type bridge && \
         ip link add tw0123456789 type veth peer name tw1 && \
         ip link set tw0123456789 master docker9")?;
    let refused = host.run(["twillctl", "host", "cleanup", "--yes"])?;
    ensure!(refused.code != 0, "containers are on bridges of ours: {refused:?}");
    host.ok(["twillctl", "host", "cleanup", "--yes", "--force"])?;
    let left = host.sh("ip -o link; ip route; nft list ruleset; iptables-save")?;
    for word in ["flannel", "TWILL-", "twill-peers", "proto 84", "twill-blue", "twill-green"] {
        ensure!(!left.contains(word), "{word} is left on {}: {left}", host.name());
    }
    let pairs = left.lines().filter(|line| line.contains(": tw0") || line.contains("@if"));
    let ours: Vec<&str> = pairs.filter(|line| line.contains("master twill")).collect();
    ensure!(ours.is_empty(), "{ours:?}");
    for other in ["twill-other", "docker9", "tw0123456789@tw1"] {
        ensure!(left.contains(other), "{other} was taken from {}: {left}", host.name());
    }
    ensure!(!host.path("/run/twill/networks").exists());
    let pool = host.sh("ls /var/lib/twill/endpoint | grep json || true")?;
    ensure!(pool.is_empty(), "addresses are left: {pool}");
    Ok(())
}

/// Two hosts that are told of no network, and one that comes and goes while another one carries packets.
#[test]
fn a_network_that_comes_carries_packets_and_leaves_nothing_when_it_goes() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::bare(2)?;
    fabric.start_etcd()?;
    let init = |(name, range, options): (&'static str, &'static str, &'static [&'static str])| {
        [&["--network-name", name, "network", "init", "--network", range][..], options].concat()
    };
    fabric.ctl(&init(NETWORKS[0]))?;
    fabric.give_agents(&["--watch-networks", "--ip-masq"]);
    let hosts = [fabric.node(1).clone(), fabric.node(2).clone()];
    let agents = [fabric.spawn_agent(&hosts[0])?, fabric.spawn_agent(&hosts[1])?];
    let all_know = |networks: &[&str]| -> Result<()> {
        hosts.iter().zip(&agents).try_for_each(|(host, agent)| knows(host, agent, networks))
    };
    all_know(&["blue"])?;
    let blue = [pod(&hosts[0], "blue", "blue1")?, pod(&hosts[1], "blue", "blue2")?];
    ping(&blue[0], blue[1].address)?;
    // As it was, but for the bridge and the network of the pods.
    let look = |host: &Host| {
        host.sh("ip -o link | cut -d' ' -f2 | cut -d@ -f1; ip route; ip neigh show nud permanent; nft list tables; \
                 ls /run/twill/networks /var/lib/twill/agent/networks")
    };
    let before = [look(&hosts[0])?, look(&hosts[1])?];
    fabric.ctl(&init(NETWORKS[1]))?;
    all_know(&["blue", "green"])?;
    let green = [pod(&hosts[0], "green", "green1")?, pod(&hosts[1], "green", "green2")?];
    ping(&green[0], green[1].address)?;
    ensure!(ping(&blue[0], green[1].address).is_err(), "they are apart");
    ping(&blue[1], blue[0].address)?;
    for (host, name) in hosts.iter().zip(["green1", "green2"]) {
        host.ok(["ip", "netns", "del", name])?;
        host.ok(["ip", "link", "del", "twill-green"])?;
    }
    etcdctl(&fabric, "del /coreos.com/network/green/config")?;
    for (host, before) in hosts.iter().zip(&before) {
        let same = || look(host).is_ok_and(|now| now == *before);
        wait_until(&format!("nothing is left on {}", host.name()), READY, same)
            .with_context(|| format!("{before}\n\nand now\n{}", look(host).unwrap_or_default()))?;
    }
    let left = etcdctl(&fabric, "get --prefix --keys-only /coreos.com/network/green/")?;
    ensure!(left.trim().is_empty(), "in etcd: {left}");
    ping(&blue[0], blue[1].address)?;
    agents.into_iter().try_for_each(|agent| agent.terminate(READY).map(drop))?;
    for host in &hosts {
        host.ok(["twillctl", "host", "cleanup", "--yes", "--force"])?;
    }
    fabric.finish()
}

/// Each with each other, and with the bridge of the other network of its host.
fn stay_apart(pods: &[(&str, Endpoint)]) -> Result<()> {
    for (network, from) in pods {
        for (other, to) in pods.iter().filter(|(_, to)| to.name != from.name) {
            let answers = ping(from, to.address);
            ensure!(
                answers.is_ok() == (network == other),
                "{} to {}: {answers:?}",
                from.name,
                to.name
            );
        }
        // Neither by an address of the host itself.
        let theirs =
            pods.iter().find(|(other, to)| other != network && to.host.name() == from.host.name());
        let (_, theirs) = theirs.context("there is one")?;
        let block = Subnet::containing(theirs.address, 24).context("it is of IPv4")?;
        ensure!(ping(from, block.first_host()).is_err(), "{} to the other bridge", from.name);
    }
    Ok(())
}

/// What an administrator sees of it.
fn tells(host: &Host, (blue, green): (&Endpoint, &Endpoint)) -> Result<()> {
    let status = host.ok(["twillctl", "status"])?;
    ensure!(status.contains("NETWORK blue") && status.contains("NETWORK green"), "{status}");
    let status = host.ok(["twillctl", "--network-name", "green", "status"])?;
    ensure!(!status.contains("NETWORK") && status.contains("flannel8285"), "{status}");
    let unknown = host.run(["twillctl", "--network-name", "red", "status"])?;
    ensure!(unknown.code == 4 && unknown.stderr.contains("in blue, green"), "{unknown:?}");
    let peers = host.ok(["twillctl", "peers"])?;
    ensure!(peers.contains("NETWORK") && peers.lines().count() == 3, "{peers}");
    let doctor = host.run(["twillctl", "doctor"])?;
    for line in ["blue: rows", "green: rows", "blue: configuration", "green: configuration"] {
        ensure!(doctor.stdout.contains(line), "{line}: {doctor:?}");
    }
    let (from, to) = (blue.address.to_string(), green.address.to_string());
    let trace = host.run(["twillctl", "trace", &from, &to])?;
    let why = "is in network blue and";
    ensure!(trace.code == 4 && trace.stderr.contains(why), "{trace:?}");
    Ok(())
}

fn etcdctl(fabric: &Fabric, words: &str) -> Result<String> {
    let endpoints = fabric.endpoints();
    fabric.node(1).sh(&format!("ETCDCTL_API=3 etcdctl --endpoints={endpoints} {words}"))
}

/// Its peer in each of these.
fn knows(host: &Host, agent: &Daemon, networks: &[&str]) -> Result<()> {
    let known = || -> Result<bool> {
        let peers = host.ok(["twillctl", "peers", "-o", "json"])?;
        let peers: Value = serde_json::from_str(&peers)?;
        let placed = |network: &str| {
            let mut rows = peers.as_array().into_iter().flatten();
            rows.any(|row| row["network"] == network && row["state"] == "in-place")
        };
        Ok(networks.iter().all(|name| placed(name)))
    };
    wait_until(&format!("{} knows its peers", host.name()), READY, || {
        !agent.is_running() || known().unwrap_or_default()
    })?;
    ensure!(agent.is_running(), "it ended: {}", agent.transcript());
    Ok(())
}

fn pod(host: &Host, network: &str, name: &str) -> Result<Endpoint> {
    host.ok(["ip", "netns", "add", name])?;
    let configuration = json!({
        "cniVersion": "1.1.0", "name": network, "type": "twill-cni",
        "bridge": format!("twill-{network}"),
        "subnetFile": format!("/run/twill/networks/{network}.env"),
        "stateDir": format!("/var/lib/twill/endpoint-{network}"),
    });
    let variables = cni_environment("ADD", name).map(|(name, value)| format!("{name}={value}"));
    let argv = std::iter::once("env".to_owned()).chain(variables).chain(["twill-cni".to_owned()]);
    let added = host.run_with(argv, configuration.to_string().as_bytes(), READY)?.success()?;
    let result: Value = serde_json::from_str(&added.stdout)?;
    let address = result["ips"][0]["address"].as_str().context("an address")?;
    let address = address.split('/').next().context("an address")?.parse()?;
    let network = format!("/run/netns/{name}");
    Ok(Endpoint { host: host.clone(), name: name.to_owned(), address, ipv6: None, network })
}

fn ping(from: &Endpoint, to: IpAddr) -> Result<()> {
    from.ping_with(to, &["-c", "1", "-W", "1"]).map(drop)
}
