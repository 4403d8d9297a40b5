//! The rules in nftables: a table of our own, and the one transaction that brings it about.
//!
//! No chain accepts forwarded packets: in nftables an accept ends one table and not the others, so
//! it would open nothing. Where iptables' chains on the same host may drop packets of the overlay, rules
//! of [`super::iptables`] keep the way open there, whatever the engine.

use std::fmt::Write as _;

use super::{Clients, Entrance, MARK, Policy, Ports, apart, gate, ports};
use crate::ids::{Family, Subnet};

/// Our table, of the family `inet`.
pub const TABLE: &str = "twill";

/// What flanneld leaves behind in its nftables mode: family, table, and the first line of the table.
pub const FLANNELD: [(&str, &str, &str); 2] = [
    ("ip", "flannel-ipv4", "comment \"rules for flannel-ipv4\""),
    ("ip6", "flannel-ipv6", "comment \"rules for flannel-ipv6\""),
];

/// Our table in the words that `nft -s -n list table inet twill` prints; empty if there is to be none.
#[must_use]
pub fn table(policies: &[Policy]) -> String {
    let mut rules: Vec<String> = policies.iter().flat_map(masquerade).collect();
    if !rules.is_empty() {
        rules.insert(0, format!("meta mark & {MARK:#010x} == {MARK:#010x} return"));
    }
    let clamp: Vec<String> = policies.iter().flat_map(clamp).collect();
    let drop = |(from, to): (Subnet, Subnet)| {
        let ip = header(from.family());
        format!("{ip} saddr {from} {ip} daddr {to} drop")
    };
    let apart: Vec<String> = apart(policies).map(drop).collect();
    let chains = [
        chain("postrouting", "nat hook postrouting priority 100", &rules),
        chain("clamp", "filter hook forward priority -150", &clamp),
        // A drop is the last word, whoever accepts in whichever table.
        chain("apart", "filter hook forward priority -150", &apart),
        chain("apart-in", "filter hook input priority -150", &apart),
    ];
    let chains: Vec<String> = chains.into_iter().flatten().collect();
    if chains.is_empty() {
        return String::new();
    }
    format!("table inet {TABLE} {{\n{}}}\n", chains.join("\n"))
}

/// `None` without rules.
fn chain(name: &str, kind: &str, rules: &[String]) -> Option<String> {
    let mut text = format!("\tchain {name} {{\n\t\ttype {kind}; policy accept;\n");
    for rule in rules {
        // Writing to a string cannot fail.
        _ = writeln!(text, "\t\t{rule}");
    }
    (!rules.is_empty()).then(|| text + "\t}\n")
}

/// The text for one `nft -f`, of which all happens or nothing: the table as it should be in place of
/// whatever was there.
#[must_use]
pub fn transaction(table: &str) -> String {
    // Named first, so that there is one to delete.
    format!("table inet {TABLE}\ndelete table inet {TABLE}\n{table}")
}

/// Is a listing what our table should be? Only blanks may differ: another version of nft may print
/// them in other places.
#[must_use]
pub fn is_same(listing: &str, table: &str) -> bool {
    listing.split_whitespace().eq(table.split_whitespace())
}

/// Of the tables that `nft list tables` prints, those that are neither ours nor made by iptables or
/// flanneld.
#[must_use]
pub fn others(tables: &str) -> Vec<&str> {
    let iptables = |family: &str, name: &str| {
        ["ip", "ip6", "arp", "bridge"].contains(&family)
            && ["filter", "nat", "raw", "mangle", "security", "broute"].contains(&name)
    };
    let foreign = |line: &&str| {
        let mut words = line.split(' ');
        let (family, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let ours = match family {
            "inet" => name == TABLE || name == ports::TABLE,
            "ip" | "ip6" => gate::is_table(name),
            _other => false,
        };
        let flannelds =
            FLANNELD.iter().any(|(theirs, table, _)| (*theirs, *table) == (family, name));
        !(ours || flannelds || iptables(family, name))
    };
    tables.lines().filter_map(|line| line.strip_prefix("table ")).filter(foreign).collect()
}

fn masquerade(policy: &Policy) -> Vec<String> {
    let Policy { network, subnet, masquerade: Some(masquerade), .. } = policy else {
        return Vec::new();
    };
    let target = match masquerade.ports {
        Ports::FullyRandom => "masquerade fully-random",
        Ports::Plain => "masquerade",
    };
    let (ip, multicast) = (header(policy.family()), policy.multicast());
    let mut rules = vec![
        format!("{ip} saddr {subnet} {ip} daddr {network} return"),
        format!("{ip} saddr {network} {ip} daddr {subnet} return"),
        format!("{ip} saddr != {network} {ip} daddr {subnet} return"),
        format!("{ip} saddr {network} {ip} daddr != {multicast} {target}"),
    ];
    if masquerade.clients == Clients::Hidden {
        rules.push(format!("{ip} saddr != {network} {ip} daddr {network} {target}"));
    }
    rules
}

/// In the words of nft.
pub(super) fn header(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// What `TWILL-MSS` does: the kernel looks at the route of each end and takes the smaller.
fn clamp(policy: &Policy) -> Vec<String> {
    let Policy { network, subnet, .. } = policy;
    let ip = header(policy.family());
    let both = |entrance: &Entrance| match entrance {
        Entrance::Tunnel(device) => {
            [format!("iifname \"{device}\""), format!("oifname \"{device}\"")]
        }
        Entrance::Uplink(device) => [
            format!("{ip} saddr {network} {ip} daddr {subnet} iifname \"{device}\""),
            format!("{ip} saddr {subnet} {ip} daddr {network} oifname \"{device}\""),
        ],
    };
    // SYN without RST, as numbers: names would be printed as these.
    let opens = "tcp flags 0x2 / 0x2,0x4";
    let rule = |way| format!("{way} {opens} tcp option maxseg size set rt mtu");
    policy.entrances.iter().flat_map(both).map(rule).collect()
}
