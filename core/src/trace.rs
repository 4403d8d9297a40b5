//! The way between two containers, step by step: where it breaks, why, and the way out.
//!
//! Pure: whoever looks at the kernel hands over what was seen. Each host judges its own half of the
//! way; the two halves and what became of real packets make a [`Trace`].

mod beyond;
mod container;
mod host;
mod way;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::doctor::{Finding, MENDS, Verdict as Severity};

pub use beyond::{answer, arrival, full_size, underlay};
pub use container::{Container, Holder, Inside, Port, container};
pub use host::{Bridge, BridgeSeen, Switch, bridge, firewall, forwarding};
pub use way::{
    Lookup, Owner, Rows, SESSION, UplinkSeen, device, fdb, handshake, lease, neighbour, route,
    uplink,
};

/// The form of the document. It grows when a member goes or changes its meaning.
pub const SCHEMA: u32 = 1;

/// A station on the way, in the order in which packets meet them; what others depend on comes first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The container and its interface.
    Container,
    /// The bridge that containers of the host are on.
    Bridge,
    /// The kernel's switches for packets that pass through.
    Forwarding,
    /// Rules that may drop what passes through.
    Firewall,
    /// Who has the other address, by etcd.
    Lease,
    /// The interface to the other hosts.
    Uplink,
    /// The tunnel device.
    Device,
    /// Where the kernel sends it.
    Route,
    /// The hardware address of the other end of the tunnel.
    Neighbour,
    /// The host behind that hardware address.
    Fdb,
    /// The keys that two ends of `WireGuard` have agreed on.
    Handshake,
    /// The network between the hosts.
    Underlay,
    /// Packets of the other side that come in.
    Arrival,
    /// The other host's agent.
    Peer,
    /// Real packets, and their answers.
    Answer,
    /// Real packets of the full size.
    Mtu,
}

impl Stage {
    /// Its word, as in the document.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Bridge => "bridge",
            Self::Forwarding => "forwarding",
            Self::Firewall => "firewall",
            Self::Lease => "lease",
            Self::Uplink => "uplink",
            Self::Device => "device",
            Self::Route => "route",
            Self::Neighbour => "neighbour",
            Self::Fdb => "fdb",
            Self::Handshake => "handshake",
            Self::Underlay => "underlay",
            Self::Arrival => "arrival",
            Self::Peer => "peer",
            Self::Answer => "answer",
            Self::Mtu => "mtu",
        }
    }
}

/// What becomes of packets at a station.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// They get through.
    Passes,
    /// Nobody could look.
    Unseen,
    /// They may be lost, or some of them.
    Doubtful,
    /// They end here.
    Breaks,
}

/// One station.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which one.
    pub stage: Stage,
    /// What becomes of packets there.
    pub outcome: Outcome,
    /// What was seen, and why that is bad if it is.
    pub what: String,
    /// The way out, unless all is well.
    pub hint: Option<String>,
}

impl Step {
    /// They get through.
    #[must_use]
    pub fn passes(stage: Stage, what: impl Into<String>) -> Self {
        Self { stage, outcome: Outcome::Passes, what: what.into(), hint: None }
    }

    /// They may be lost.
    #[must_use]
    pub fn doubtful(stage: Stage, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { outcome: Outcome::Doubtful, hint: Some(hint.into()), ..Self::passes(stage, what) }
    }

    /// Nobody could look.
    #[must_use]
    pub fn unseen(stage: Stage, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { outcome: Outcome::Unseen, ..Self::doubtful(stage, what, hint) }
    }

    /// They end here.
    #[must_use]
    pub fn breaks(stage: Stage, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { outcome: Outcome::Breaks, ..Self::doubtful(stage, what, hint) }
    }

    /// What the doctor found, where it matters for this way.
    #[must_use]
    pub fn of(stage: Stage, finding: Finding) -> Self {
        let outcome = match finding.verdict {
            Severity::Ok => Outcome::Passes,
            Severity::Warn => Outcome::Doubtful,
            Severity::Fail => Outcome::Breaks,
        };
        Self { stage, outcome, what: finding.what, hint: finding.hint }
    }
}

impl From<Step> for Finding {
    fn from(step: Step) -> Self {
        let verdict = match step.outcome {
            Outcome::Passes => Severity::Ok,
            Outcome::Unseen | Outcome::Doubtful => Severity::Warn,
            Outcome::Breaks => Severity::Fail,
        };
        Self { check: step.stage.name().to_owned(), verdict, what: step.what, hint: step.hint }
    }
}

/// One host's part of the way, from its own container outwards.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Half {
    /// The host's name.
    pub host: String,
    /// What was seen, in order.
    pub steps: Vec<Step>,
}

impl Half {
    /// Where packets end, if they do.
    #[must_use]
    pub fn broken(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.outcome == Outcome::Breaks)
    }
}

/// One end of the way.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// As it was asked for.
    pub asked: String,
    /// Its address; none while it does not run.
    pub address: Option<IpAddr>,
}

/// All in all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Packets get there and back.
    Whole,
    /// Nothing is broken on this host, and the other one could not be asked.
    Unseen,
    /// They end on this host.
    BrokenHere,
    /// They end on the other host.
    BrokenThere,
    /// Both hosts are as they should be, and nothing gets through.
    BrokenBetween,
}

/// The whole way; the JSON document of `GET /trace`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The container on this host.
    pub from: End,
    /// The other one.
    pub to: End,
    /// All in all.
    pub verdict: Verdict,
    /// This host's half.
    pub there: Half,
    /// The other host's, if it is another one and could be asked.
    pub back: Option<Half>,
    /// What became of real packets.
    pub probes: Vec<Step>,
}

impl Trace {
    /// Judges what was seen. `alone`: both containers are on this host.
    #[must_use]
    pub fn new((from, to): (End, End), there: Half, rest: Rest) -> Self {
        let Rest { back, probes, alone } = rest;
        let complete = alone || back.is_some();
        let of = |stage| probes.iter().find(|step: &&Step| step.stage == stage);
        let verdict = match (there.broken(), back.as_ref().and_then(Half::broken)) {
            (Some(_step), _) => Verdict::BrokenHere,
            (None, Some(_step)) => Verdict::BrokenThere,
            (None, None) if of(Stage::Mtu).is_some_and(|step| step.outcome == Outcome::Breaks) => {
                Verdict::BrokenBetween
            }
            (None, None) => match of(Stage::Answer).map(|step| step.outcome) {
                Some(Outcome::Passes) => Verdict::Whole,
                Some(Outcome::Breaks | Outcome::Doubtful) if complete => Verdict::BrokenBetween,
                Some(Outcome::Unseen) | None if complete => Verdict::Whole,
                _nobody_answers => Verdict::Unseen,
            },
        };
        Self { schema: SCHEMA, from, to, verdict, there, back, probes }
    }

    /// The station at which it breaks, and on which host.
    #[must_use]
    pub fn broken(&self) -> Option<(&str, &Step)> {
        let mut halves = std::iter::once(&self.there).chain(&self.back);
        halves.find_map(|half| Some((half.host.as_str(), half.broken()?)))
    }
}

/// What there is besides this host's half.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rest {
    /// The other host's half.
    pub back: Option<Half>,
    /// What became of real packets.
    pub probes: Vec<Step>,
    /// Are both containers on this host?
    pub alone: bool,
}

#[cfg(test)]
mod tests;
