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
mod reservation;
mod survey;
mod times;

pub use backoff::Backoff;
pub use error::{Cause, Error, Operation, Place};
pub use etcd::{Discovery, Etcd, EtcdWatch, Options, Password, Raw, Tls, User};
pub use follow::{Follow, Update};
pub use memory::{Memory, MemoryWatch};
pub use model::{
    Alive, Asked, Bid, Claimed, ConfigText, Expected, Held, Nodes, Past, Picture, Question,
    Renewal, Revoked, Scope, Seen, UnreadableNode, Written,
};
pub use reservation::{Reserve, Rewritten};
pub use survey::{Sight, Survey};
pub use times::{Life, Times};

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use twill_core::ids::{LeaseId, NetworkName, NodeId, Revision};
use twill_core::lease::{Key, Lease, Listing};
use twill_core::networks::catalogue::Catalogue;
use twill_core::ownership::Challenge;

/// What the agent and `twillctl` need of etcd. Every call has a deadline of its own.
pub trait Store: Clone + Debug + Send + Sync + 'static {
    /// What [`Store::watch`] gives.
    type Watch: Watch;

    /// Lets go of the connections that there are; what is asked next goes over new ones. For a host that
    /// has another address now: answers to the one before never come.
    fn reconnect(&self);

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

    /// All that the host decides on, read at one moment.
    fn picture(&self, node: NodeId) -> impl Future<Output = Result<Picture, Error>> + Send;

    /// Takes a subnet, if its key and the configuration still are what the bid says.
    ///
    /// A lost bid leaves nothing behind in etcd.
    fn claim(&self, bid: &Bid) -> impl Future<Output = Result<Claimed, Error>> + Send;

    /// Makes a lease live on for its full time, and writes it again for peers that missed it.
    ///
    /// [`Claimed::Lost`] when the lease ran out or somebody else wrote the key.
    fn renew(&self, renewal: Renewal<'_>) -> impl Future<Output = Result<Claimed, Error>> + Send;

    /// Makes the etcd lease behind a lease and its node record live on for its full time, and tells
    /// whether the key still is as it was written. Writes nothing, so that no peer hears of it.
    fn keep_alive(&self, held: &Held) -> impl Future<Output = Result<Alive, Error>> + Send;

    /// Asks whether a host lives that has our node id. The question ends by itself after `ttl`.
    ///
    /// A question from the same address is replaced: it was ours.
    fn ask(
        &self,
        node: NodeId,
        challenge: &Challenge,
        ttl: Duration,
    ) -> impl Future<Output = Result<Asked, Error>> + Send;

    /// Takes a question back, answered or not.
    fn unask(&self, placed: LeaseId) -> impl Future<Output = ()> + Send;

    /// Writes the answer into a question, if it still is the one that was read.
    fn answer(
        &self,
        node: NodeId,
        answered: &Question,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Deletes a lease, if it is still the one that was read.
    fn revoke(&self, lease: &Lease) -> impl Future<Output = Result<Revoked, Error>> + Send;

    /// All node records.
    fn nodes(&self) -> impl Future<Output = Result<Nodes, Error>> + Send;

    /// What happens after that revision. The watch stands when this returns.
    fn watch(
        &self,
        after: Revision,
        scope: Scope,
    ) -> impl Future<Output = Result<Self::Watch, Error>> + Send;

    /// Makes a reservation: a key that never ends.
    fn reserve(&self, wish: Reserve<'_>) -> impl Future<Output = Result<Rewritten, Error>> + Send;

    /// Gives a reservation an end, `ttl` from now unless its owner renews it, if it is still the one
    /// that was read. Its value stays, byte for byte.
    fn release(
        &self,
        lease: &Lease,
        ttl: Duration,
    ) -> impl Future<Output = Result<Rewritten, Error>> + Send;

    /// Deletes a key under `subnets/` whose value nobody can read, if it was not written since.
    fn discard(
        &self,
        key: Key,
        revision: Revision,
    ) -> impl Future<Output = Result<Revoked, Error>> + Send;
}

/// What an agent needs besides that follows all networks under one prefix.
pub trait Directory: Store {
    /// Every network that has a configuration under the prefix and a name, at one moment.
    fn networks(&self) -> impl Future<Output = Result<Catalogue, Error>> + Send;

    /// Was that network's configuration written at that revision? An etcd that was put back from a copy, or
    /// that lost everything, has another past than the one that a host remembers.
    fn past(
        &self,
        name: &NetworkName,
        written: Revision,
    ) -> impl Future<Output = Result<Past, Error>> + Send;
}

/// One connection's view of what happens, in etcd's order.
pub trait Watch: Debug + Send + 'static {
    /// Waits for the next event, as long as it takes. An error ends the watch.
    ///
    /// Cancel safe: an event is either returned or still to come.
    fn next(&mut self) -> impl Future<Output = Result<Seen, Error>> + Send;
}
