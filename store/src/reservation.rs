//! What goes into the store and what comes out when a key gets an end, or loses it.

use twill_core::ids::Revision;
use twill_core::lease::{Key, Lease, LeaseValue};

/// A wish for a key that never ends.
#[derive(Clone, Copy, Debug)]
pub enum Reserve<'a> {
    /// A key that nobody has, made under the configuration that was written at that revision: the
    /// subnet is one that it admits.
    New {
        /// The subnet; in a network of both families, one of each.
        key: Key,
        /// For whom it is.
        value: &'a LeaseValue,
        /// When the configuration was written.
        config: Revision,
    },
    /// The lease that was read. Its value stays, byte for byte, and its etcd lease runs out by
    /// itself: the owner's node record may hang on it.
    Lease(&'a Lease),
}

/// What came of reserving or releasing.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Rewritten {
    /// So it stands now.
    Done(Lease),
    /// Another write came first: list again and decide again.
    Changed,
    /// The configuration is another one than the subnet was chosen under: read it again.
    Outdated,
}
