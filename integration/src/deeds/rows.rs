//! How to see whether a host's kernel is as it was.

use std::collections::BTreeSet;
use std::fs;

use twill_core::ids::Family;

/// Everything of one family about routes, neighbours, forwarding entries, addresses, the device and its
/// switches, one row a line. `look` answers what a command says, nothing if it fails: a table that was
/// never written to, a device that is away. Both are of the namespace that the calling thread is in.
pub(crate) fn rows(
    family: Family,
    (device, uplink): (&str, &str),
    look: impl Fn(&str) -> String,
) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    // Addresses that interfaces of IPv6 give themselves are nobody's business.
    let (ip, scope) = match family {
        Family::V4 => ("ip -4", ""),
        Family::V6 => ("ip -6", " scope global"),
    };
    let listings = [
        format!("{ip} route show table main"),
        format!("{ip} route show table 99"),
        format!("{ip} neigh show nud permanent"),
        format!("bridge fdb show dev {device}"),
        format!("{ip} -o addr show dev {device}{scope}"),
        format!("ip -d -o link show dev {device}"),
    ];
    for listing in listings {
        let text = look(&listing);
        let number = listing.contains(" -o ");
        let rest = |line: &str| match line.split_once(": ") {
            Some((_number, rest)) if number => rest.to_owned(),
            _other => line.to_owned(),
        };
        // Behind it an address has the name that its device had.
        let lines = text.lines().map(|line| line.split(" scope global ").next().unwrap_or(line));
        let lines =
            lines.filter(|line| !["fe80:", "33:33:"].iter().any(|own| line.starts_with(own)));
        rows.extend(lines.map(|line| format!("{listing}: {}", rest(line).trim())));
    }
    for switch in switches(family, (device, uplink)) {
        let value = fs::read_to_string(format!("/proc/sys/net/{switch}"));
        rows.insert(format!("{switch} is {}", value.unwrap_or_default().trim()));
    }
    rows
}

fn switches(family: Family, (device, uplink): (&str, &str)) -> Vec<String> {
    let names = match family {
        Family::V4 => vec![
            format!("conf/{device}/forwarding"),
            format!("conf/{device}/rp_filter"),
            format!("conf/{uplink}/forwarding"),
            format!("conf/{uplink}/rp_filter"),
            "ip_forward".to_owned(),
        ],
        Family::V6 => vec![
            "conf/all/forwarding".to_owned(),
            format!("conf/{uplink}/accept_ra"),
            format!("conf/{device}/disable_ipv6"),
        ],
    };
    let of = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    names.into_iter().map(|name| format!("{of}/{name}")).collect()
}
