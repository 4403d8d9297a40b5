//! What was, or would be, freed.

use serde::Serialize;
use twill_core::ids::{NodeId, Revision, Subnet, Underlay};
use twill_core::node::NodeRecord;

use super::Holder;
use super::seen::Seen;
use crate::args::Output;
use crate::{names, report, table};

/// What became of a lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// Nothing yet.
    WouldFree,
    Freed,
    /// It ended by itself, or somebody else freed it.
    Ended,
    /// Its owner, or another host, wrote it meanwhile: left alone.
    WrittenAnew,
    /// Its owner showed itself meanwhile: left alone.
    SeenAgain,
}

/// One lease.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    subnet: Subnet,
    public_ip: Underlay,
    node: Option<NodeId>,
    hostname: Option<String>,
    reserved: bool,
    /// Seconds; `null` when nobody knows.
    last_seen: Option<u64>,
    /// Why nobody knows.
    unknown_because: Option<&'static str>,
    revision: Revision,
    outcome: Outcome,
}

impl Row {
    pub(super) fn new(holder: &Holder, outcome: Outcome, nodes: &[NodeRecord]) -> Self {
        let Holder { lease, seen, .. } = holder;
        let node = lease.value.node;
        let (last_seen, unknown_because) = match seen {
            Seen::Ago { seconds, .. } => (Some(*seconds), None),
            Seen::Unknown(why) => (None, Some(*why)),
        };
        Self {
            subnet: lease.subnet(),
            public_ip: lease.value.public_ip,
            node,
            hostname: node.and_then(|id| names::hostname(id, nodes)).map(ToOwned::to_owned),
            reserved: lease.lease_id.is_none(),
            last_seen,
            unknown_because,
            revision: lease.revision,
            outcome,
        }
    }

    /// A word about a lease that was to be freed and is not.
    pub(super) fn stays(&self) -> Option<String> {
        let subnet = self.subnet;
        match self.outcome {
            Outcome::WouldFree | Outcome::Freed => None,
            Outcome::Ended => Some(format!("{subnet} was gone already")),
            Outcome::WrittenAnew => Some(format!("{subnet} was written anew meanwhile, and stays")),
            Outcome::SeenAgain => {
                Some(format!("the host of {subnet} was seen meanwhile: it stays"))
            }
        }
    }

    fn cells(&self) -> [String; 6] {
        let node = self.node.map(|id| id.to_string());
        let node = self.hostname.clone().or(node).unwrap_or_else(|| "-".to_owned());
        let seen = match (self.last_seen, self.unknown_because) {
            (Some(ago), _) => format!("{} ago", table::span(ago)),
            (None, Some(why)) => format!("unknown: {why}"),
            (None, None) => "unknown".to_owned(),
        };
        let kind = if self.reserved { "reserved" } else { "lease" };
        let outcome = match self.outcome {
            Outcome::WouldFree => "to free",
            Outcome::Freed => "freed",
            Outcome::Ended => "gone already",
            Outcome::WrittenAnew => "written anew",
            Outcome::SeenAgain => "seen again",
        };
        let (subnet, address) = (self.subnet.to_string(), self.public_ip.to_string());
        [subnet, address, node, kind.to_owned(), outcome.to_owned(), seen]
    }
}

pub(super) fn render(rows: &[Row], output: Output) -> String {
    let header = ["SUBNET", "PUBLIC-IP", "NODE", "KIND", "RESULT", "LAST SEEN"];
    match output {
        Output::Table if rows.is_empty() => String::new(),
        Output::Table => table::columns(header, rows.iter().map(Row::cells).collect()),
        Output::Json => report::json(&rows),
    }
}
