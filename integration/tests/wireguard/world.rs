//! Hosts with keys, each with an address of its own subnet, and what is looked at.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use twill_integration::{Fabric, Host, status, wait_until};

/// Without a change of the network nothing takes longer, on a machine that is emulated.
pub(super) const LIMIT: Duration = Duration::from_mins(1);

/// The subnet of a host, `10.88.7`, without its last byte.
pub(super) fn stem(host: &Host) -> Result<String> {
    let subnet = status(host)?.subnet.to_string();
    let stem = subnet.rsplit_once('.').context("a subnet of IPv4")?;
    Ok(stem.0.to_owned())
}

/// The address that stands for the containers of a host.
pub(super) fn end(host: &Host) -> Result<String> {
    Ok(format!("{}.2", stem(host)?))
}

/// Gives each host the address of a container.
pub(super) fn inhabit(fabric: &Fabric, hosts: usize) -> Result<()> {
    for number in 1..=hosts {
        let host = fabric.node(number);
        host.ok(["ip", "address", "add", &format!("{}/32", end(host)?), "dev", "lo"])?;
    }
    Ok(())
}

/// Packets of that size get there and back, all of them, uncut.
pub(super) fn ping(from: &Host, to: &str, size: usize) -> Result<()> {
    let (own, size) = (end(from)?, size.to_string());
    let flags = ["-n", "-c", "3", "-i", "0.3", "-W", "5", "-M", "do", "-s", &size];
    from.ok([&["ping", "-I", &own][..], &flags, &[to]].concat()).map(drop)
}

/// The peers of a device, each a line of `wg show … dump`, without the secrets.
pub(super) fn peers(host: &Host, device: &str) -> Result<Vec<String>> {
    let told = host.ok(["wg", "show", device, "dump"])?;
    let of = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [key, _psk, endpoint, allowed, _handshake, _rx, _tx, keepalive] = words[..] else {
            return line.to_owned();
        };
        format!("{key} {endpoint} {allowed} {keepalive}")
    };
    Ok(told.lines().skip(1).map(of).collect())
}

/// Waits until a host has these again.
pub(super) fn has(host: &Host, what: &str, wanted: impl Fn() -> Result<bool>) -> Result<()> {
    let name = host.name();
    wait_until(&format!("{name}: {what}"), LIMIT, || wanted().unwrap_or(false)).map(drop)
}

/// Packets that a device took and refused, because their sender may not have that address.
pub(super) fn refused(host: &Host, device: &str) -> Result<u64> {
    let told = host.ok(["cat", "/proc/net/dev"])?;
    let line = told.lines().find_map(|line| line.trim().strip_prefix(&format!("{device}:")));
    let words: Vec<&str> = line.context("the device")?.split_whitespace().collect();
    // Errors; what belongs to nobody's block is among them.
    ensure!(words.len() > 5, "{told}");
    Ok(words[2].parse()?)
}
