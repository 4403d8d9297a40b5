//! From nothing to a place in the network: configuration, uplink, subnet.

mod adopt;
mod here;
mod prepare;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use twill_core::ids::{NetworkName, NodeId, Subnet, Underlay};
use twill_core::lease::Listing;
use twill_core::peers::Own;
use twill_core::status::{Source, Standing};
use twill_core::validity::span;
use twill_net::Kernel;
use twill_store::{Held, Store};

use crate::failure::Failure;
use crate::flags::Flags;
use crate::follow::Told;
use crate::hook::Hook;
use crate::host::Host;
use crate::identity::Identity;
use crate::lock::Lock;
use crate::memory::{Memory, Recalled};
use crate::network::From;
use crate::ownership::{JoinError, Joined, Tenant, Wish, tell_displaced, tell_doubled};
use crate::setup::Setup;
use crate::shelf::Shelf;
use crate::status::Board;
use crate::trouble::Trouble;
use prepare::Prepared;

pub(crate) use here::{choice, choices};

/// This host in one network, for as long as it is to be in it.
#[derive(Debug)]
pub(crate) struct Agent<S> {
    /// What it shares with every other network of this host.
    pub(crate) host: Arc<Host>,
    /// Which of several; a host in one network need not name it.
    pub(crate) name: Option<NetworkName>,
    /// As they read for this network.
    pub(crate) flags: Flags,
    pub(crate) kernel: Kernel,
    pub(crate) store: S,
    pub(crate) board: Board,
    /// The network as it was when etcd was there.
    pub(crate) memory: Memory,
    /// What else is kept of it.
    pub(crate) shelf: Shelf,
    /// What is run when containers have to move.
    pub(crate) hook: Hook,
    /// On the tunnel devices, once it is known which those are.
    pub(crate) devices: Mutex<Vec<Lock>>,
}

/// This host's place in the network, until its lease or its uplink changes.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) wish: Wish,
    pub(crate) setup: Setup,
    pub(crate) held: Held,
    /// Not later than etcd granted it.
    pub(crate) since: Instant,
    /// Everybody's leases just before the claim.
    pub(crate) listing: Listing,
    /// The configuration in etcd as of that listing, which need not be what the host goes by; `None` if
    /// etcd was not asked.
    pub(crate) told: Option<Told>,
    /// Does etcd say so, or this host's own memory?
    pub(crate) confirmed: bool,
    /// If not etcd: when the memory is from, in seconds since 1970.
    pub(crate) kept: Option<u64>,
}

/// A place in the network, and the one who looks after it in etcd.
pub(crate) type Place<S> = (Membership, Tenant<S>);

/// What a host brings along when it joins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// The lease that it has by its own knowledge.
    pub(crate) held: Option<Held>,
    /// Every address that it published, or tried to, since it has that.
    pub(crate) addresses: Vec<Underlay>,
    /// What was published before says nothing about this host.
    pub(crate) forget: bool,
}

impl Past {
    /// The same host, which was at other addresses before.
    pub(crate) fn after(mut self, before: Self) -> Self {
        let others = before.addresses.into_iter();
        let others: Vec<_> = others.filter(|it| !self.addresses.contains(it)).collect();
        self.addresses.extend(others);
        self
    }

    /// The lease, of which this host's own memory says that. What was written last may not be on disk yet.
    fn newest(&self, recalled: Held) -> Held {
        let is_newer = |known: &&Held| {
            let (known, recalled) = (&known.lease, &recalled.lease);
            known.key == recalled.key && known.revision >= recalled.revision
        };
        match self.held.as_ref().filter(is_newer) {
            Some(known) => Held { ttl: recalled.ttl, ..known.clone() },
            None => recalled,
        }
    }
}

impl Membership {
    /// This host's block, of IPv4 if there are two.
    pub(crate) fn subnet(&self) -> Subnet {
        self.held.lease.subnet()
    }

    /// How long its lease lives from now on; `None` for a reservation.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.held.ttl.map(|ttl| ttl.saturating_sub(self.since.elapsed()))
    }

    /// What it stands on.
    pub(crate) fn standing(&self) -> Standing {
        let source = if self.confirmed { Source::Etcd } else { Source::Picture };
        Standing { source, picture_kept: self.kept, ..Standing::default() }
    }

    /// What tells our lease from the others'.
    pub(crate) fn own(&self) -> Own {
        self.setup.own(self.wish.node)
    }
}

impl<S: Store> Agent<S> {
    /// Waits for a configuration, as long as it takes, and takes a subnet, or looks after the one that
    /// the host has already. Nothing but the lease and leftovers of an earlier configuration is
    /// changed.
    pub(crate) async fn join(&self, mut past: Past) -> Result<Place<S>, Failure> {
        let mut trouble = Trouble::default();
        loop {
            let (prepared, from) = self.prepare(&past).await?;
            let picture = match from {
                From::Etcd(picture) => picture,
                From::Memory(recalled) => return Ok(self.remembered(prepared, *recalled, &past)),
            };
            let mut tenant =
                Tenant::new(self.store.clone(), prepared.wish.clone()).on(prepared.basis);
            tenant.was_at(&past.addresses);
            match tenant.join(past.held.clone(), picture).await {
                Ok(joined) => {
                    self.memory.forget_all_but(joined.held.lease.key);
                    return Ok((place(&tenant.wish, prepared, joined), tenant));
                }
                Err(JoinError::Outdated) => {
                    tracing::info!("the network configuration has changed, reading it again");
                }
                Err(JoinError::Displaced(taken)) => {
                    tell_displaced(&taken);
                    self.memory.forget();
                    past = Past { forget: past.forget, ..Past::default() };
                }
                Err(JoinError::Doubled(at)) => {
                    tell_doubled(at);
                    past = self.become_another(tenant.wish.node)?;
                }
                Err(JoinError::Pick(error)) => return Err(error.into()),
                // The answer may have been lost, and not the bid: the next picture tells.
                Err(JoinError::Store(error)) => self.wait(&mut trouble, &error.into()).await,
            }
        }
    }

    /// From now on this host is another one than `was`.
    pub(crate) fn become_another(&self, was: NodeId) -> Result<Past, Failure> {
        self.host.become_another(was)?;
        Ok(self.as_another())
    }

    /// Nothing that is known of this host is true of the one that it is now.
    pub(crate) fn as_another(&self) -> Past {
        self.memory.forget();
        Past { forget: true, ..Past::default() }
    }

    /// The place that this host had when etcd was there. Nothing of it is asked or written in etcd.
    fn remembered(&self, prepared: Prepared, recalled: Recalled, past: &Past) -> Place<S> {
        let Recalled { picture, held, age } = recalled;
        let held = past.newest(held);
        let (key, left) = (held.lease.key, held.ttl.map(span));
        tracing::warn!(subnet = %key.words(), kept = %format_args!("{age} ago"), lease_left = left,
            "etcd is away: this host takes its place from its own picture of the network");
        let mut tenant = Tenant::holding(self.store.clone(), prepared.wish.clone(), &held);
        tenant.was_at(&past.addresses);
        let since = Instant::now();
        let Prepared { wish, setup, basis: _ } = prepared;
        let setup = setup.at(key);
        let (told, confirmed, kept) = (None, false, Some(picture.kept.wall));
        let listing = picture.listing;
        (Membership { wish, setup, held, since, listing, told, confirmed, kept }, tenant)
    }

    pub(crate) fn identity(&self) -> MutexGuard<'_, Identity> {
        self.host.identity()
    }
}

fn place(wish: &Wish, prepared: Prepared, joined: Joined) -> Membership {
    let Joined { held, since, picture, reason } = joined;
    let key = held.lease.key;
    if let Some(why) = reason {
        tracing::info!(subnet = %key.words(), %why, "lease acquired");
    }
    let setup = prepared.setup.at(key);
    let (wish, listing, told) = (wish.clone(), picture.listing, Some(picture.config));
    Membership { wish, setup, held, since, listing, told, confirmed: true, kept: None }
}
