//! What flannel's design asks of a host, done with the programs of others: a request of its own for each
//! row, each waited for, and two programs started for each rule of the firewall.
//!
//! flannel's own costs come on top: it opens a socket for each request, and reads etcd.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::cost::{self, Cost};
use super::leases::{block, mac, underlay};
use super::{ROUNDS, TRACED, Way};
use crate::host::Host;

const LIMIT: Duration = Duration::from_mins(1);

/// Where strace writes on the host.
const SUMMARY: &str = "/run/strace";

/// flannel's rules and the jumps to them: table, chain and rule.
const RULES: [(&str, &str, &str); 10] = [
    ("nat", "POSTROUTING", "-j FLANNEL-POSTRTG"),
    ("nat", "FLANNEL-POSTRTG", "-m mark --mark 0x4000/0x4000 -j RETURN"),
    ("nat", "FLANNEL-POSTRTG", "-s 10.64.0.0/24 -d 10.64.0.0/10 -j RETURN"),
    ("nat", "FLANNEL-POSTRTG", "-s 10.64.0.0/10 -d 10.64.0.0/24 -j RETURN"),
    ("nat", "FLANNEL-POSTRTG", "! -s 10.64.0.0/10 -d 10.64.0.0/24 -j RETURN"),
    ("nat", "FLANNEL-POSTRTG", "-s 10.64.0.0/10 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully"),
    ("nat", "FLANNEL-POSTRTG", "! -s 10.64.0.0/10 -d 10.64.0.0/10 -j MASQUERADE --random-fully"),
    ("filter", "FORWARD", "-j FLANNEL-FWD"),
    ("filter", "FLANNEL-FWD", "-s 10.64.0.0/10 -j ACCEPT"),
    ("filter", "FLANNEL-FWD", "-d 10.64.0.0/10 -j ACCEPT"),
];

/// All rows towards so many peers, on a host that has none.
pub(super) fn rows(host: &Host, (way, peers): (Way, usize)) -> Result<Cost> {
    // With host-gw there is nothing to forward by: an empty file is read.
    let programs = [["bridge", "-batch", "/run/forwarding"], ["ip", "-batch", "/run/rows"]];
    let all = |peers| {
        write_batches(host, (way, peers))?;
        let mut all = Cost::default();
        for program in programs {
            all = all.and(rounds(host, &program, || forget(host, way))?);
        }
        Ok::<_, anyhow::Error>(all)
    };
    let nothing = all(0)?;
    let rows = all(peers)?.less(nothing);
    forget(host, way)?;
    Ok(rows)
}

/// A look at the firewall: is each chain there, and each rule?
pub(super) fn tick(host: &Host) -> Result<Cost> {
    let (mut restore, mut look) = (String::new(), "set -e\n".to_owned());
    for (table, chain, comment) in
        [("nat", "FLANNEL-POSTRTG", "flanneld masq"), ("filter", "FLANNEL-FWD", "flanneld forward")]
    {
        writeln!(restore, "*{table}\n:{chain} - [0:0]")?;
        for (_, chain, rule) in RULES.iter().filter(|(of, ..)| *of == table) {
            let rule = format!("-m comment --comment \"{comment}\" {rule}");
            writeln!(restore, "-A {chain} {rule}")?;
            writeln!(look, "iptables -t {table} -S {chain} 1 >/dev/null")?;
            writeln!(look, "iptables -t {table} --wait -C {chain} {rule}")?;
        }
        writeln!(restore, "COMMIT")?;
    }
    host.run_with(["iptables-restore", "--noflush"], restore.as_bytes(), LIMIT)?.success()?;
    fs::write(host.path("/run/look"), look)?;
    fs::write(host.path("/run/nothing"), "set -e\n")?;
    let nothing = rounds(host, &["sh", "/run/nothing"], || Ok(()))?;
    Ok(rounds(host, &["sh", "/run/look"], || Ok(()))?.less(nothing))
}

/// What a program costs, medians of all rounds, each after `before`.
fn rounds(host: &Host, program: &[&str], before: impl Fn() -> Result<()>) -> Result<Cost> {
    let (mut plain, mut traced) = (Vec::new(), Vec::new());
    for _round in 0..ROUNDS {
        before()?;
        let used = cost::quiet(host)?;
        let wall = host.run(program)?.success()?.took;
        let cpu = cost::cpu(host)?.saturating_sub(used);
        plain.push(Cost { wall, cpu, ..Cost::default() });
    }
    for _round in 0..TRACED {
        before()?;
        let strace = ["strace", "-f", "-c", "-o", SUMMARY];
        host.run(strace.iter().chain(program))?.success()?;
        traced.push(cost::counts_in(&host.path(SUMMARY))?);
    }
    Ok(cost::both(&plain, &traced))
}

/// A device without a row, or none of our routes.
fn forget(host: &Host, way: Way) -> Result<()> {
    let script = match way {
        Way::Vxlan => {
            "ip link del flannel.1 2>/dev/null; \
             ip link add flannel.1 type vxlan id 1 dev eth0 local 192.168.140.24 dstport 8472 \
             nolearning && ip address add 10.127.0.0/32 dev flannel.1 && ip link set flannel.1 up"
        }
        Way::HostGw => "ip route flush proto 84",
    };
    host.sh(script).map(drop)
}

fn write_batches(host: &Host, (way, peers): (Way, usize)) -> Result<()> {
    let (mut forwarding, mut rows) = (String::new(), String::new());
    let device = way.device();
    for number in 1..=peers {
        let (block, mac, underlay) = (block(number)?, mac(number)?, underlay(number)?);
        let gateway = block.base();
        match way {
            Way::Vxlan => {
                writeln!(
                    forwarding,
                    "fdb replace {mac} dev {device} dst {underlay} self permanent"
                )?;
                writeln!(rows, "neigh replace {gateway} lladdr {mac} dev {device} nud permanent")?;
                writeln!(rows, "route replace {block} via {gateway} dev {device} onlink proto 84")?;
            }
            Way::HostGw => {
                writeln!(rows, "route replace {block} via {underlay} dev {device} proto 84")?;
            }
        }
    }
    fs::write(host.path("/run/rows"), rows)?;
    fs::write(host.path("/run/forwarding"), forwarding)?;
    Ok(())
}
