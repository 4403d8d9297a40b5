//! The last good picture of the network, as a host keeps it on its disk for the time without etcd.
//!
//! One header line with the name, version and checksum of what follows, then JSON. Whatever differs
//! from what was written, be it by a bit, is refused with the reason: a host that comes up from half
//! a picture would be worse than one that waits.

mod wire;

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::config::NetworkConfig;
use crate::ids::{NodeId, Revision};
use crate::lease::{Lease, Listing};
use crate::validity::{Stamp, Term, Uncertain, Validity};

/// The first word of the file.
const NAME: &str = "twill-picture";

/// The one version that there is.
const VERSION: &str = "1";

/// Digits of the checksum.
const DIGITS: usize = 64;

/// What a host needs to have its place in the network without asking etcd.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Picture {
    /// The prefix of the network's keys.
    pub prefix: String,
    /// Which host kept it.
    pub node: NodeId,
    /// The network's configuration.
    pub config: NetworkConfig,
    /// When that was written.
    pub written: Revision,
    /// This host's own lease.
    pub own: Lease,
    /// How long this host may believe in that, a reservation included: it does not end, but may be
    /// released while nobody can tell this host.
    pub life: Life,
    /// Everybody's leases.
    pub listing: Listing,
    /// When it was kept.
    pub kept: Stamp,
}

/// How long a lease is believed in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Life {
    /// From each renewal on, or from each look at a reservation.
    pub ttl: Duration,
    /// From the moment on at which the picture was kept.
    pub left: Duration,
}

/// Why a file is not used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It is none of ours.
    #[error("it does not begin with `{NAME}`")]
    Foreign,
    /// An earlier or later version kept it.
    #[error("it is of version {found}, and this program reads version {VERSION}")]
    Version {
        /// What it says.
        found: String,
    },
    /// It is not what was written.
    #[error("it is torn or was changed: its checksum does not match")]
    Torn,
    /// It is what was written, and makes no sense.
    #[error("its content makes no sense: {why}")]
    Senseless {
        /// What is wrong.
        why: String,
    },
    /// Another network's.
    #[error("it is of the network under {prefix}")]
    OtherNetwork {
        /// The prefix of that network's keys.
        prefix: String,
    },
    /// Another host's.
    #[error("host {node} kept it, and this one is another")]
    OtherHost {
        /// Who kept it.
        node: NodeId,
    },
}

impl Picture {
    /// The whole text of the file. What is no lease is left out: it is no help without etcd.
    #[must_use]
    pub fn render(&self) -> String {
        let body = wire::write(self);
        format!("{}{body}\n", header(body.as_bytes()))
    }

    /// A file with that body and the header that goes with it: what tests of the reader need.
    #[must_use]
    pub fn sealed(body: &[u8]) -> Vec<u8> {
        [header(body).as_bytes(), body, b"\n"].concat()
    }

    /// Reads a file: the same picture that was written, or the reason.
    pub fn parse(file: &[u8]) -> Result<Self, Refusal> {
        let rest = file.strip_prefix(NAME.as_bytes()).ok_or(Refusal::Foreign)?;
        let rest = rest.strip_prefix(b" ").ok_or(Refusal::Foreign)?;
        let end = rest.iter().position(|byte| *byte == b' ').ok_or(Refusal::Torn)?;
        let (version, rest) = rest.split_at(end);
        if version != VERSION.as_bytes() {
            let found = String::from_utf8_lossy(&version[..end.min(20)]);
            return Err(Refusal::Version { found: found.escape_debug().to_string() });
        }
        let (sum, body) = rest[1..].split_at_checked(DIGITS).ok_or(Refusal::Torn)?;
        let body = body.strip_prefix(b"\n").and_then(|body| body.strip_suffix(b"\n"));
        let body = body.ok_or(Refusal::Torn)?;
        if sum != checksum(body).as_bytes() {
            return Err(Refusal::Torn);
        }
        wire::read(body).map_err(|why| Refusal::Senseless { why })
    }

    /// Is it this host's, of this network? Prefixes with and without a slash at the end are one.
    pub fn is_of(&self, prefix: &str, node: NodeId) -> Result<(), Refusal> {
        if self.prefix.trim_end_matches('/') != prefix.trim_end_matches('/') {
            return Err(Refusal::OtherNetwork { prefix: self.prefix.clone() });
        }
        if self.node != node {
            return Err(Refusal::OtherHost { node: self.node });
        }
        Ok(())
    }

    /// Is the own lease still this host's, by what stands in etcd? When and what was written there last
    /// does not matter.
    #[must_use]
    pub fn agrees_with(&self, listing: &Listing) -> bool {
        let ours = |lease: &Lease| lease.key == self.own.key && lease.value.node == Some(self.node);
        listing.leases.iter().any(ours)
    }

    /// How long the own lease is believed in.
    #[must_use]
    pub fn term(&self) -> Term {
        Term { left: self.life.left, at: self.kept }
    }

    /// Is the own lease still ours?
    #[must_use]
    pub fn validity(&self, now: &Stamp) -> Validity {
        self.term().validity(now)
    }

    /// How long ago it was kept, at least.
    pub fn age(&self, now: &Stamp) -> Result<Duration, Uncertain> {
        crate::validity::passed(&self.kept, now)
    }
}

fn header(body: &[u8]) -> String {
    format!("{NAME} {VERSION} {}\n", checksum(body))
}

fn checksum(body: &[u8]) -> String {
    let digits = |byte: &u8| {
        [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
    };
    Sha256::digest(body).iter().flat_map(digits).collect()
}

#[cfg(test)]
mod tests;
