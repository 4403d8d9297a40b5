//! What goes into the store and what comes out.

use std::time::Duration;

use twill_core::ids::{Revision, Subnet};
use twill_core::lease::{Event, Lease, LeaseValue};
use twill_core::node::NodeRecord;
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
    /// The subnet.
    pub subnet: Subnet,
    /// What the host says about itself.
    pub value: LeaseValue,
    /// What must be under the key now.
    pub over: Over,
    /// When the configuration was written that the bid is made under, if it must still be the one.
    pub config: Option<Revision>,
    /// How long the lease shall live without renewal, in whole seconds, at least one. A reservation
    /// ignores it: it never ends.
    pub ttl: Duration,
}

/// A lease that is ours, and how long it lives from the moment of the answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// The lease.
    pub lease: Lease,
    /// What etcd granted; `None` for a reservation.
    pub ttl: Option<Duration>,
}

/// What came of a bid or a renewal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Claimed {
    /// The subnet is ours.
    Ours(Held),
    /// Another write came first, or the lease ran out: list again and decide again.
    Lost,
    /// The configuration is another one than the bid was made under: read it again.
    Outdated,
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
    /// etcd forgot what happened in between; list again. The watch has ended.
    Compacted,
}
