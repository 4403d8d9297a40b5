//! Makes a subnet this host's and keeps it so: the shell around [`twill_core::ownership`].
//!
//! Nothing in here touches the kernel: it needs a [`twill_store::Store`] and nothing else, so that
//! hundreds of hosts fit into one process of a test. Every step is decided on a fresh picture, and every
//! write is a transaction on it.

mod double;
mod keeper;
mod renewal;
mod tenant;
mod watch;
mod wish;
mod words;

pub use keeper::{Belief, Keeper, Left, Mine};
pub(crate) use tenant::Basis;
pub use tenant::{JoinError, Joined, Tenant};
pub(crate) use watch::mine;
pub use watch::watch_own;
pub use wish::Wish;
pub(crate) use words::{tell_displaced, tell_doubled};

use std::time::Duration;

/// flannel's: its peers believe a lease for a day.
pub const DEFAULT_TTL: Duration = Duration::from_hours(24);
/// Shorter ones would end with every hiccup of etcd.
pub const SHORTEST_TTL: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
