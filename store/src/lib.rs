//! etcd behind a trait, and its in-memory twin.
//!
//! The store tells the truth and decides nothing: every write that could hurt another host is a
//! transaction which compares what was read, and a lost one is an answer, not an error. What to do
//! then is the caller's loop. [`Follow`] is the one place that comes back after a lost connection.

mod backoff;
mod error;
mod etcd;
mod follow;
mod layout;
mod memory;
mod model;

pub use backoff::Backoff;
pub use error::{Cause, Error, Operation, Place};
pub use etcd::{Etcd, EtcdWatch, Options, Tls, User};
pub use follow::{Follow, Update};
pub use memory::{Memory, MemoryWatch};
pub use model::{
    Bid, Claimed, ConfigText, Expected, Held, Nodes, Revoked, Seen, UnreadableNode, Written,
};

use std::fmt::Debug;
use std::future::Future;

use twill_core::ids::{LeaseId, Revision};
use twill_core::lease::{Lease, Listing};
use twill_core::node::NodeRecord;

/// What the agent and `twillctl` need of etcd. Every call has a deadline of its own.
pub trait Store: Clone + Debug + Send + Sync + 'static {
    /// What [`Store::watch`] gives.
    type Watch: Watch;

    /// The network's configuration as it stands; `None` when nobody wrote one.
    fn config(&self) -> impl Future<Output = Result<Option<ConfigText>, Error>> + Send;

    /// Writes the configuration if what is there now is what the caller expects.
    fn write_config(
        &self,
        text: &str,
        expected: Expected,
    ) -> impl Future<Output = Result<Written, Error>> + Send;

    /// Everything under `subnets/`, at one moment.
    fn leases(&self) -> impl Future<Output = Result<Listing, Error>> + Send;

    /// Takes a subnet, if its key and the configuration still are what the bid says.
    ///
    /// A lost bid leaves nothing behind in etcd.
    fn claim(&self, bid: &Bid) -> impl Future<Output = Result<Claimed, Error>> + Send;

    /// Makes a lease live on for its full time, and writes its value again for peers that missed
    /// it; `held.lease.value` may have changed.
    ///
    /// [`Claimed::Lost`] when the lease ran out or somebody else wrote the key.
    fn renew(&self, held: &Held) -> impl Future<Output = Result<Claimed, Error>> + Send;

    /// Deletes a lease, if it is still the one that was read.
    fn revoke(&self, lease: &Lease) -> impl Future<Output = Result<Revoked, Error>> + Send;

    /// Writes a node record, which ends with the etcd lease if there is one.
    fn put_node(
        &self,
        record: &NodeRecord,
        lease: Option<LeaseId>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// All node records.
    fn nodes(&self) -> impl Future<Output = Result<Nodes, Error>> + Send;

    /// What happens under `subnets/` after that revision. The watch stands when this returns.
    fn watch(&self, after: Revision) -> impl Future<Output = Result<Self::Watch, Error>> + Send;
}

/// One connection's view of what happens under `subnets/`, in etcd's order.
pub trait Watch: Debug + Send + 'static {
    /// Waits for the next event, as long as it takes. An error ends the watch.
    ///
    /// Cancel safe: an event is either returned or still to come.
    fn next(&mut self) -> impl Future<Output = Result<Seen, Error>> + Send;
}
