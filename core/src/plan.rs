//! Decides which kernel rows to write and which to drop so that every peer can be reached.
//!
//! Pure on purpose: no socket, no clock, no log line. The shell dumps `actual`, applies the changes
//! in the order given, and asks again; "converged" means that the plan is empty.

use std::collections::BTreeMap;

use crate::ids::{Gateway, Mac, Subnet, Underlay};

/// How the packets of one route leave this host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hop {
    /// Into the tunnel device itself, which knows the rest (`udp`).
    Device,
    /// To a peer's gateway, on the link of the tunnel device (`vxlan`).
    Onlink(Gateway),
}

/// The rows we own on the tunnel device, keyed the way the kernel keys them.
///
/// Rows of another device or another owner never get in here: the dump leaves them out, so no
/// plan can ask for their removal.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tables {
    /// VXLAN forwarding database: hardware address of a peer's VTEP to its underlay address.
    pub forwarding: BTreeMap<Mac, Underlay>,
    /// Permanent neighbours: a peer's gateway to its VTEP's hardware address.
    pub neighbours: BTreeMap<Gateway, Mac>,
    /// Routes through the device.
    pub routes: BTreeMap<Subnet, Hop>,
}

/// One idempotent write; `Put` replaces the row that has the same key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the variants read as sentences")]
pub enum Change {
    PutForwarding(Mac, Underlay),
    PutNeighbour(Gateway, Mac),
    PutRoute(Subnet, Hop),
    DropRoute(Subnet, Hop),
    DropNeighbour(Gateway),
    DropForwarding(Mac),
}
