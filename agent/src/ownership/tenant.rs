//! One host in the eyes of etcd: takes the steps that [`twill_core::ownership::decide`] names.

use tokio::time::Instant;
use twill_core::config::NetworkConfig;
use twill_core::ids::{Revision, Underlay};
use twill_core::lease::{Key, Lease};
use twill_core::ownership::{Doubt, Question, Standing, Step, Taken, decide};
use twill_core::pick::{self, Choice, Reason};
use twill_store::{Backoff, Claimed, ConfigText, Error, Held, Picture, Revoked, Store};

use super::wish::Wish;

/// One host in the eyes of etcd.
#[derive(Debug)]
pub struct Tenant<S> {
    pub(super) store: S,
    /// What it wants to be.
    pub wish: Wish,
    /// Every address that it published or tried to publish.
    addresses: Vec<Underlay>,
    pub(super) doubt: Doubt,
    basis: Basis,
    /// Earlier leases of this host, to be revoked.
    pub(super) withdraw: Vec<Lease>,
}

/// What the configuration in etcd is to a host that joins.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Basis {
    /// The one that it joins by.
    #[default]
    Newest,
    /// Of no use. The host goes by an earlier one, and may take up the lease that it had under that,
    /// but no other subnet.
    Earlier {
        /// When the one in etcd was written; `None` if there is none.
        newest: Option<Revision>,
        /// Where its lease is.
        own: Key,
    },
}

/// A host has a subnet.
#[derive(Debug)]
pub struct Joined {
    /// Its lease.
    pub held: Held,
    /// Not later than etcd granted it.
    pub since: Instant,
    /// What it was decided on.
    pub picture: Picture,
    /// Why this one; `None` if the host had it all the time.
    pub reason: Option<Reason>,
}

/// Why a host has no subnet.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// None is to be had.
    #[error("no subnet for this host")]
    Pick(#[from] pick::Error),
    /// The network has another configuration than the one that the host wants to join.
    #[error("the network configuration has changed")]
    Outdated,
    /// The subnet that the host had is another's.
    #[error("{0}")]
    Displaced(Taken),
    /// The node id is another host's, the one at that address if one is known.
    #[error("another host has the node id of this one")]
    Doubled(Option<Underlay>),
    /// etcd failed.
    #[error("cannot claim a subnet")]
    Store(#[from] Error),
}

/// What one step came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Everything is as it should be.
    Settled,
    /// This is what the host holds now, at least since then.
    Holds(Held, Instant, Reason),
    /// Somebody rewrote our lease, and it still is ours.
    Adopts(Lease),
    /// Another was faster, or a step of several is done: look again.
    Again,
    Displaced(Taken),
    Doubled(Option<Underlay>),
    Full(pick::Error),
}

impl<S: Store> Tenant<S> {
    /// A host that wants to be what `wish` says.
    pub fn new(store: S, wish: Wish) -> Self {
        let addresses = vec![wish.public_ip()];
        let (doubt, basis) = (Doubt::Unasked, Basis::Newest);
        Self { store, wish, addresses, doubt, basis, withdraw: Vec::new() }
    }

    /// One that joins on that.
    pub(crate) fn on(self, basis: Basis) -> Self {
        Self { basis, ..self }
    }

    /// One that has a lease by its own knowledge.
    pub(crate) fn holding(store: S, wish: Wish, held: &Held) -> Self {
        let mut tenant = Self::new(store, wish);
        tenant.addresses.push(held.lease.value.public_ip);
        tenant
    }

    /// These were its own as well: what it published there is no other host's word.
    pub(crate) fn was_at(&mut self, addresses: &[Underlay]) {
        self.addresses.extend(addresses);
    }

    /// Where it looks and writes.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Takes steps until this host has a subnet; `held` is the one that it has by its own knowledge.
    ///
    /// Hosts that start together meet on one subnet now and then, so each waits for a time of its own
    /// before it looks again.
    pub async fn join(
        &mut self,
        mut held: Option<Held>,
        mut picture: Picture,
    ) -> Result<Joined, JoinError> {
        let mut backoff = Backoff::default();
        if let Some(held) = &held {
            self.addresses.push(held.lease.value.public_ip);
        }
        loop {
            if held.is_none() && !self.may_join(&picture) {
                return Err(JoinError::Outdated);
            }
            let now = Instant::now();
            match (self.step(held.as_ref(), &picture).await?, held.take()) {
                (Outcome::Holds(held, since, reason), _) => {
                    return Ok(Joined { held, since, picture, reason: Some(reason) });
                }
                (Outcome::Settled, Some(held)) => {
                    return Ok(Joined { held, since: now, picture, reason: None });
                }
                (Outcome::Adopts(lease), before) => {
                    let presence = before.and_then(|held| held.presence);
                    held = Some(Held { lease, ttl: None, presence });
                }
                (Outcome::Displaced(taken), _) => return Err(JoinError::Displaced(taken)),
                (Outcome::Doubled(at), _) => return Err(JoinError::Doubled(at)),
                (Outcome::Full(error), _) => return Err(error.into()),
                (Outcome::Again | Outcome::Settled, before) => {
                    held = before;
                    tracing::debug!("another host was faster, looking again");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
            picture = self.store.picture(self.wish.node).await?;
        }
    }

    /// Does the picture show what the host wants to join by?
    fn may_join(&self, picture: &Picture) -> bool {
        match self.basis {
            Basis::Newest => revision(picture) == Some(self.wish.written),
            Basis::Earlier { newest, own } => {
                let mut leases = picture.listing.leases.iter();
                revision(picture) == newest
                    && leases.any(|l| l.key == own && l.value.node == Some(self.wish.node))
            }
        }
    }

    /// Decides on a picture, and does what was decided.
    pub(super) async fn step(
        &mut self,
        held: Option<&Held>,
        picture: &Picture,
    ) -> Result<Outcome, Error> {
        if let (Some(_), Some(question)) = (held, &picture.question) {
            self.answer(question).await?;
        }
        let step = match self.decide(held, picture) {
            Ok(step) => step,
            Err(error) => return Ok(Outcome::Full(error)),
        };
        tracing::debug!(%step, "decided");
        match step {
            Step::Rest => Ok(Outcome::Settled),
            Step::Claim(choice) => self.claim(choice, picture).await,
            Step::Adopt(lease) => Ok(Outcome::Adopts(lease)),
            Step::Ask(double) => {
                if let Some(doubt) = self.ask(&double, held.is_some()).await? {
                    self.doubt = doubt;
                }
                Ok(Outcome::Again)
            }
            Step::Withdraw(lease) => {
                let revoked = self.store.revoke(&lease).await?;
                tell_withdrawn(&lease, revoked);
                Ok(Outcome::Again)
            }
            Step::StepBack(taken) => Ok(Outcome::Displaced(taken)),
            Step::BecomeAnother(at) => Ok(Outcome::Doubled(at)),
        }
    }

    /// What the next step would be. Nothing is done.
    pub(super) fn decide(
        &self,
        held: Option<&Held>,
        picture: &Picture,
    ) -> Result<Step, pick::Error> {
        let newer = self.newer_config(picture);
        let config = newer.as_ref().unwrap_or(&self.wish.config);
        decide(&Question {
            situation: self.wish.situation(config, &picture.listing),
            value: &self.wish.value,
            standing: held.map_or(Standing::Without, |held| Standing::Holding(&held.lease)),
            addresses: &self.addresses,
            doubt: self.doubt,
            anchored: self.wish.anchored,
            random: rand::random(),
        })
    }

    /// The configuration of the picture if it is another than we know, can be read, and is not known to be of
    /// no use.
    fn newer_config(&self, picture: &Picture) -> Option<NetworkConfig> {
        if matches!(self.basis, Basis::Earlier { newest, .. } if revision(picture) == newest) {
            return None;
        }
        let text = picture.config.as_ref().filter(|text| text.revision != self.wish.written)?;
        NetworkConfig::parse(&text.text).ok()
    }

    async fn claim(&mut self, choice: Choice, picture: &Picture) -> Result<Outcome, Error> {
        let asked = Instant::now();
        let bid = self.wish.bid(&choice, (revision(picture), picture.listing.revision));
        Ok(match self.store.claim(&bid).await? {
            Claimed::Ours(held) if bid.beside.is_some() && self.is_shared(&held.lease).await? => {
                tracing::debug!(subnet = %held.lease.key.words(), "half of it is another's");
                self.store.revoke(&held.lease).await?;
                Outcome::Again
            }
            Claimed::Ours(held) => {
                self.withdraw.extend(choice.withdraw);
                Outcome::Holds(held, asked, choice.reason)
            }
            Claimed::Lost | Claimed::Outdated => Outcome::Again,
        })
    }

    /// Has another host half of it? Of one key etcd makes sure; two pairs of blocks that share one are two
    /// keys. Each of two hosts looks after it has written, so that at least the second sees the first.
    async fn is_shared(&self, lease: &Lease) -> Result<bool, Error> {
        let now = self.store.leases().await?;
        let situation = self.wish.situation(&self.wish.config, &now);
        let shared = situation.others_with(lease.key).next().is_some();
        Ok(shared)
    }

    /// The host has something else to say about itself.
    pub(super) fn say(&mut self, value: twill_core::lease::LeaseValue) {
        if !self.addresses.contains(&value.public_ip) {
            self.addresses.push(value.public_ip);
        }
        self.wish.value = value;
    }
}

fn revision(picture: &Picture) -> Option<Revision> {
    picture.config.as_ref().map(|ConfigText { revision, .. }| *revision)
}

pub(super) fn tell_withdrawn(lease: &Lease, revoked: Revoked) {
    tracing::info!(subnet = %lease.subnet(), ?revoked, "withdrew an earlier lease of this host");
}
