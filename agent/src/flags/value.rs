//! Values of flags.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use twill_core::firewall::choose::Wish;
use twill_tunnel::Marks;

use crate::ownership::{DEFAULT_TTL, SHORTEST_TTL};

/// A word that must not be seen: it prints as `***`.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Secret(String);

impl Secret {
    /// The word itself, for its one use.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// Words between commas. As one value, so that the last flag holds and nothing adds up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct List(pub(crate) Vec<String>);

impl FromStr for List {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.split(',').map(str::to_owned).collect()))
    }
}

/// Whether the kernel carries packets of `udp`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Shortcut {
    /// Where it can
    Auto,
    /// Never
    Off,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// What firewall rules are written with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Engine {
    /// What the host uses
    Auto,
    /// iptables, in the variant that the host uses
    Iptables,
    /// nftables, in a table of our own
    Nftables,
    /// Nothing: you look after the rules yourself
    None,
}

/// Whose encapsulated packets are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum AcceptFrom {
    /// Those of peers, with sources inside their own subnets
    Peers,
    /// Everybody's, as with flannel
    Anyone,
}

/// What the underlay may know about a packet inside.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Shown {
    /// Nothing, as with flannel
    Nothing,
    /// Its priority
    Priority,
    /// Its priority, and whether it can be told of congestion
    Congestion,
}

impl From<Shown> for Marks {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Nothing => Self::None,
            Shown::Priority => Self::Priority,
            Shown::Congestion => Self::PriorityAndCongestion,
        }
    }
}

impl From<Engine> for Wish {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Auto => Self::Auto,
            Engine::Iptables => Self::Iptables,
            Engine::Nftables => Self::Nftables,
            Engine::None => Self::None,
        }
    }
}

/// What Go's `strconv.ParseBool` takes.
pub(super) fn go_bool(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _other => Err("neither true nor false"),
    }
}

pub(super) fn queues(text: &str) -> Result<NonZeroUsize, &'static str> {
    match text.parse() {
        Ok(number @ 1..=16) => Ok(NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)),
        _other => Err("not a number from 1 to 16"),
    }
}

pub(super) fn seconds(text: &str) -> Result<Duration, &'static str> {
    match text.parse() {
        Ok(number @ 1..=86_400) => Ok(Duration::from_secs(number)),
        _other => Err("not a number of seconds from 1 to 86400"),
    }
}

/// At least as long as etcd may hiccup; no longer than flannel's peers believe a lease.
pub(super) fn lease_ttl(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<jiff::SignedDuration>().ok().and_then(|it| it.try_into().ok());
    let range = SHORTEST_TTL..=DEFAULT_TTL;
    duration
        .filter(|ttl| range.contains(ttl))
        .ok_or_else(|| "not a time from 30s to 24h, such as 90s, 15m or 24h".to_owned())
}

/// Minutes; a day less a minute at most, because leases live for a day.
pub(super) fn renew_margin(text: &str) -> Result<Duration, &'static str> {
    match text.parse::<u64>() {
        Ok(number @ 1..=1439) => Ok(Duration::from_secs(number * 60)),
        _other => Err("not a number of minutes from 1 to 1439"),
    }
}
