//! How a container fares. Replaced as a whole at each change.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
    /// Its first process has ended.
    Exited,
}

impl Status {
    /// Docker's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited => "exited",
        }
    }
}

/// Where a container is on the overlay.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Address {
    /// Its own.
    pub ip: Ipv4Addr,
    /// Bits of the host's subnet.
    pub prefix_length: u8,
    /// The bridge's.
    pub gateway: Ipv4Addr,
    /// Of its interface.
    pub mac: String,
    /// What its interface carries.
    pub mtu: u32,
    /// The bridge.
    pub bridge: String,
    /// The host's end of the pair.
    pub host_interface: String,
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
}

impl State {
    /// The state after an end that was seen, or found out later.
    #[must_use]
    pub fn exited(self, exit_code: u8, finished: Timestamp) -> Self {
        let status = Status::Exited;
        Self { status, exit_code, finished: Some(finished), process: None, address: None, ..self }
    }
}
