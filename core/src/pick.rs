//! Decides which subnet a host claims, out of what is in etcd and what the host remembers.
//!
//! Pure on purpose: the claim itself is a transaction of the store, which may be lost to another
//! host; then the caller lists again and asks again.

mod free;

use std::fmt;

use crate::config::{NetworkConfig, Range};
use crate::ids::{LeaseId, NodeId, Revision, Subnet, Underlay};
use crate::lease::{Key, Lease, Listing};
use free::Free;

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
    pub previous: Option<Key>,
    /// Destinations that this host reaches by routes which are not ours. They rule a new subnet
    /// out, never one that the host already had: its own bridge has a route of that kind.
    pub local_routes: &'a [Subnet],
}

/// What to claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Choice {
    /// The subnet; in a network of both families, one of each.
    pub key: Key,
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
    let fits = |lease: &Lease| config.admits(lease.key) && !situation.came_late(lease);
    if let Some(index) = mine.iter().position(|(_reason, lease)| fits(lease)) {
        let (reason, lease) = mine.remove(index);
        let over = match lease.lease_id {
            Some(id) => Over::Lease(lease.revision, id),
            None => Over::Reservation(lease.revision),
        };
        return Ok(Choice { key: lease.key, over, reason, withdraw: ours(mine) });
    }
    let had: Vec<Subnet> = mine
        .iter()
        .map(|(_reason, lease)| lease.key)
        .chain(*previous)
        .flat_map(|key| key.blocks())
        .collect();
    let blocks = |ours: bool| {
        let held = |key: &Key| mine.iter().any(|(_reason, lease)| lease.key == *key);
        let keys = taken(listing).filter(move |key| ours || !held(key));
        keys.flat_map(|key| key.blocks()).collect::<Vec<_>>()
    };
    let (taken, others) = (blocks(true), blocks(false));
    // A network that has got another family, or lost one, leaves a host the rest of what it had.
    let kept = |range: &Range| {
        let free = |block: &Subnet| !others.iter().any(|other| other.overlaps(*block));
        had.iter().copied().find(|block| range.admits(*block) && free(block))
    };
    let free = Free { taken: &taken, routes: situation.routes(), random };
    let (first, second) = (config.first(), config.ipv6);
    let first_kept = kept(&first);
    let reason = if first_kept.is_some() { Reason::Previous } else { Reason::Free };
    let key = match second {
        None => first_kept.map_or_else(|| free.any_in(&first), Ok)?.into(),
        Some(second) => free.pair((&first, first_kept), (&second, kept(&second)))?,
    };
    Ok(Choice { key, over: Over::Nothing, reason, withdraw: ours(mine) })
}

impl Situation<'_> {
    /// Is half of it another's, who wrote before us? etcd gives one key to one host; of two keys that share
    /// the block of one family the second is taken back, unless its host died before it could.
    fn came_late(&self, lease: &Lease) -> bool {
        let mut others = self.others_with(lease.key);
        lease.key.ipv6.is_some() && others.any(|other| other.revision < lease.revision)
    }

    /// Leases of other hosts that share an address with the key. What a flanneld or an administrator wrote
    /// for this host is none of them.
    pub fn others_with(&self, key: Key) -> impl Iterator<Item = &Lease> {
        let others = self.listing.leases.iter().filter(move |lease| lease.key != key);
        others.filter(move |lease| lease.key.overlaps(&key) && !self.is_ours(lease))
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        match lease.value.node {
            Some(owner) => owner == self.node,
            None => lease.value.public_ip == self.public_ip,
        }
    }

    /// The default route covers everything and is in nobody's way.
    fn routes(&self) -> Vec<Subnet> {
        self.local_routes.iter().copied().filter(|route| route.len() > 0).collect()
    }
}

/// Leases of this host, the surest first, then reservations, then the newest.
fn held<'a>(situation: &Situation<'a>) -> Vec<(Reason, &'a Lease)> {
    let ours = situation.listing.leases.iter().filter(|lease| situation.is_ours(lease));
    let reason = |lease: &Lease| match lease.value.node {
        Some(_us) => Reason::Own,
        None => Reason::SameAddress,
    };
    let mut held: Vec<_> = ours.map(|lease| (reason(lease), lease)).collect();
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

/// What somebody holds, whether or not we can read what is said about it.
fn taken(listing: &Listing) -> impl Iterator<Item = Key> {
    let unreadable = listing.malformed.iter().filter_map(|malformed| malformed.lease);
    listing.leases.iter().map(|lease| lease.key).chain(unreadable)
}

#[cfg(test)]
mod tests;
