//! Networks of both families: each host has a subnet of each, under one key.

use std::fs;
use std::net::{IpAddr, UdpSocket};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use twill_integration::fabric::{Fabric, SUBNET_FILE};
use twill_integration::{Host, may_build_labs, wait_until, within};

use super::alone::{LIMIT, difference, rows};

const VXLAN: World = World {
    backend: "vxlan",
    engine: "iptables",
    devices: ["flannel.1", "flannel-v6.1"],
    mtu: 1430,
    options: &[],
};
const UDP: World =
    World { backend: "udp", devices: ["flannel0", "flannel0-v6"], mtu: 1452, ..VXLAN };
/// Packets of IPv4 take it, those of IPv6 none.
const SHORTCUT: World = World { options: &["--udp-shortcut=auto"], ..UDP };
const HOST_GW: World = World { backend: "host-gw", devices: ["eth0", "eth0"], mtu: 1500, ..VXLAN };

#[test]
fn vxlan() -> Result<()> {
    network(&VXLAN)
}

#[test]
fn udp() -> Result<()> {
    network(&UDP)
}

#[test]
fn udp_by_the_shortcut() -> Result<()> {
    network(&SHORTCUT)
}

#[test]
fn host_gw() -> Result<()> {
    network(&HOST_GW)
}

#[test]
fn vxlan_with_nftables() -> Result<()> {
    network(&World { engine: "nftables", ..VXLAN })
}

#[test]
fn host_gw_with_nftables() -> Result<()> {
    network(&World { engine: "nftables", ..HOST_GW })
}

/// Nothing but subnets: others carry the packets.
#[test]
fn alloc() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = fabric()?;
    let config = r#"{"Network":"10.88.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:88::/48","Backend":{"Type":"alloc"}}"#;
    let put = ["env", "ETCDCTL_API=3", "etcdctl", "put", "/coreos.com/network/config", config];
    fabric.node(1).ok(put)?;
    fabric.start_agents(1..=2)?;
    fabric.knows(1, 2)?;
    fabric.knows(2, 2)?;
    let found = [ends(fabric.node(1))?, ends(fabric.node(2))?];
    leases(&fabric, &found)?;
    for number in 1..=2 {
        let host = fabric.node(number);
        let text = fs::read_to_string(host.path(SUBNET_FILE))?;
        ensure!(text.contains("FLANNEL_MTU=1500\n"), "{text}");
        let rows = host.sh(
            "ip route show proto 84; ip -6 route show proto 84; ip -o link show | grep flannel || true",
        )?;
        ensure!(rows.trim().is_empty(), "{rows}");
    }
    fabric.finish()
}

/// What is expected.
struct World {
    backend: &'static str,
    /// What writes the firewall's rules.
    engine: &'static str,
    /// Where the routes of each family lead.
    devices: [&'static str; 2],
    mtu: u32,
    /// What agents are told besides.
    options: &'static [&'static str],
}

pub(super) fn fabric() -> Result<Fabric> {
    let mut fabric = Fabric::bare_of_both(2)?;
    fabric.give_agents(&["--iface=eth0", "--ip-masq"]);
    fabric.start_etcd()?;
    Ok(fabric)
}

fn network(world: &World) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = fabric()?;
    let engine = format!("--firewall={}", world.engine);
    fabric.give_agents(&[&["--iface=eth0", "--ip-masq", &engine], world.options].concat());
    let init = ["network", "init", "--network", "10.88.0.0/16", "--ipv6-network", "fd00:88::/48"];
    fabric.ctl(&[&init[..], &["--force", "--backend", world.backend]].concat())?;
    fabric.start_agents(1..=2)?;
    fabric.knows(1, 2)?;
    fabric.knows(2, 2)?;

    let [one, two] = [fabric.node(1).clone(), fabric.node(2).clone()];
    let ends = [container(&one)?, container(&two)?];
    leases(&fabric, &ends)?;
    let text = fs::read_to_string(one.path(SUBNET_FILE))?;
    ensure!(text.contains(&format!("FLANNEL_MTU={}\n", world.mtu)), "{text}");
    sizes(&one, world)?;
    both_ways(&one, &ends[1], world.mtu)?;
    masquerades(&fabric, &ends)?;

    heals(&one, &ends[1], world)?;
    let before = all_rows(&one)?;
    fabric.stop_agent(1, Signal::SIGKILL)?;
    if world.backend == "vxlan" {
        known_from_disk(&one, &ends)?;
    }
    if world.backend != "udp" {
        // The kernel goes on; a tunnel in user space goes with its process.
        both_ways(&one, &ends[1], world.mtu)?;
    }
    fabric.start_agent(1)?;
    fabric.knows(1, 2)?;
    let after = all_rows(&one)?;
    ensure!(after == before, "it is not as before: {:#?}", difference(&before, &after));
    ensure!(fs::read_to_string(one.path(SUBNET_FILE))? == text, "subnet.env is another one");
    one.ok(["twillctl", "doctor"])?;

    fabric.stop_agent(1, Signal::SIGTERM)?;
    one.ok(["twillctl", "host", "cleanup", "--yes"])?;
    let left = one.sh(
        "ip route show proto 84; ip -6 route show proto 84; ip -o link show | grep flannel; \
         nft list tables | grep twill || true",
    )?;
    ensure!(left.trim().is_empty(), "something is left: {left}");
    for save in ["iptables-save", "ip6tables-save"] {
        let rules = one.sh(save)?;
        ensure!(!rules.contains("FLANNEL") && !rules.contains("TWILL"), "rules are left: {rules}");
    }
    fabric.finish()
}

/// A network of IPv4 gets IPv6 and loses it again while containers run: they keep their addresses.
#[test]
fn ipv6_comes_and_goes() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = fabric()?;
    let init = ["network", "init", "--network", "10.88.0.0/16", "--backend", "vxlan", "--force"];
    fabric.ctl(&init)?;
    fabric.start_agents(1..=2)?;
    fabric.meet(2)?;
    let [one, two] = [fabric.node(1).clone(), fabric.node(2).clone()];
    let [before, far] = [container(&one)?, container(&two)?];
    both_ways(&one, &far, 1430)?;
    fabric.ctl(&["network", "set", "--ipv6-network", "fd00:88::/48", "--yes"])?;
    fabric.knows(1, 2)?;
    fabric.knows(2, 2)?;
    let grown = [one.clone(), two.clone()].map(|host| ends(&host));
    for (grown, was) in grown.into_iter().zip([&before, &far]) {
        let grown = grown?;
        ensure!(grown.ipv4 == was.ipv4 && grown.ipv6.is_some(), "{grown:?} was {was:?}");
    }
    both_ways(&one, &far, 1430)?;
    fabric.ctl(&["network", "set", "--ipv6-network", "default", "--yes"])?;
    fabric.meet(2)?;
    wait_until("subnet.env is of IPv4 alone", LIMIT, || ends(&one).is_ok_and(|end| end == before))?;
    both_ways(&one, &far, 1430)?;
    wait_until("nothing of IPv6 is left", LIMIT, || {
        let left = one.sh("ip -o link show | grep flannel-v6; ip6tables-save | grep FLANNEL; true");
        left.is_ok_and(|left| left.trim().is_empty())
    })?;
    fabric.finish()
}

/// Where a container of a host is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Ends {
    pub(super) ipv4: String,
    pub(super) ipv6: Option<String>,
}

/// The second host address of each subnet that the agent published.
fn ends(host: &Host) -> Result<Ends> {
    let text = fs::read_to_string(host.path(SUBNET_FILE))?;
    let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let Some(ipv4) = of("FLANNEL_SUBNET=") else { bail!("no IPv4: {text}") };
    let ipv6 = of("FLANNEL_IPV6_SUBNET=");
    Ok(Ends {
        ipv4: format!("{}2", ipv4.trim_end_matches("1/24")),
        ipv6: ipv6.map(|block| format!("{}2", block.trim_end_matches("1/64"))),
    })
}

/// Makes what a container runtime would, of what the agent published. Answers where it is.
pub(super) fn container(host: &Host) -> Result<Ends> {
    let found = ends(host)?;
    let text = fs::read_to_string(host.path(SUBNET_FILE))?;
    let mtu = text.lines().find_map(|line| line.strip_prefix("FLANNEL_MTU=")).unwrap_or_default();
    let gateway = |end: &str| format!("{}1", end.trim_end_matches('2'));
    host.sh(&format!(
        "ip link add cni0 mtu {mtu} type bridge && ip link set cni0 up && ip netns add c0 && \
         ip link add c0 mtu {mtu} master cni0 type veth peer name eth0 mtu {mtu} netns c0 && \
         ip link set c0 up && ip -n c0 link set eth0 up"
    ))?;
    let ipv6 = found.ipv6.iter().map(|end| (end, 64, "nodad"));
    for (end, len, flags) in ipv6.chain([(&found.ipv4, 24, "")]) {
        let gateway = gateway(end);
        host.sh(&format!(
            "ip address add {gateway}/{len} dev cni0 {flags} && \
             ip -n c0 address add {end}/{len} dev eth0 {flags} && \
             ip -n c0 route add default via {gateway}"
        ))?;
    }
    Ok(found)
}

/// Whole packets reach the other host's container, from a container and from the host, and come back.
fn both_ways(host: &Host, far: &Ends, mtu: u32) -> Result<()> {
    let ipv6 = far.ipv6.iter().map(|end| (end, mtu - 48));
    for (end, size) in ipv6.chain([(&far.ipv4, mtu - 28)]) {
        for from in ["ip netns exec c0 ", ""] {
            let ping = format!("{from}ping -c 1 -W 1 -M do -s {size} {end}");
            wait_until(&ping, LIMIT, || host.sh(&ping).is_ok())?;
        }
    }
    Ok(())
}

/// Each device carries what the outer headers of its family leave; a container has one interface for both.
fn sizes(host: &Host, world: &World) -> Result<()> {
    let of_ipv4 = if world.backend == "host-gw" { world.mtu } else { world.mtu + 20 };
    for (device, mtu) in world.devices.iter().zip([of_ipv4, world.mtu]) {
        let link = host.ok(["ip", "link", "show", device])?;
        ensure!(link.contains(&format!("mtu {mtu} ")), "not {mtu}: {link}");
    }
    Ok(())
}

/// Outside a container is known by its host's address, and to other containers by its own.
fn masquerades(fabric: &Fabric, [near, far]: &[Ends; 2]) -> Result<()> {
    let outside = fabric.lab().underlay();
    outside.ok(["ip", "address", "add", "fd00:140::fe/64", "dev", "br0", "nodad"])?;
    let container = |number: usize| fabric.node(number).path("/run/netns/c0");
    let pair = |near: &str, far: &str| Ok::<_, anyhow::Error>((near.parse()?, far.parse()?));
    let ipv6 = near.ipv6.as_deref().zip(far.ipv6.as_deref()).context("no IPv6")?;
    let of_both = [
        (pair(&near.ipv4, &far.ipv4)?, pair("192.168.140.22", "192.168.140.1")?),
        (pair(ipv6.0, ipv6.1)?, pair("fd00:140::1", "fd00:140::fe")?),
    ];
    for ((near, far), (host, router)) in of_both {
        let near: IpAddr = near;
        let listen = |address: IpAddr| Ok(UdpSocket::bind((address, 9))?);
        let there = outside.within(|| listen(router))?;
        let other = within(&container(2), || listen(far))?;
        let sends = within(&container(1), || Ok(UdpSocket::bind((near, 0))?))?;
        let as_whom: [(&UdpSocket, IpAddr, IpAddr); 2] =
            [(&there, router, host), (&other, far, near)];
        for (listener, to, shown) in as_whom {
            listener.set_read_timeout(Some(LIMIT))?;
            sends.send_to(b"hello", (to, 9))?;
            let (_length, source) = listener.recv_from(&mut [0; 16])?;
            ensure!(source.ip() == shown, "{near} appears as {source} to {to}, not as {shown}");
        }
    }
    Ok(())
}

/// Without an agent, what it left on disk tells the way of either family.
fn known_from_disk(host: &Host, [near, far]: &[Ends; 2]) -> Result<()> {
    let pairs = [(Some(&near.ipv4), Some(&far.ipv4)), (near.ipv6.as_ref(), far.ipv6.as_ref())];
    for pair in pairs {
        let (Some(near), Some(far)) = pair else { bail!("{near:?} {far:?}") };
        let gateway = format!("{}1", near.trim_end_matches('2'));
        let told = host.sh(&format!("twillctl trace {gateway} {far} || true"))?;
        ensure!(told.contains("flannel") && !told.contains("no host has"), "{told}");
    }
    Ok(())
}

/// By what a flanneld with both families writes, and the subnets of one number.
fn leases(fabric: &Fabric, ends: &[Ends; 2]) -> Result<()> {
    let get =
        ["env", "ETCDCTL_API=3", "etcdctl", "get", "--prefix", "/coreos.com/network/subnets/"];
    let found = fabric.node(1).ok(get)?;
    ensure!(found.lines().count() == 4, "{found}");
    for (number, Ends { ipv4, ipv6 }) in (1..).zip(ends) {
        let ipv4 = ipv4.trim_end_matches('2');
        let ipv6 = ipv6.as_deref().unwrap_or_default().trim_end_matches('2');
        let key = format!("/subnets/{ipv4}0-24&{ipv6}-64");
        ensure!(found.contains(&key), "{key} in {found}");
        let addresses = format!(r#""PublicIPv6":"fd00:140::{number}","#);
        ensure!(found.contains(&addresses), "{found}");
        let third: u16 =
            ipv4.trim_end_matches('.').rsplit('.').next().unwrap_or_default().parse()?;
        ensure!(ipv6 == format!("fd00:88:0:{third:x}::"), "one number in both: {found}");
    }
    Ok(())
}

/// Whatever somebody takes away of one family comes back, and the other one's packets pass meanwhile.
fn heals(host: &Host, far: &Ends, world: &World) -> Result<()> {
    let ipv4 = far.ipv4.trim_end_matches('2');
    let ipv6 = far.ipv6.as_deref().unwrap_or_default().trim_end_matches('2');
    let blocks = match world.backend {
        "udp" => ["10.88.0.0/16".to_owned(), "fd00:88::/48".to_owned()],
        _other => [format!("{ipv4}0/24"), format!("{ipv6}/64")],
    };
    let mut drift = vec![
        format!("ip route del {}", blocks[0]),
        format!("ip -6 route del {}", blocks[1]),
        "nft delete table ip twill-peers".to_owned(),
        "nft delete table ip6 twill-peers".to_owned(),
        "sysctl -qw net.ipv6.conf.all.forwarding=0".to_owned(),
        "sysctl -qw net.ipv4.ip_forward=0".to_owned(),
    ];
    let rules = match world.engine {
        "nftables" => ["nft delete table inet twill", "nft flush chain inet twill postrouting"],
        _iptables => ["iptables -t nat -F FLANNEL-POSTRTG", "ip6tables -t nat -F FLANNEL-POSTRTG"],
    };
    drift.extend(rules.map(str::to_owned));
    if world.backend == "vxlan" {
        let [four, six] = world.devices;
        drift.push(format!("ip neigh del {ipv4}0 dev {four}"));
        drift.push(format!("ip -6 neigh del {ipv6} dev {six}"));
    }
    if world.backend != "host-gw" {
        drift.extend(world.devices.map(|device| format!("ip link del {device}")));
    }
    for row in drift {
        let before = all_rows(host)?;
        host.sh(&row)?;
        let healed = || all_rows(host).is_ok_and(|now| now == before);
        if wait_until(&row, LIMIT, healed).is_err() {
            bail!("{row}: {:#?}", difference(&before, &all_rows(host)?));
        }
        both_ways(host, far, world.mtu)?;
    }
    Ok(())
}

/// What there is of both families in the kernel.
fn all_rows(host: &Host) -> Result<Vec<String>> {
    let ipv4 = host.sh("ip -4 route; ip -4 neighbour show nud permanent; iptables-save; \
         nft list table ip twill-peers; nft list table inet twill || true; \
         cat /proc/sys/net/ipv4/ip_forward")?;
    let told = |line: &&str| {
        !["#", ":"].iter().any(|word| line.starts_with(word)) && !line.contains("packets ")
    };
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = ipv4.lines().filter(told).map(words).collect();
    lines.extend(rows(host)?);
    lines.sort_unstable();
    Ok(lines)
}
