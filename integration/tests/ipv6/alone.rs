//! Networks of IPv6 alone: hosts that know each other by IPv6, and containers that have nothing else.

use std::fs;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use nix::sys::signal::Signal;
use twill_integration::fabric::{Fabric, SUBNET_FILE};
use twill_integration::{Host, may_build_labs, wait_until};

/// What a busy machine may need for something that takes milliseconds on an idle one.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn vxlan() -> Result<()> {
    network(&VXLAN)
}

#[test]
fn udp() -> Result<()> {
    network(&UDP)
}

#[test]
fn host_gw() -> Result<()> {
    network(&World { backend: "host-gw", device: "eth0", mtu: 1500 })
}

/// What is expected.
pub(super) struct World {
    pub(super) backend: &'static str,
    /// Where routes lead.
    pub(super) device: &'static str,
    pub(super) mtu: u32,
}

pub(super) const VXLAN: World = World { backend: "vxlan", device: "flannel-v6.1", mtu: 1430 };
pub(super) const UDP: World = World { backend: "udp", device: "flannel0-v6", mtu: 1452 };

fn network(world: &World) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::bare_of_both(2)?;
    fabric.give_agents(&["--iface=eth0", "--ip-masq"]);
    fabric.start_etcd()?;
    let init = ["network", "init", "--force", "--network", "fd00:88::/48", "--backend"];
    fabric.ctl(&[&init[..], &[world.backend]].concat())?;
    for number in 1..=2 {
        fabric.start_agent(number)?;
    }
    fabric.meet(2)?;

    leases(&fabric)?;
    // Before there is a bridge: the first container asks there as well.
    let told = fs::read_to_string(fabric.node(1).path("/run/twill/resolvers"))?;
    ensure!(told.starts_with("fd00:88:") && told.lines().count() == 1, "{told}");
    let [one, two] = [fabric.node(1).clone(), fabric.node(2).clone()];
    let ends = [container(&one)?, container(&two)?];
    ensure!(ends[0] != ends[1], "each host has a subnet of its own: {ends:?}");
    let text = fs::read_to_string(one.path(SUBNET_FILE))?;
    ensure!(text.contains(&format!("FLANNEL_MTU={}\n", world.mtu)), "{text}");
    both_ways(&one, &ends[1], world.mtu)?;

    heals(&fabric, &ends, world)?;
    let before = rows(&one)?;
    fabric.stop_agent(1, Signal::SIGKILL)?;
    if world.backend != "udp" {
        // The kernel goes on; a tunnel in user space goes with its process.
        both_ways(&one, &ends[1], world.mtu)?;
    }
    fabric.start_agent(1)?;
    fabric.meet(2)?;
    let after = rows(&one)?;
    ensure!(after == before, "it is not as before: {:#?}", difference(&before, &after));

    fabric.stop_agent(1, Signal::SIGTERM)?;
    one.ok(["twillctl", "host", "cleanup", "--yes"])?;
    let left = one.sh(
        "ip -6 route show proto 84; ip -o link show type vxlan; nft list tables | grep twill || true",
    )?;
    ensure!(left.trim().is_empty(), "something is left: {left}");
    ensure!(!one.sh("ip6tables-save")?.contains("FLANNEL"), "rules are left");
    fabric.finish()
}

/// By what a flanneld of IPv6 alone writes.
fn leases(fabric: &Fabric) -> Result<()> {
    let get =
        ["env", "ETCDCTL_API=3", "etcdctl", "get", "--prefix", "/coreos.com/network/subnets/"];
    let found = fabric.node(1).ok(get)?;
    let keys: Vec<&str> = found.lines().step_by(2).collect();
    ensure!(keys.len() == 2, "{found}");
    for key in keys {
        ensure!(key.contains("/subnets/0.0.0.0-0&fd00:88:0:") && key.ends_with("::-64"), "{key}");
    }
    for number in 1..=2 {
        let value = format!(r#"{{"PublicIP":"0.0.0.0","PublicIPv6":"fd00:140::{number}","#);
        ensure!(found.contains(&value), "{found}");
    }
    Ok(())
}

/// Makes what a container runtime would, of what the agent published: a namespace that has nothing but
/// IPv6. Answers its address.
pub(super) fn container(host: &Host) -> Result<String> {
    let text = fs::read_to_string(host.path(SUBNET_FILE))?;
    let gateway = text.lines().find_map(|line| line.strip_prefix("FLANNEL_IPV6_SUBNET="));
    let gateway = gateway.unwrap_or_default();
    let block = gateway.trim_end_matches("1/64");
    let mtu = text.lines().find_map(|line| line.strip_prefix("FLANNEL_MTU=")).unwrap_or_default();
    host.sh(&format!(
        "ip link add cni0 mtu {mtu} type bridge && ip address add {gateway} dev cni0 nodad && \
         ip link set cni0 up && ip netns add c0 && \
         ip link add c0 mtu {mtu} master cni0 type veth peer name eth0 mtu {mtu} netns c0 && \
         ip link set c0 up && ip -n c0 link set eth0 up && \
         ip -n c0 address add {block}2/64 dev eth0 nodad && \
         ip -n c0 route add default via {block}1"
    ))?;
    Ok(format!("{block}2"))
}

/// Whole packets reach the other host's container, from a container and from the host, and come back.
pub(super) fn both_ways(host: &Host, far: &str, mtu: u32) -> Result<()> {
    let size = mtu - 48;
    for from in ["ip netns exec c0 ", ""] {
        let ping = format!("{from}ping -6 -c 1 -W 1 -M do -s {size} {far}");
        wait_until(&ping, LIMIT, || host.sh(&ping).is_ok())?;
    }
    Ok(())
}

/// Whatever somebody takes away comes back, and what he adds beside it stays.
fn heals(fabric: &Fabric, ends: &[String; 2], world: &World) -> Result<()> {
    let host = fabric.node(1);
    let far = ends[1].trim_end_matches('2');
    host.ok(["ip", "-6", "route", "add", "fd00:99::/64", "dev", "lo"])?;
    let mut drift = vec![
        match world.backend {
            "udp" => "ip -6 route del fd00:88::/48".to_owned(),
            _other => format!("ip -6 route del {far}/64"),
        },
        "nft delete table ip6 twill-peers".to_owned(),
        "ip6tables -t nat -F FLANNEL-POSTRTG".to_owned(),
        "sysctl -qw net.ipv6.conf.all.forwarding=0".to_owned(),
    ];
    if world.backend == "vxlan" {
        let device = world.device;
        drift.push(format!("ip -6 neigh del {far} dev {device}"));
        drift.push(format!("ip -6 address flush dev {device} scope global"));
        drift.push(format!(
            "bridge fdb del $(bridge fdb show dev {device} | sed -n 's/ dst fd00.*//p') dev {device}"
        ));
        drift.push(format!("ip link del {device}"));
    }
    for row in drift {
        let before = rows(host)?;
        host.sh(&row)?;
        let healed = || rows(host).is_ok_and(|now| now == before);
        if wait_until(&row, LIMIT, healed).is_err() {
            bail!("{row}: {:#?}", difference(&before, &rows(host)?));
        }
        both_ways(host, &ends[1], world.mtu)?;
    }
    let foreign = host.sh("ip -6 route show fd00:99::/64")?;
    ensure!(foreign.contains("dev lo"), "{foreign}");
    host.ok(["ip", "-6", "route", "del", "fd00:99::/64", "dev", "lo"]).map(drop)
}

pub(super) fn difference(before: &[String], after: &[String]) -> Vec<String> {
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

/// What there is of IPv6 in the kernel, but for addresses that interfaces give themselves. The tool
/// calls an interface's other end by whatever has its number here, and a TUN device up only once its
/// process came again.
pub(super) fn rows(host: &Host) -> Result<Vec<String>> {
    let found = host.sh("(ip -br link; ip -6 -br address show scope global) | \
         sed 's/@[^ ]*//; s/UNKNOWN/UP/'; ip -6 route; \
         ip -6 neighbour show nud permanent; bridge fdb show | grep -v master; ip6tables-save; \
         nft list table ip6 twill-peers; cat /proc/sys/net/ipv6/conf/all/forwarding")?;
    let fleeting = ["#", ":", "fe80:", "33:33:", "01:00:5e:"];
    let lines = found.lines().filter(|line| !fleeting.iter().any(|word| line.starts_with(word)));
    let lines = lines.filter(|line| !line.contains("packets "));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = lines.map(words).collect();
    lines.sort_unstable();
    Ok(lines)
}
