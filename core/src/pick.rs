//! Decides which subnet a host claims, out of what is in etcd and what the host remembers.
//!
//! Pure on purpose: the claim itself is a transaction of the store, which may be lost to another
//! host; then the caller lists again and asks again.

use std::fmt;

use crate::config::{NetworkConfig, Range};
use crate::ids::{LeaseId, NodeId, Revision, Subnet, Underlay};
use crate::lease::{Key, Lease, Listing};

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
    let key = match (first_kept, second, second.and_then(|second| kept(&second))) {
        (Some(subnet), None, _) => subnet.into(),
        (Some(subnet), Some(_), Some(ipv6)) => Key { subnet, ipv6: Some(ipv6) },
        (None, None, _) => free.any_in(&first)?.into(),
        (Some(subnet), Some(second), None) => {
            let ipv6 =
                free.beside(subnet, (&first, &second)).map_or_else(|| free.any_in(&second), Ok)?;
            Key { subnet, ipv6: Some(ipv6) }
        }
        (None, Some(second), Some(ipv6)) => {
            let subnet =
                free.beside(ipv6, (&second, &first)).map_or_else(|| free.any_in(&first), Ok)?;
            Key { subnet, ipv6: Some(ipv6) }
        }
        (None, Some(second), None) => free.pair(&first, &second)?,
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

/// What may be chosen.
struct Free<'a> {
    taken: &'a [Subnet],
    routes: Vec<Subnet>,
    random: u64,
}

impl Free<'_> {
    /// One of the first.
    fn any_in(&self, range: &Range) -> Result<Subnet, Error> {
        let first: Vec<Subnet> = self.walk(range).take(CANDIDATES).collect();
        self.one_of(&first).ok_or_else(|| self.none_in(range))
    }

    /// One of the first of each, with one number in both ranges if there are such: people find it easier,
    /// and two hosts that choose at the same moment then meet in one key, of which etcd gives one to one.
    fn pair(&self, first: &Range, second: &Range) -> Result<Key, Error> {
        let same = |subnet: Subnet| {
            Some(Key { subnet, ipv6: Some(self.beside(subnet, (first, second))?) })
        };
        let pairs: Vec<Key> = self.walk(first).filter_map(same).take(CANDIDATES).collect();
        match self.one_of(&pairs) {
            Some(pair) => Ok(pair),
            None => Ok(Key { subnet: self.any_in(first)?, ipv6: Some(self.any_in(second)?) }),
        }
    }

    /// The block of the other range that has the number of this one, if it is free.
    fn beside(&self, block: Subnet, (from, to): (&Range, &Range)) -> Option<Subnet> {
        let other = from.beside(block, to)?;
        let is_free = !self.taken.iter().chain(&self.routes).any(|block| block.overlaps(other));
        is_free.then_some(other)
    }

    fn one_of<T: Copy>(&self, all: &[T]) -> Option<T> {
        let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let index = self.random.checked_rem(count).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| all.get(index)).copied()
    }

    fn walk(&self, range: &Range) -> Walk {
        let blocks = self.taken.iter().chain(&self.routes).copied().collect();
        let Range { subnet_len: len, subnet_min, subnet_max: max, .. } = *range;
        Walk { blocks, len, next: Some(subnet_min), max }
    }

    fn none_in(&self, range: &Range) -> Error {
        let Range { subnet_min: min, subnet_max: max, .. } = *range;
        let within = |block: &&Subnet| block.last() >= min.base() && block.base() <= max.last();
        match self.routes.iter().find(within) {
            Some(route) => Error::LocalRoute { min, max, route: *route },
            None => Error::Full { min, max, taken: self.taken.iter().filter(within).count() },
        }
    }
}

/// Walks over the blocks in the way instead of trying every subnet inside them.
struct Walk {
    blocks: Vec<Subnet>,
    len: u8,
    next: Option<Subnet>,
    max: Subnet,
}

impl Iterator for Walk {
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
