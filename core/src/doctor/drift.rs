//! What is not as the agent would have it: rows, devices, switches.
//!
//! An agent that runs puts each back within a second, so that what is found here either has just
//! happened, cannot be mended, or nobody mends.

use super::Finding;
use crate::plan::{Change, Tables, plan};

/// What twilld does about most of what can be wrong.
pub(crate) const MENDS: &str =
    "twilld puts it back when it runs: `systemctl status twilld`, `journalctl -u twilld`";

/// `forwarding` of one interface.
#[must_use]
pub fn forwarding_from(interface: &str, value: &str) -> Finding {
    let check = "forwarding";
    match value {
        "0" => Finding::fail(
            check,
            format!("the host passes no packets on that come in by {interface}"),
            format!("sysctl -w net/ipv4/conf/{interface}/forwarding=1; {MENDS}"),
        ),
        _on => Finding::ok(check, format!("what comes in by {interface} is passed on")),
    }
}

/// The rows towards peers, against what they should be.
///
/// A row that is missing keeps packets from a peer, and so does one beside a wanted one; one that
/// leads to nobody only lies there.
#[must_use]
pub fn rows(desired: &Tables, actual: &Tables) -> Vec<Finding> {
    let wanted = |change: &Change| match change {
        Change::DropRoute(subnet, _) => desired.routes.iter().any(|(block, _)| block == subnet),
        Change::DropNeighbour(device, gateway) => {
            desired.neighbours.contains_key(&(*device, *gateway))
        }
        Change::DropForwarding(device, mac, _) => {
            desired.forwarding.iter().any(|(on, found, _)| (on, found) == (device, mac))
        }
        // Nobody is to speak who is no peer, so one too many is as bad.
        Change::PutWire(..)
        | Change::DropWire(..)
        | Change::PutForwarding(..)
        | Change::PutNeighbour(..)
        | Change::PutRoute(..) => true,
    };
    let changes = plan(desired, actual);
    if changes.is_empty() {
        let Tables { forwarding, neighbours, routes, wires } = desired;
        let rows = routes.len() + neighbours.len() + forwarding.len() + wires.len();
        return vec![Finding::ok("rows", format!("all {rows} rows towards peers are in place"))];
    }
    let finding = |change: &Change| {
        let what = format!("not as it should be; to do: {change}");
        if wanted(change) {
            Finding::fail(change.table(), what, MENDS)
        } else {
            Finding::warn(change.table(), what, MENDS)
        }
    };
    changes.iter().map(finding).collect()
}

/// In what a tunnel device is not as it should be; nothing if it is.
#[must_use]
pub fn devices(differences: Vec<String>) -> Vec<Finding> {
    differences.into_iter().map(|what| Finding::fail("device", what, MENDS)).collect()
}

/// What is wrong with the addresses of a tunnel device.
#[must_use]
pub fn addresses(differences: Vec<String>) -> Vec<Finding> {
    differences.into_iter().map(|what| Finding::fail("address", what, MENDS)).collect()
}

/// Are our firewall rules as they should be? `missing` says which are not.
#[must_use]
pub fn rules(missing: &[String]) -> Finding {
    let check = "rules";
    if missing.is_empty() {
        return Finding::ok(check, "our firewall rules are in place");
    }
    Finding::fail(check, missing.join("; "), MENDS)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::device::IfIndex;
    use crate::ids::{Gateway, Mac, Underlay};
    use crate::plan::Hop;

    const DEVICE: IfIndex = IfIndex(3);

    fn tables() -> Tables {
        let (block, gateway) = ("10.88.9.0/24".parse().unwrap(), Gateway([10, 88, 9, 0].into()));
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        let mut tables = Tables::default();
        tables.routes.insert((block, Hop::Onlink(DEVICE, gateway).into()));
        tables.neighbours.insert((DEVICE, gateway), mac);
        tables.forwarding.insert((DEVICE, mac, Underlay([192, 0, 2, 9].into())));
        tables
    }

    #[test]
    fn each_row_that_is_not_as_it_should_be_is_named() {
        let mut stray = tables();
        let (nobody, hop) = (Mac([2, 0, 0, 0, 0, 0x4d]), Underlay([192, 0, 2, 77].into()));
        stray.forwarding.insert((DEVICE, nobody, hop));
        let mut second = tables();
        let beside = Hop::Via(IfIndex(2), Underlay([192, 0, 2, 7].into()));
        second.routes.insert(("10.88.9.0/24".parse().unwrap(), beside.into()));
        let mut routeless = tables();
        routeless.routes.clear();
        for (name, actual, check, verdict, words) in [
            ("all well", tables(), "rows", Verdict::Ok, "all 3 rows"),
            (
                "a route is gone",
                routeless,
                "route",
                Verdict::Fail,
                "route 10.88.9.0/24 via 10.88.9.0",
            ),
            ("a second one", second, "route", Verdict::Fail, "drop the route of 10.88.9.0/24"),
            ("one for nobody", stray, "fdb", Verdict::Warn, "02:00:00:00:00:4d to 192.0.2.77"),
        ] {
            let found = rows(&tables(), &actual);
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            assert_eq!((found[0].check.as_str(), found[0].verdict), (check, verdict), "{name}");
            assert!(found[0].what.contains(words), "{name}: {found:?}");
        }
    }

    #[test]
    fn switches_and_rules() {
        assert_eq!(forwarding_from("flannel.1", "1").verdict, Verdict::Ok);
        assert_eq!(forwarding_from("flannel.1", "0").verdict, Verdict::Fail);
        assert_eq!(rules(&[]).verdict, Verdict::Ok);
        assert_eq!(rules(&["x".to_owned()]).verdict, Verdict::Fail);
    }
}
