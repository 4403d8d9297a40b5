//! What is in a host's kernel, a row a line.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use twill_core::ids::Family;

use crate::container::Endpoint;
use crate::deeds;
use crate::fabric::SUBNET_FILE;
use crate::host::Host;
use crate::soak::setting::{Setting, Travel};

/// Everything that may not be otherwise: rows, switches, rules, files, and what a container of the host may
/// send. Without a tunnel there is no device but the uplink.
pub(super) fn rows(
    (host, container): (&Host, Option<&Endpoint>),
    setting: Setting,
    uplink: &str,
) -> Result<BTreeSet<String>> {
    let mut found = host.within(|| {
        let mut found = BTreeSet::new();
        for family in setting.families() {
            found.extend(rows_of(*family, setting.way, uplink));
            found.extend(rules(*family)?);
        }
        found.extend(table(&says("nft -s list table inet twill").unwrap_or_default()));
        Ok(found)
    })?;
    let env = fs::read_to_string(host.path(SUBNET_FILE)).unwrap_or_default();
    found.extend(env.lines().map(|line| {
        // In the words of links, whose sizes follow that of the uplink as this one does.
        let line = line.replace("MTU=", "mtu ");
        format!("{SUBNET_FILE}: {line}")
    }));
    if let Some(container) = container {
        let link = container.within(|| says("ip -o link show eth0"))?;
        let mtu = link.split(" mtu ").nth(1).and_then(|rest| rest.split(' ').next());
        found.insert(format!("container: mtu {}", mtu.unwrap_or_default()));
    }
    Ok(found)
}

fn rows_of(family: Family, way: Travel, uplink: &str) -> BTreeSet<String> {
    let tunnel = Some(way.device(family)).filter(|device| *device != "eth0");
    let names = (tunnel.unwrap_or(uplink), uplink);
    let rows = deeds::rows::rows(family, names, |line| says(line).unwrap_or_default());
    // A TUN device that comes up for the second time says UP where it said UNKNOWN before.
    let settled = |row: String| row.replace(" state UNKNOWN ", " state UP ");
    // An uplink that was made again has another hardware address.
    let lasts =
        |row: &String| tunnel.is_some() || !row.starts_with("ip -d") && !row.starts_with("bridge");
    rows.into_iter().filter(lasts).map(settled).collect()
}

/// Those of iptables, and the table of peers.
fn rules(family: Family) -> Result<Vec<String>> {
    let (save, ip) = match family {
        Family::V4 => ("iptables-save", "ip"),
        Family::V6 => ("ip6tables-save", "ip6"),
    };
    let gate = says(&format!("nft -s list table {ip} twill-peers")).unwrap_or_default();
    let chains = chains(&says(save)?).into_iter().map(|rule| format!("{ip} {rule}"));
    Ok(chains.chain(table(&gate).into_iter().map(|rule| format!("{ip} {rule}"))).collect())
}

/// Types a line of words on the host.
pub(super) fn type_in(host: &Host, line: &str) -> Result<()> {
    host.within(|| says(line)).map(drop).with_context(|| format!("{}: {line}", host.name()))
}

/// What a line of words says, in the namespace that this thread is in.
fn says(line: &str) -> Result<String> {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    let output = Command::new(program).args(words).output()?;
    if !output.status.success() {
        bail!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Each rule with its place, without counters.
fn chains(saved: &str) -> Vec<String> {
    let lines = saved.lines().filter(|line| !line.starts_with('#'));
    let mut table = String::new();
    let mut place = 0;
    let mut found = Vec::new();
    for line in lines {
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
            place = 0;
        }
        let rule = line.split(" [").next().unwrap_or(line);
        place += usize::from(rule.starts_with("-A"));
        let number = if rule.starts_with("-A") { place.to_string() } else { String::new() };
        found.push(format!("iptables {table} {number} {rule}"));
    }
    found
}

/// Each element and each rule; the order of elements follows their values.
fn table(listed: &str) -> Vec<String> {
    let parts = listed.lines().flat_map(|line| {
        let line = line.trim().trim_start_matches("elements = {").trim_end_matches('}');
        line.split(", ").map(|part| format!("nft {}", part.trim_matches([',', ' '])))
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_a_place_and_no_counter() {
        let saved = "# now\n*filter\n:FORWARD DROP [3:9]\n-A FORWARD -j X\n-A FORWARD -j Y\nCOMMIT\n\
                     *nat\n-A POSTROUTING -j Z\n";
        let rules = chains(saved);
        assert!(rules.contains(&"iptables filter 2 -A FORWARD -j Y".to_owned()), "{rules:?}");
        assert!(rules.contains(&"iptables nat 1 -A POSTROUTING -j Z".to_owned()), "{rules:?}");
        assert!(rules.contains(&"iptables filter  :FORWARD DROP".to_owned()), "{rules:?}");
    }

    #[test]
    fn elements_are_the_same_in_another_order() {
        let listed =
            |elements: &str| table(&format!("set hosts {{\n\telements = {{ {elements} }}\n}}"));
        let sorted = |elements| listed(elements).into_iter().collect::<BTreeSet<_>>();
        assert_eq!(sorted("192.0.2.1, 192.0.2.2"), sorted("192.0.2.2,\n\t\t192.0.2.1"));
        assert_ne!(sorted("192.0.2.1, 192.0.2.2"), sorted("192.0.2.1"));
    }
}
