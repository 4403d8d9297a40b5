//! What goes into the store and what comes out.

use std::time::Duration;

use twill_core::ids::{LeaseId, NodeId, Revision};
use twill_core::lease::{Event, Key, Lease, LeaseValue, Listing};
use twill_core::networks::catalogue::Turn;
use twill_core::node::NodeRecord;
use twill_core::ownership::Challenge;
use twill_core::pick::Over;

/// The network's configuration, unread.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigText {
    /// The bytes of the value.
    pub text: Vec<u8>,
    /// When they were written.
    pub revision: Revision,
}

/// What the writer of a configuration expects to find.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// None at all.
    Nothing,
    /// The one written at that revision.
    At(Revision),
    /// Anything: it is to be replaced whatever it is.
    Anything,
}

/// What came of writing a configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Written {
    /// It is there, since that revision.
    Done(Revision),
    /// Something else was there than expected; nothing was written.
    Changed,
}

/// A host's wish for a subnet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bid {
    /// The subnet; in a network of both families, one of each.
    pub key: Key,
    /// What the host says about itself.
    pub value: LeaseValue,
    /// What must be under the key now.
    pub over: Over,
    /// No key with this IPv4 block, whatever its other half is, may have been written after that; `None`
    /// asks nothing.
    pub beside: Option<Revision>,
    /// When the configuration was written that the bid is made under, if it must still be the one.
    pub config: Option<Revision>,
    /// How long the lease shall live without renewal, in whole seconds, at least one. A reservation
    /// never ends; then it is only the node record that does.
    pub ttl: Duration,
    /// Written in the same transaction. It ends with the lease, or by itself beside a reservation.
    pub record: Option<NodeRecord>,
}

impl Bid {
    /// Will the key have no end?
    pub(crate) fn is_reservation(&self) -> bool {
        matches!(self.over, Over::Reservation(_) | Over::Unreadable(_, None))
    }

    /// The etcd lease that the key hung on until now.
    pub(crate) fn standing(&self) -> Option<LeaseId> {
        match self.over {
            Over::Lease(_, id) | Over::Unreadable(_, Some(id)) => Some(id),
            Over::Nothing | Over::Reservation(_) | Over::Unreadable(_, None) => None,
        }
    }
}

/// A lease that is ours, and how long it lives from the moment it was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// The lease.
    pub lease: Lease,
    /// What etcd granted; `None` for a reservation, or when somebody else granted it.
    pub ttl: Option<Duration>,
    /// The etcd lease of the node record: the lease's own, or another beside a reservation.
    pub presence: Option<LeaseId>,
}

/// A wish to write a lease again.
#[derive(Clone, Copy, Debug)]
pub struct Renewal<'a> {
    /// The lease as it was written or read last; its value may have changed.
    pub held: &'a Held,
    /// Written in the same transaction.
    pub record: Option<&'a NodeRecord>,
    /// How long the record lives beside a reservation.
    pub ttl: Duration,
}

/// Does a lease live on?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Alive {
    /// For its full time again, and the key stands as it was written.
    Yes,
    /// Its time is over, or somebody else wrote the key: look.
    No,
}

/// All that a host decides on, at one revision.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Picture {
    /// The network's configuration; `None` when nobody wrote one.
    pub config: Option<ConfigText>,
    /// Everybody's leases.
    pub listing: Listing,
    /// What another host with this node id asks.
    pub question: Option<Question>,
}

/// The question of a host whose node id another one may have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// Who asks, and perhaps who answered.
    pub challenge: Challenge,
    /// When that was written.
    pub revision: Revision,
}

/// What came of asking.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// The question is there, since that revision, until this etcd lease ends.
    Placed(Revision, LeaseId),
    /// Another question was there already.
    There(Question),
}

/// Whose news a watch brings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// What happens under `subnets/`.
    Leases,
    /// That, the network's configuration, and questions to the host with this node id.
    Host(NodeId),
    /// The configurations of all networks that lie side by side under the prefix, each under its name.
    Networks,
}

/// What came of a bid or a renewal.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is mostly the large one"
)]
pub enum Claimed {
    /// The subnet is ours.
    Ours(Held),
    /// Another write came first, or the lease ran out: list again and decide again.
    Lost,
    /// The configuration is another one than the bid was made under: read it again.
    Outdated,
}

/// What etcd knows of a moment at which a host saw something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Past {
    /// It was so.
    Same,
    /// Something else was there, or that moment is still to come.
    Other,
    /// It has forgotten what was then.
    Forgotten,
}

/// What came of a revocation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Revoked {
    /// The lease is gone, perhaps already before.
    Gone,
    /// The key holds another lease now, which was left alone.
    Changed,
}

/// All node records at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Nodes {
    /// The records, ordered by node id.
    pub records: Vec<NodeRecord>,
    /// Keys in their place that are none.
    pub unreadable: Vec<UnreadableNode>,
}

/// A key in the place of a node record that is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnreadableNode {
    /// The last part of the key.
    pub key: String,
    /// What is wrong.
    pub why: String,
}

/// One step of a watch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen {
    /// This happened.
    Event(Event),
    /// The configuration was written, or deleted, at that revision.
    Config(Option<ConfigText>, Revision),
    /// A question to this host was written, answered or withdrawn, at that revision.
    Question(Option<Question>, Revision),
    /// A network came, was changed or went.
    Network(Turn),
    /// etcd forgot what happened in between; list again. The watch has ended.
    Compacted,
}
