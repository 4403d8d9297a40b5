//! Other people's tables in nftables: whatever one of them drops stays dropped, whoever accepts it.

use super::Finding;
use crate::ids::Subnet;

/// A table that has a say in what passes through the host.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is seen on another line, in any order")]
struct Table<'a> {
    name: &'a str,
    /// Does it look at packets that pass through?
    forwards: bool,
    /// Does it drop what no rule of it accepts?
    closed: bool,
    /// Has it a rule that drops or rejects?
    drops: bool,
    /// Does any of its rules name the overlay, or is it none of others at all?
    told: bool,
}

/// What `nft list ruleset` says of tables that are not ours and may stop packets of `network`, or those
/// that come and go by one of `devices`.
///
/// Tables of the families `ip` and `ip6` are those of iptables, as a rule, and looked at there.
#[must_use]
pub fn foreign_tables(ruleset: &str, network: Subnet, devices: &[String]) -> Vec<Finding> {
    let tables = read(ruleset, network, devices);
    let stopping = tables.into_iter().filter(|table| table.forwards && !table.told);
    let findings = stopping.filter_map(|table| {
        let (check, name) = ("nftables", table.name);
        let hint = format!(
            "tell it: `ip saddr {network} ip daddr {network} accept` in its chain, or for firewalld \
             `firewall-cmd --permanent --zone=trusted --add-source={network} && firewall-cmd --reload`"
        );
        match table {
            Table { closed: true, .. } => {
                let what = format!("table {name} drops what it does not know, and knows nothing of {network}");
                Some(Finding::fail(check, what, hint))
            }
            Table { drops: true, .. } => {
                let what = format!("table {name} has rules that drop or reject, and none about {network}");
                Some(Finding::warn(check, what, hint))
            }
            _open => None,
        }
    });
    let findings: Vec<Finding> = findings.collect();
    if findings.is_empty() {
        return vec![Finding::ok("nftables", "no table of others stops packets of the overlay")];
    }
    findings
}

fn read<'a>(ruleset: &'a str, network: Subnet, devices: &[String]) -> Vec<Table<'a>> {
    let network = network.to_string();
    let mut tables: Vec<Table<'_>> = Vec::new();
    for line in ruleset.lines() {
        if let Some(name) = line.strip_prefix("table ").and_then(|rest| rest.strip_suffix(" {")) {
            tables.push(Table { name, told: is_looked_at_elsewhere(name), ..Table::default() });
            continue;
        }
        let Some(table) = tables.last_mut() else { continue };
        let rule = line.trim();
        let base = rule.starts_with("type filter hook forward ");
        table.forwards |= base;
        table.closed |= base && rule.contains("policy drop;");
        table.drops |= rule.ends_with(" drop") || rule == "drop" || rule.contains("reject");
        table.told |= rule.contains(&network) || devices.iter().any(|it| names(rule, it));
    }
    tables
}

fn names(rule: &str, device: &str) -> bool {
    !device.is_empty() && rule.contains(&format!("\"{device}\""))
}

/// Ours, and those of iptables.
fn is_looked_at_elsewhere(table: &str) -> bool {
    let (family, name) = table.split_once(' ').unwrap_or((table, ""));
    let iptables = ["filter", "nat", "mangle", "raw", "security"];
    name.starts_with("twill") || (matches!(family, "ip" | "ip6") && iptables.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn tables_of_others_that_may_stop_packets_are_named() {
        let chain = |table: &str, policy: &str, rule: &str| {
            format!(
                "table {table} {{\n\tchain forward {{\n\t\ttype filter hook forward priority \
                 filter; policy {policy};\n\t\t{rule}\n\t}}\n}}\n"
            )
        };
        let told = "ip saddr 10.88.0.0/16 ip daddr 10.88.0.0/16 accept";
        for (name, ruleset, verdict) in [
            ("none", String::new(), Verdict::Ok),
            ("one that is open", chain("inet mine", "accept", "counter"), Verdict::Ok),
            ("one that is closed", chain("inet mine", "drop", "counter"), Verdict::Fail),
            ("one that was told", chain("inet mine", "drop", told), Verdict::Ok),
            (
                "one that was told of the device",
                chain("inet mine", "drop", "iifname \"flannel.1\" accept"),
                Verdict::Ok,
            ),
            (
                "firewalld",
                chain("inet firewalld", "accept", "reject with icmpx admin-prohibited"),
                Verdict::Warn,
            ),
            ("iptables' own", chain("ip filter", "drop", "counter"), Verdict::Ok),
            ("ours", chain("inet twill", "drop", "counter drop"), Verdict::Ok),
            (
                "one that drops what comes to the host",
                "table inet in {\n\tchain input {\n\t\ttype filter hook input priority filter; \
                 policy drop;\n\t}\n}\n"
                    .to_owned(),
                Verdict::Ok,
            ),
        ] {
            let network = "10.88.0.0/16".parse().unwrap();
            let found = foreign_tables(&ruleset, network, &["flannel.1".to_owned()]);
            assert_eq!(found[0].verdict, verdict, "{name}: {found:?}");
            assert_eq!(found[0].hint.is_none(), verdict == Verdict::Ok, "{name}: {found:?}");
        }
    }
}
