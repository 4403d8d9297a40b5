//! What the agent's program finds by itself, and what is in the kernel.

use std::collections::BTreeSet;

use twill_core::doctor::{Finding, Verdict};
use twill_core::ids::Family;

use super::deeds::rows::rows;
use super::setting::Setting;
use super::support::try_command;

/// What it finds that is not well, each as its check and its words.
pub(crate) fn found() -> BTreeSet<(String, String)> {
    let line = format!("{} doctor --state-dir /run/state", env!("CARGO_BIN_EXE_twilld"));
    let text = try_command(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let findings: Vec<Finding> = serde_json::from_str(&text).expect("findings");
    let bad = findings.into_iter().filter(|finding| finding.verdict != Verdict::Ok);
    bad.map(|finding| (finding.check, finding.what)).collect()
}

/// The checks that name a change of that kind; what is not counted goes with the uplink.
pub(crate) fn checks(kind: &str) -> &[&str] {
    match kind {
        "sysctl" => &["ip_forward", "forwarding", "rp_filter"],
        "" => &["uplink", "device", "MTU"],
        "route" => &["route", "uplink"],
        "neighbour" => &["neighbour"],
        "fdb" => &["fdb"],
        "address" => &["address"],
        "rule" => &["rules", "table of peers"],
        _device => &["device"],
    }
}

/// Everything that deeds are about.
pub(crate) fn kernel(setting: &Setting) -> BTreeSet<String> {
    let look = |line: &str| try_command(line).unwrap_or_default();
    let mut found = rows(setting.family, (setting.device, "u0"), look);
    // Where deeds are not about rules, their many listings would only take time.
    if setting.engine.is_some() {
        found.extend(rules(setting.family));
    }
    // What others plant goes with an uplink that is made again, whose hardware address is another one.
    if setting.device == "u0" {
        found.retain(|row| !row.starts_with("ip -d") && !row.starts_with("bridge"));
    }
    found
}

fn rules(family: Family) -> BTreeSet<String> {
    let (save, gate) = match family {
        Family::V4 => ("iptables-save", "nft -s -n list table ip twill-peers"),
        Family::V6 => ("ip6tables-save", "nft -s -n list table ip6 twill-peers"),
    };
    let look = |line: &str| try_command(line).unwrap_or_default();
    let saved = look(save);
    let mut found = BTreeSet::new();
    let mut chain = String::new();
    for line in saved.lines().filter(|line| !line.starts_with('#')) {
        // A rule's place is by those of its table before it.
        let rule = line.split(" [").next().unwrap_or(line);
        if rule.starts_with('*') {
            chain = String::new();
        }
        chain.push_str(rule);
        found.insert(chain.clone());
    }
    for table in [gate, "nft -s -n list table inet twill"] {
        found.insert(format!("{table}: {}", look(table)));
    }
    found
}
