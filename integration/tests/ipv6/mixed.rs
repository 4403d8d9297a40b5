//! `DirectRouting` where one peer is on the link and another behind a router, by IPv6.

use anyhow::{Result, ensure};
use twill_integration::fabric::Fabric;
use twill_integration::{Host, may_build_labs, wait_until};

use super::alone::{LIMIT, UDP, VXLAN, World, both_ways, container};

/// The host that has no agent and stands between node1 and node3.
const ROUTER: &str = "fd00:140::4";

#[test]
fn vxlan() -> Result<()> {
    network(&VXLAN)
}

#[test]
fn udp() -> Result<()> {
    network(&UDP)
}

fn network(world: &World) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::bare_of_both(4)?;
    let hosts = [1, 3].map(|number| fabric.node(number).clone());
    let router = fabric.node(4);
    router.sh("ip6tables -P FORWARD ACCEPT && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")?;
    for host in &hosts {
        // Or the router says that there is a shorter way.
        host.sh("echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_redirects")?;
    }
    part(&hosts)?;

    fabric.give_agents(&["--iface=eth0", "--ip-masq"]);
    fabric.start_etcd()?;
    let config = format!(
        r#"{{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:88::/48","Backend":{{"Type":"{}","DirectRouting":true}}}}"#,
        world.backend
    );
    let put = ["env", "ETCDCTL_API=3", "etcdctl", "put", "/coreos.com/network/config", &config];
    fabric.node(1).ok(put)?;
    for number in 1..=3 {
        fabric.start_agent(number)?;
    }
    fabric.meet(3)?;

    let [one, near, far] = [1, 2, 3].map(|number| fabric.node(number).clone());
    let ends = [container(&one)?, container(&near)?, container(&far)?];
    let [here, beside, beyond] = &ends;
    let tunnel = format!("dev {}", world.device);
    let pass = |what: &str, way: &str| -> Result<()> {
        leaves(&one, what, beside, "via fd00:140::2 dev eth0")?;
        leaves(&one, what, beyond, way)?;
        leaves(&near, what, beyond, "via fd00:140::3 dev eth0")?;
        // node2 has everybody on the link; what both ends carry is what the tunnel carries.
        for (from, to) in [(&one, beside), (&one, beyond), (&near, beyond), (&far, here)] {
            both_ways(from, to, world.mtu)?;
        }
        Ok(())
    };
    pass("with a router between them", &tunnel)?;
    join(&hosts)?;
    leaves(&far, "with the router gone", here, "via fd00:140::1 dev eth0")?;
    pass("with the router gone", "via fd00:140::3 dev eth0")?;
    part(&hosts)?;
    leaves(&far, "with the router back", here, &tunnel)?;
    pass("with the router back", &tunnel)?;
    // One side alone thinks that the other is on the link.
    one.sh(&format!("ip -6 route del fd00:140::3/128 via {ROUTER}"))?;
    leaves(&one, "one way", beyond, "via fd00:140::3 dev eth0")?;
    leaves(&far, "one way", here, &tunnel)?;
    pass("one way", "via fd00:140::3 dev eth0")?;
    fabric.finish()
}

/// Puts the router between the two.
fn part(hosts: &[Host; 2]) -> Result<()> {
    for (host, peer) in hosts.iter().zip([3, 1]) {
        host.sh(&format!("ip -6 route add fd00:140::{peer}/128 via {ROUTER}"))?;
    }
    Ok(())
}

/// Takes it away.
fn join(hosts: &[Host; 2]) -> Result<()> {
    for (host, peer) in hosts.iter().zip([3, 1]) {
        host.sh(&format!("ip -6 route del fd00:140::{peer}/128 via {ROUTER}"))?;
    }
    Ok(())
}

/// Waits until that is how packets leave the host.
fn leaves(host: &Host, when: &str, to: &str, way: &str) -> Result<()> {
    let look = || host.sh(&format!("ip -6 route get {to}")).unwrap_or_default();
    let name = host.name();
    let limit =
        wait_until(&format!("{when}: {name} to {to} {way}"), LIMIT, || look().contains(way));
    ensure!(limit.is_ok(), "{when}: {name} sends to {to} so: {}", look());
    Ok(())
}
