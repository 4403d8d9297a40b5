//! What a change of the configuration means, as table and JSON.

use serde::Serialize;
use serde_json::Value;
use twill_core::config::{Difference, Effect};
use twill_core::ids::{NodeId, Revision, Subnet, Underlay};
use twill_core::lease::Lease;
use twill_core::node::NodeRecord;

use crate::args::Output;
use crate::{names, report, table};

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    pub(super) changes: Vec<Change>,
    /// Leases that the new configuration does not admit any more.
    pub(super) outgrown: Vec<Outgrown>,
    /// The new configuration, as it is written.
    pub(super) config: Value,
    /// When it was; `null` if it was not.
    pub(super) written: Option<Revision>,
}

/// One member that differs.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    member: &'static str,
    from: String,
    to: String,
    /// `live`, `pause`, `hands` or `rejoin`, the gentlest first.
    effect: &'static str,
    /// The same in words.
    means: String,
}

/// One lease.
#[derive(Debug, Serialize)]
pub(super) struct Outgrown {
    subnet: Subnet,
    public_ip: Underlay,
    node: Option<NodeId>,
    hostname: Option<String>,
    reserved: bool,
}

impl From<Difference> for Change {
    fn from(difference: Difference) -> Self {
        let Difference { member, from, to, effect, note } = difference;
        let mut means = effect.words().to_owned();
        if !note.is_empty() {
            means = means + "; " + note;
        }
        Self { member, from, to, effect: word(effect), means }
    }
}

fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Live => "live",
        Effect::Pause => "pause",
        Effect::Hands => "hands",
        Effect::Rejoin => "rejoin",
    }
}

impl Change {
    /// Nobody can use what is there.
    pub(super) fn of_broken(why: &str) -> Self {
        Self {
            member: "everything",
            from: format!("what nobody can use: {why}"),
            to: "a configuration".to_owned(),
            effect: word(Effect::Live),
            means: "hosts that wait for one take it; running ones go on from their last good one"
                .to_owned(),
        }
    }
}

impl Outgrown {
    pub(super) fn new(lease: &Lease, nodes: &[NodeRecord]) -> Self {
        let node = lease.value.node;
        Self {
            subnet: lease.subnet(),
            public_ip: lease.value.public_ip,
            node,
            hostname: node.and_then(|id| names::hostname(id, nodes)).map(ToOwned::to_owned),
            reserved: lease.lease_id.is_none(),
        }
    }

    fn cells(&self) -> [String; 4] {
        let node = self.node.map(|id| id.to_string());
        let node = self.hostname.clone().or(node).unwrap_or_else(|| "-".to_owned());
        let kind = if self.reserved { "reserved" } else { "lease" };
        [self.subnet.to_string(), self.public_ip.to_string(), node, kind.to_owned()]
    }
}

impl Document {
    pub(super) fn render(&self, output: Output) -> String {
        match output {
            Output::Json => report::json(self),
            Output::Table => self.text(),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if !self.changes.is_empty() {
            let cells = |change: &Change| {
                let Change { member, from, to, means, .. } = change;
                [(*member).to_owned(), from.clone(), to.clone(), means.clone()]
            };
            let rows = self.changes.iter().map(cells).collect();
            text += &table::columns(["MEMBER", "FROM", "TO", "ON RUNNING HOSTS"], rows);
        }
        if !self.outgrown.is_empty() {
            let rows = self.outgrown.iter().map(Outgrown::cells).collect();
            text += "\n";
            text += &table::columns(["NOT ADMITTED ANY MORE", "PUBLIC-IP", "NODE", "KIND"], rows);
        }
        text
    }
}
