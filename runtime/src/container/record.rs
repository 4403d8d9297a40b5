//! What a container was asked to be. Written when it is created; only `rename` and `update` write it anew.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attachment::Attachment;
use super::isolation::Isolation;
use super::ports::Ports;
use super::resources::Resources;
use super::restart::Policy;
use super::wiring::Wiring;
use crate::security::Security;

/// How a container meets the network.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// On the host's subnet of the overlay.
    Bridge,
    /// With a loopback interface only.
    None,
    /// In the host's own network.
    Host,
    /// In that of another container.
    Container,
}

impl Network {
    /// As on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::None => "none",
            Self::Host => "host",
            Self::Container => "container",
        }
    }
}

/// The image that a container was made from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ImageOf {
    /// As the user called it.
    pub name: String,
    /// Its id, `sha256:…`: the name may go to another image later.
    pub id: String,
    /// Its unpacked layers, the lowest first.
    pub layers: Vec<PathBuf>,
}

/// Everything that was decided at creation: the user's wishes over the image's.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without Docker's slash.
    pub name: String,
    /// When.
    pub created: Timestamp,
    /// From what.
    pub image: ImageOf,
    /// The whole command: entry point and arguments.
    pub command: Vec<String>,
    /// How much of it is the entry point.
    pub entrypoint: usize,
    /// `NAME=VALUE`, of the image and of the user, without what every container gets.
    pub env: Vec<String>,
    /// Where it starts.
    pub workdir: PathBuf,
    /// `user[:group]`; empty for root.
    pub user: String,
    /// Its own idea of its host's name.
    pub hostname: String,
    /// The way to the network.
    pub network: Network,
    /// How it is reached there.
    #[serde(default)]
    pub ports: Ports,
    /// What else was asked for there.
    #[serde(default)]
    pub wiring: Wiring,
    /// Has it a terminal?
    pub tty: bool,
    /// Is its standard input kept open?
    pub open_stdin: bool,
    /// What whoever made it wanted of its streams.
    #[serde(default)]
    pub attached: Attachment,
    /// Does it vanish when it ends?
    pub auto_remove: bool,
    /// Below which cgroup it gets its own.
    pub cgroup_parent: String,
    /// What politely ends it.
    pub stop_signal: i32,
    /// Of the image and of the user.
    pub labels: std::collections::BTreeMap<String, String>,
    /// How much of the host it may use.
    #[serde(default)]
    pub resources: Resources,
    /// Does it start again after its end?
    #[serde(default)]
    pub restart: Policy,
    /// Its powers.
    #[serde(default)]
    pub security: Security,
    /// What it has for itself, and what it shares.
    #[serde(default)]
    pub isolation: Isolation,
    /// Seconds that it gets to end; any number if negative.
    #[serde(default)]
    pub stop_timeout: Option<i64>,
    /// Where its id was written to, too.
    #[serde(default)]
    pub cid_file: Option<PathBuf>,
    /// How it is asked whether it does its work.
    #[serde(default)]
    pub health: Option<super::health::Check>,
    /// What it sees of the host's files, each below those that it lies in.
    #[serde(default)]
    pub mounts: Vec<crate::mount::Mount>,
    /// How its output is kept: `--log-opt`, checked.
    #[serde(default)]
    pub log_options: std::collections::BTreeMap<String, String>,
}

impl Record {
    /// As people see it.
    #[must_use]
    pub fn short_id(&self) -> &str {
        super::id::short(&self.id)
    }

    /// The way to the network in Docker's words.
    #[must_use]
    pub fn network_mode(&self) -> String {
        match &self.wiring.shares {
            Some(id) => format!("{}:{id}", self.network.as_str()),
            None => self.network.as_str().to_owned(),
        }
    }

    /// Does its input end with whoever feeds it, as Docker's `StdinOnce` says? If nobody was to be there from the
    /// beginning, people come and go.
    #[must_use]
    pub fn feeds_once(&self) -> bool {
        self.open_stdin && self.attached.input
    }

    /// Where its cgroups lie, from the root of each hierarchy.
    #[must_use]
    pub fn cgroup(&self) -> PathBuf {
        crate::cgroup::path(&self.cgroup_parent, &self.id)
    }
}

/// For tests of what is made of records.
#[cfg(test)]
pub(crate) fn sample() -> Record {
    Record {
        id: "a".repeat(64),
        name: "web".into(),
        created: Timestamp::UNIX_EPOCH,
        image: ImageOf { name: "bb".into(), id: "sha256:0".into(), layers: vec![] },
        command: vec!["sh".into()],
        entrypoint: 0,
        env: vec!["A=1".into(), "PATH=/bin".into()],
        workdir: "/".into(),
        user: String::new(),
        hostname: "host".into(),
        network: Network::Bridge,
        ports: Ports::default(),
        wiring: Wiring::default(),
        tty: false,
        open_stdin: false,
        attached: Attachment::default(),
        auto_remove: false,
        cgroup_parent: "/twill".into(),
        stop_signal: 15,
        labels: std::collections::BTreeMap::new(),
        resources: Resources::default(),
        restart: Policy::No,
        security: Security::default(),
        isolation: Isolation::default(),
        stop_timeout: None,
        cid_file: None,
        health: None,
        mounts: vec![],
        log_options: std::collections::BTreeMap::new(),
    }
}
