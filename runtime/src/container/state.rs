//! How a container fares. Replaced as a whole at each change.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use twill_core::ids::Family;
use twill_endpoint::{Place, Port};

use super::health::Health;
use crate::process::Process;

/// The stations of a container's life.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started, or its start failed.
    #[default]
    Created,
    /// Its first process is there.
    Running,
    /// Its first process has ended, and its monitor waits to start it again.
    Restarting,
    /// Its first process has ended.
    Exited,
}

impl Status {
    /// Does a monitor look after it?
    #[must_use]
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Restarting)
    }

    /// Docker's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
        }
    }
}

/// What people asked for last: it decides what the end of a run means.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// That it runs.
    #[default]
    Run,
    /// That it rests: no policy starts it again.
    Rest,
    /// That it ends and starts again: not even one that vanishes with its end does so now.
    Again,
}

/// Where a container is on the overlay.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Address {
    /// Its own; that of IPv4, if it has two.
    #[serde(flatten)]
    pub first: Ip,
    /// That of IPv6 beside IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ip>,
    /// Of its interface.
    pub mac: String,
    /// What its interface carries.
    pub mtu: u32,
    /// The bridge.
    pub bridge: String,
    /// The host's end of the pair.
    pub host_interface: String,
}

/// An address of one family.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ip {
    /// The address.
    pub ip: IpAddr,
    /// Bits of the host's subnet.
    pub prefix_length: u8,
    /// The bridge's.
    pub gateway: IpAddr,
}

impl From<Place> for Ip {
    fn from(place: Place) -> Self {
        let prefix_length = place.subnet.len();
        Self { ip: place.address, prefix_length, gateway: place.gateway() }
    }
}

impl Address {
    /// All of its addresses, IPv4 first.
    pub fn all(&self) -> impl Iterator<Item = Ip> + use<> {
        [self.first].into_iter().chain(self.ipv6)
    }

    /// That of one family.
    #[must_use]
    pub fn of(&self, family: Family) -> Option<Ip> {
        self.all().find(|ip| Family::of(ip.ip) == family)
    }
}

/// What changes in a container's life.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct State {
    /// The station.
    pub status: Status,
    /// Its first process, while it runs.
    pub process: Option<Process>,
    /// The last start.
    pub started: Option<Timestamp>,
    /// The last end.
    pub finished: Option<Timestamp>,
    /// Of the last run; 128+n for signal n.
    pub exit_code: u8,
    /// Did the kernel kill in it for want of memory?
    pub out_of_memory: bool,
    /// Why the last start failed, or how the last run was lost.
    pub error: String,
    /// Present while it runs on the bridge.
    pub address: Option<Address>,
    /// Where its ports are reached, while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// How often its policy has started it again since a person did.
    #[serde(default)]
    pub restarts: u32,
    /// The last wish of a person.
    #[serde(default)]
    pub wish: Wish,
    /// What it answered when it was asked how it is; while it runs, its monitor has it elsewhere.
    #[serde(default)]
    pub health: Option<Health>,
    /// Are its processes halted? The kernel knows, so it is asked and nothing is written down.
    #[serde(skip)]
    pub paused: bool,
}

impl State {
    /// Docker's word for how it fares.
    #[must_use]
    pub fn word(&self) -> &'static str {
        if self.paused { "paused" } else { self.status.as_str() }
    }

    /// The state after an end that was seen, or found out later.
    #[must_use]
    pub fn exited(self, exit_code: u8, finished: Timestamp) -> Self {
        let status = Status::Exited;
        Self {
            status,
            exit_code,
            finished: Some(finished),
            process: None,
            address: None,
            ports: Vec::new(),
            paused: false,
            ..self
        }
    }
}
