//! Leases, packets, faults and ends.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use twill_integration::fabric::SUBNET_FILE;
use twill_integration::has_wireguard;
use twill_integration::{Backend, Fabric, may_build_labs, status, wait_until};

use super::world::{LIMIT, end, has, inhabit, peers, ping, refused, stem};

const DEVICE: &str = "flannel-wg";
/// Kernels before 6.2 rename nothing that is up, and the agent sets it up as soon as it is down: with two
/// processes it comes first.
const RENAME: &str =
    r"printf 'link set flannel-wg down\nlink set flannel-wg name x\n' | ip -batch -";
/// Without the headers of IPv4 and ICMP.
const WHOLE: usize = 1440 - 28;

fn fabric(hosts: usize) -> Result<Option<Fabric>> {
    if !may_build_labs() || !has_wireguard() {
        return Ok(None);
    }
    let fabric = Fabric::with_agents(hosts, Backend::Wireguard)?;
    inhabit(&fabric, hosts)?;
    Ok(Some(fabric))
}

#[test]
fn two_hosts_speak_under_keys_and_nobody_else_may() -> Result<()> {
    let Some(fabric) = fabric(2)? else { return Ok(()) };
    let [one, two] = [1, 2].map(|number| fabric.node(number).clone());
    let env = std::fs::read_to_string(one.path(SUBNET_FILE))?;
    ensure!(env.contains("FLANNEL_MTU=1440\n"), "{env}");
    let leases =
        fabric.node(1).sh("ETCDCTL_API=3 etcdctl get --prefix /coreos.com/network/subnets")?;
    let key = one.ok(["wg", "show", DEVICE, "public-key"])?;
    let data = format!(r#""BackendData":{{"PublicKey":"{}","Port":51820}}"#, key.trim());
    ensure!(leases.contains(&data), "{data}: {leases}");
    let private = one.ok(["wg", "show", DEVICE, "private-key"])?;
    ensure!(!leases.contains(private.trim()), "the secret is in etcd");
    let (there, back) = (end(&two)?, end(&one)?);
    ping(&one, &there, WHOLE)?;
    ping(&two, &back, WHOLE)?;
    ensure!(ping(&one, &there, WHOLE + 1).is_err(), "it carries more than it says");
    // One peer, with its subnet alone.
    let found = peers(&one, DEVICE)?;
    let [peer] = &found[..] else { anyhow::bail!("{found:?}") };
    ensure!(peer.contains(&format!(" {}.0/24 ", stem(&two)?)), "{peer}");

    // An address that is not its own, from a peer that has a session.
    let stranger = "10.88.250.9";
    one.ok(["ip", "address", "add", &format!("{stranger}/32"), "dev", "lo"])?;
    let before = refused(&two, DEVICE)?;
    let forged =
        one.run(["ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", "-I", stranger, &there])?;
    ensure!(forged.code != 0, "answered: {}", forged.stdout);
    wait_until("the forged packets are refused", LIMIT, || {
        refused(&two, DEVICE).is_ok_and(|now| now >= before + 3)
    })?;
    // What goes to a block of nobody's never leaves in the clear.
    let route = one.ok(["ip", "route", "get", "10.88.251.9"])?;
    ensure!(route.contains("dev flannel-wg"), "{route}");

    let told = one.run(["twillctl", "trace", &back, &there, "-o", "json"])?;
    ensure!(told.stdout.contains("last handshake"), "{}", told.stdout);
    fabric.finish()
}

/// Each is done with the tools of an administrator, and undone by the agent.
#[test]
fn what_somebody_changes_heals() -> Result<()> {
    let Some(fabric) = fabric(2)? else { return Ok(()) };
    let [one, two] = [1, 2].map(|number| fabric.node(number).clone());
    let there = end(&two)?;
    ping(&one, &there, WHOLE)?;
    let key = peers(&one, DEVICE)?.first().context("a peer")?.clone();
    let key = key.split(' ').next().context("a key")?.to_owned();
    // Without the number, which a new device has another of.
    let look = || -> Result<String> {
        let keyed = one.sh("wg show flannel-wg public-key; wg show flannel-wg listen-port")?;
        let link = one.sh("ip -o link show dev flannel-wg | grep -o 'mtu [0-9]*'")?;
        let rows = one
            .sh("ip -o address show dev flannel-wg | cut -d: -f2-; ip route show dev flannel-wg")?;
        Ok(format!("{keyed}{link}{rows}{:?}", peers(&one, DEVICE)?))
    };
    one.sh("ip link add wg7 type wireguard && wg set wg7 listen-port 777")?;
    let before = look()?;
    for (what, deed) in [
        ("the peer is gone", format!("wg set flannel-wg peer {key} remove")),
        (
            "its block is another's",
            format!("wg set flannel-wg peer {key} allowed-ips 10.88.99.0/24"),
        ),
        (
            "somebody else is a peer",
            "wg set flannel-wg peer $(wg genkey | wg pubkey) allowed-ips 10.88.98.0/24".to_owned(),
        ),
        (
            "the key is another one",
            "wg genkey >/run/k && wg set flannel-wg private-key /run/k".to_owned(),
        ),
        ("the port is another one", "wg set flannel-wg listen-port 4242".to_owned()),
        ("its size is another one", "ip link set flannel-wg mtu 1300".to_owned()),
        ("its address is gone", "ip address flush dev flannel-wg".to_owned()),
        ("its route is gone", "ip route del 10.88.0.0/16".to_owned()),
        ("it is down", "ip link set flannel-wg down".to_owned()),
        ("it has another name", RENAME.to_owned()),
        ("it is gone", "ip link del flannel-wg".to_owned()),
    ] {
        one.sh(&deed)?;
        has(&one, what, || Ok(look()? == before))?;
        ping(&one, &there, WHOLE).with_context(|| what.to_owned())?;
    }
    ensure!(one.sh("wg show wg7 listen-port")?.trim() == "777", "somebody else's is as it was");
    fabric.finish()
}

#[test]
fn a_crash_of_the_agent_costs_no_packet_and_a_peer_that_leaves_is_gone() -> Result<()> {
    let Some(mut fabric) = fabric(2)? else { return Ok(()) };
    let [one, two] = [1, 2].map(|number| fabric.node(number).clone());
    let there = end(&two)?;
    ping(&one, &there, WHOLE)?;
    let before = one.sh("wg show flannel-wg public-key; ip -o link show dev flannel-wg")?;
    let own = end(&one)?;
    let flow = ["ping", "-n", "-q", "-c", "100", "-i", "0.2", "-W", "10", "-I", &own, &there];
    std::thread::scope(|scope| -> Result<()> {
        let ping = scope.spawn(|| one.ok(flow));
        fabric.stop_agent(1, Signal::SIGKILL)?;
        ping_goes_on(&one, &there)?;
        fabric.start_agent(1)?;
        fabric.knows(1, 1)?;
        let told = ping.join().map_err(|_panic| anyhow::Error::msg("the flow died"))??;
        ensure!(told.contains(" 0% packet loss"), "{told}");
        Ok(())
    })?;
    let after = one.sh("wg show flannel-wg public-key; ip -o link show dev flannel-wg")?;
    ensure!(before == after, "{before} is {after} now");

    fabric.stop_agent(2, Signal::SIGTERM)?;
    ping(&one, &there, WHOLE).context("its data plane stands without an agent")?;
    let subnet = status(&one)?.peers.first().context("a peer")?.subnet.to_string();
    fabric.ctl(&["lease", "revoke", &subnet, "--yes"])?;
    has(&one, "the peer is gone", || Ok(peers(&one, DEVICE)?.is_empty()))?;
    ensure!(ping(&one, &there, 56).is_err(), "nobody is there");
    two.ok(["twillctl", "host", "cleanup", "--yes", "--keep-state"])?;
    let left = two.sh("ip -o link show | grep -c flannel-wg || true")?;
    ensure!(left.trim() == "0", "{left}");
    let key = two.path("/var/lib/twill/agent/wireguard-key");
    ensure!(key.exists(), "kept as asked: {}", key.display());
    two.ok(["twillctl", "host", "cleanup", "--yes"])?;
    ensure!(!key.exists(), "the key is left: {}", key.display());
    fabric.finish()
}

fn ping_goes_on(from: &twill_integration::Host, to: &str) -> Result<()> {
    let own = from.ok(["ip", "-o", "-4", "address", "show", "dev", "lo"])?;
    let own = own.split_whitespace().find(|word| word.starts_with("10.88."));
    let own = own.and_then(|word| word.split('/').next()).context("an address")?;
    from.ok(["ping", "-n", "-c", "3", "-W", "5", "-I", own, to]).map(drop)
}

#[test]
fn both_families_have_a_device_each() -> Result<()> {
    if !may_build_labs() || !has_wireguard() {
        return Ok(());
    }
    let mut fabric = Fabric::bare_of_both(2)?;
    fabric.give_agents(&["--iface=eth0"]);
    fabric.start_etcd()?;
    let init = ["network", "init", "--network", "10.88.0.0/16", "--ipv6-network", "fd00:88::/48"];
    fabric.ctl(&[&init[..], &["--backend", "wireguard"]].concat())?;
    fabric.start_agents(1..=2)?;
    fabric.knows(1, 2)?;
    fabric.knows(2, 2)?;
    inhabit(&fabric, 2)?;
    let [one, two] = [1, 2].map(|number| fabric.node(number).clone());
    let env = std::fs::read_to_string(one.path(SUBNET_FILE))?;
    ensure!(env.contains("FLANNEL_MTU=1420\n"), "{env}");
    let mut ends = Vec::new();
    for host in [&one, &two] {
        let subnet = status(host)?.ipv6.context("IPv6")?.subnet;
        let end = format!("{}2", subnet.base());
        host.ok(["ip", "address", "add", &format!("{end}/128"), "dev", "lo", "nodad"])?;
        ends.push(end);
    }
    ping(&one, &end(&two)?, WHOLE)?;
    let flags = ["-n", "-c", "3", "-W", "5", "-M", "do", "-s", "1372"];
    one.ok([&["ping", "-6", "-I", &ends[0]][..], &flags, &[&ends[1]]].concat())?;
    two.ok([&["ping", "-6", "-I", &ends[1]][..], &flags, &[&ends[0]]].concat())?;
    let [peer] = &peers(&one, "flannel-wg-v6")?[..] else { anyhow::bail!("one peer") };
    ensure!(peer.contains("[fd00:140::2]:51821 fd00:88:"), "{peer}");
    fabric.finish()
}

/// To `wireguard` and back, with the same subnets.
#[test]
fn a_network_moves_to_wireguard_and_back() -> Result<()> {
    if !may_build_labs() || !has_wireguard() {
        return Ok(());
    }
    let fabric = Fabric::with_agents(2, Backend::Vxlan)?;
    inhabit(&fabric, 2)?;
    let [one, two] = [1, 2].map(|number| fabric.node(number).clone());
    let there = end(&two)?;
    ping(&one, &there, 56)?;
    for (backend, device) in [("wireguard", DEVICE), ("vxlan", "flannel.1")] {
        fabric.ctl(&["network", "set", "--backend", backend, "--yes"])?;
        for host in [&one, &two] {
            has(host, backend, || {
                let status = status(host)?;
                let serves = status.backend == backend && status.earlier.is_empty();
                Ok(serves && status.peers.iter().all(|peer| peer.backend.starts_with(backend)))
            })?;
            let links = host.ok(["ip", "-o", "link", "show"])?;
            ensure!(links.contains(device), "{links}");
        }
        ping(&one, &there, 1372)?;
        ping(&two, &end(&one)?, 1372)?;
    }
    has(&one, "the device is gone", || {
        Ok(!one.ok(["ip", "-o", "link", "show"])?.contains(DEVICE))
    })?;
    fabric.finish()
}
