//! Decides which subnet a host claims, out of what is in etcd and what the host remembers.
//!
//! Pure on purpose: the claim itself is a transaction of the store, which may be lost to another
//! host; then the caller lists again and asks again.

use std::fmt;

use crate::config::NetworkConfig;
use crate::ids::{LeaseId, NodeId, Revision, Subnet, Underlay};
use crate::lease::{Lease, Listing};

/// flannel chooses among as many, so that hosts that start together seldom meet.
const CANDIDATES: usize = 100;

/// What the choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The network.
    pub config: &'a NetworkConfig,
    /// Which host this is.
    pub node: NodeId,
    /// The address that this host publishes.
    pub public_ip: Underlay,
    /// What is in etcd now.
    pub listing: &'a Listing,
    /// The subnet that this host had last, from its own state or `subnet.env`.
    pub previous: Option<Subnet>,
    /// Destinations that this host reaches by routes which are not ours. They rule a new subnet
    /// out, never one that the host already had: its own bridge has a route of that kind.
    pub local_routes: &'a [Subnet],
}

/// What to claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Choice {
    /// The subnet.
    pub subnet: Subnet,
    /// What must be under its key at that moment.
    pub over: Over,
    /// Why this one.
    pub reason: Reason,
    /// Other leases of this very host, to be revoked once the claim is won.
    pub withdraw: Vec<Lease>,
}

/// What a claim replaces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Over {
    /// Nothing: the key must not exist.
    Nothing,
    /// A lease that ends, last written at that revision.
    Lease(Revision, LeaseId),
    /// A reservation, last written at that revision. It stays one: the key keeps having no end.
    Reservation(Revision),
    /// Something that nobody can read, written over the lease of this host at that revision. The key
    /// ends again with the etcd lease that it had, if it had one.
    Unreadable(Revision, Option<LeaseId>),
}

/// Why a subnet was chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// Its lease carries our node id.
    Own,
    /// Its lease carries our public address and no node id: a flanneld of this host wrote it, or an
    /// administrator who reserved it.
    SameAddress,
    /// We had it before, and nobody has it now.
    Previous,
    /// It is one of the free ones.
    Free,
}

/// There is no subnet for this host.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// All are taken.
    #[error("no subnet is free between {min} and {max}: all {taken} are taken")]
    Full {
        /// The first that may be used.
        min: Subnet,
        /// The last that may be used.
        max: Subnet,
        /// How many keys hold them.
        taken: usize,
    },
    /// What is not taken cannot be used on this host.
    #[error("no subnet can be used between {min} and {max}: this host has a route to {route}")]
    LocalRoute {
        /// The first that may be used.
        min: Subnet,
        /// The last that may be used.
        max: Subnet,
        /// A route in the way.
        route: Subnet,
    },
}

impl Error {
    /// A way out, for a `hint:` line.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Full { .. } => {
                "`twillctl lease list` shows who holds them, `twillctl lease gc` frees those of hosts \
                 that are gone; a wider Network or a longer SubnetLen has room for more"
            }
            Self::LocalRoute { .. } => {
                "choose a Network that no host's own networks overlap: `ip route` shows them"
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "its lease is ours",
            Self::SameAddress => "its lease has our address",
            Self::Previous => "we had it before and it is free",
            Self::Free => "it is free",
        })
    }
}

/// The subnet to claim; `random` is any number, and decides among free ones.
pub fn pick(situation: &Situation<'_>, random: u64) -> Result<Choice, Error> {
    let Situation { config, listing, previous, .. } = situation;
    let mut mine = held(situation);
    let fits = |lease: &Lease| lease.key.ipv6.is_none() && config.admits(lease.subnet());
    if let Some(index) = mine.iter().position(|(_reason, lease)| fits(lease)) {
        let (reason, lease) = mine.remove(index);
        let over = match lease.lease_id {
            Some(id) => Over::Lease(lease.revision, id),
            None => Over::Reservation(lease.revision),
        };
        return Ok(Choice { subnet: lease.subnet(), over, reason, withdraw: ours(mine) });
    }
    let taken = taken(listing);
    let kept = previous.filter(|subnet| {
        config.admits(*subnet) && !taken.iter().any(|block| block.overlaps(*subnet))
    });
    let (subnet, reason) = match kept {
        Some(subnet) => (subnet, Reason::Previous),
        None => (any_free(situation, &taken, random)?, Reason::Free),
    };
    Ok(Choice { subnet, over: Over::Nothing, reason, withdraw: ours(mine) })
}

/// Leases of this host, the surest first, then reservations, then the newest.
fn held<'a>(situation: &Situation<'a>) -> Vec<(Reason, &'a Lease)> {
    let Situation { node, public_ip, listing, .. } = *situation;
    let mut held: Vec<_> = listing
        .leases
        .iter()
        .filter_map(|lease| match lease.value.node {
            Some(owner) => (owner == node).then_some((Reason::Own, lease)),
            None => (lease.value.public_ip == public_ip).then_some((Reason::SameAddress, lease)),
        })
        .collect();
    // A reservation is an administrator's wish, so it goes before a lease that the host chose itself.
    held.sort_by_key(|(reason, lease)| {
        (*reason != Reason::Own, lease.lease_id.is_some(), -lease.revision.0)
    });
    held
}

fn ours(mine: Vec<(Reason, &Lease)>) -> Vec<Lease> {
    // A reservation is the administrator's to delete.
    mine.into_iter()
        .filter(|(_reason, lease)| lease.lease_id.is_some())
        .map(|(_reason, lease)| lease.clone())
        .collect()
}

/// Blocks that somebody holds, whether or not we can read what is said about it.
fn taken(listing: &Listing) -> Vec<Subnet> {
    let unreadable = listing.malformed.iter().filter_map(|malformed| malformed.lease);
    let keys = listing.leases.iter().map(|lease| lease.key).chain(unreadable);
    keys.flat_map(|key| key.blocks()).collect()
}

fn any_free(situation: &Situation<'_>, taken: &[Subnet], random: u64) -> Result<Subnet, Error> {
    let NetworkConfig { subnet_len, subnet_min: min, subnet_max: max, .. } = *situation.config;
    // The default route covers everything and is in nobody's way.
    let routes: Vec<Subnet> =
        situation.local_routes.iter().copied().filter(|route| route.len() > 0).collect();
    let blocks: Vec<Subnet> = taken.iter().chain(&routes).copied().collect();
    let free: Vec<Subnet> =
        Free { blocks: &blocks, len: subnet_len, next: Some(min), max }.take(CANDIDATES).collect();
    let count = u64::try_from(free.len()).unwrap_or(u64::MAX);
    let index = random.checked_rem(count).and_then(|index| usize::try_from(index).ok());
    index.and_then(|index| free.get(index)).copied().ok_or_else(|| {
        let within = |block: &&Subnet| block.last() >= min.base() && block.base() <= max.last();
        match routes.iter().find(within) {
            Some(route) => Error::LocalRoute { min, max, route: *route },
            None => Error::Full { min, max, taken: taken.len() },
        }
    })
}

/// Walks over the blocks in the way instead of trying every subnet inside them.
struct Free<'a> {
    blocks: &'a [Subnet],
    len: u8,
    next: Option<Subnet>,
    max: Subnet,
}

impl Iterator for Free<'_> {
    type Item = Subnet;

    fn next(&mut self) -> Option<Subnet> {
        loop {
            let candidate = self.next.filter(|subnet| *subnet <= self.max)?;
            let hit = self.blocks.iter().find(|block| block.overlaps(candidate));
            let end = hit.map_or(candidate.last(), |block| block.last().max(candidate.last()));
            self.next = Subnet::containing(end, self.len).and_then(Subnet::next);
            if hit.is_none() {
                return Some(candidate);
            }
        }
    }
}

#[cfg(test)]
mod tests;
