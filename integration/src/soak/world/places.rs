//! Where hosts are, and what others have on them, of either family.

use twill_core::ids::Family;

use crate::deeds::{FOREIGN, fill, ipv6::in_ipv6};
use crate::fabric::NETWORK;
use crate::lab::address;
use crate::soak::setting::Setting;

/// Every packet to a container that does not come from its bridge is dropped, as Docker 28 and later do.
const DOCKERS: &str = "iptables -t raw -A PREROUTING -d NETWORK ! -i twill0 -j DROP";

/// Addresses of the hosts, of one family.
pub(super) struct Underlay {
    family: Family,
    /// The overlay network.
    pub(super) network: &'static str,
    /// An address on the link that nobody has.
    pub(super) stranger: &'static str,
}

impl Underlay {
    pub(super) fn of(family: Family) -> Self {
        let (network, stranger) = match family {
            Family::V4 => (NETWORK, "192.168.140.199"),
            Family::V6 => ("fd00:88::/48", "fd00:140::f0"),
        };
        Self { family, network, stranger }
    }

    pub(super) fn host(&self, place: usize) -> String {
        match self.family {
            Family::V4 => address(place + 1).to_string(),
            Family::V6 => format!("fd00:140::{}", place + 1),
        }
    }

    pub(super) fn alias(&self, place: usize) -> String {
        match self.family {
            Family::V4 => format!("192.168.140.{}", 100 + place),
            Family::V6 => format!("fd00:140::a{}", place + 1),
        }
    }
}

/// The line about that family.
pub(super) fn of_family(line: &str, family: Family) -> String {
    match family {
        Family::V4 => line.to_owned(),
        Family::V6 => in_ipv6(line),
    }
}

/// What others have on a host before there is anything of ours: of networks that are not ours, but for
/// the rule that has to let us pass.
pub(super) fn before_us(setting: Setting) -> Vec<String> {
    let foreign = |family: &Family| {
        let Underlay { network, stranger, .. } = Underlay::of(*family);
        let (theirs, family) = match family {
            Family::V4 => ("10.89.0.0/16", *family),
            Family::V6 => ("fd00:89::/48", *family),
        };
        let row = move |row: &str, network| {
            fill(&of_family(row, family), &[("STRANGER", stranger), ("NETWORK", network)])
        };
        let rows = FOREIGN.iter().map(move |line| row(line, theirs));
        rows.chain([row(DOCKERS, network)]).collect::<Vec<_>>()
    };
    // Some are of no family.
    let mut rows: Vec<String> = Vec::new();
    for row in setting.families().iter().flat_map(foreign) {
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    rows
}
