//! When owners were seen: what people ask of the store, and no host does.

use std::collections::BTreeMap;
use std::future::Future;

use twill_core::ids::{LeaseId, NodeId};

use crate::{Error, Store};

/// The time of an etcd lease, in seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Life {
    /// What it was granted for, and is again with every `KeepAlive`.
    pub granted: u64,
    /// What is left of that.
    pub remaining: u64,
}

impl Life {
    /// How long ago somebody made it live on, or made it, rounded up.
    #[must_use]
    pub fn idle(self) -> u64 {
        self.granted.saturating_sub(self.remaining)
    }
}

/// A store that tells when owners were seen.
pub trait Times: Store {
    /// The time of each lease; those that ended already are missing.
    ///
    /// One question a lease, because etcd knows no other.
    fn lives(
        &self,
        leases: &[LeaseId],
    ) -> impl Future<Output = Result<BTreeMap<LeaseId, Life>, Error>> + Send;

    /// The etcd lease that each node record ends with; `None` for a record without an end.
    fn presences(
        &self,
    ) -> impl Future<Output = Result<BTreeMap<NodeId, Option<LeaseId>>, Error>> + Send;
}
