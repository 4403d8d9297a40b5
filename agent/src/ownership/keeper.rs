//! Keeps a lease ours: alive, told, taken back when it is gone, and given up when another has it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use twill_core::ids::Underlay;
use twill_core::lease::{Lease, LeaseValue};
use twill_core::ownership::{RELEASED, Schedule, Taken};
use twill_store::{Error, Held, Question, Store};

use super::tenant::{Outcome, Tenant};
use super::words::{report, tell_displaced, tell_doubled};
use crate::status::Board;
use crate::trouble::Trouble;
use crate::wake::{heard, until};

/// The keeper of one lease.
#[derive(Debug)]
pub struct Keeper<S> {
    pub(super) tenant: Tenant<S>,
    pub(super) held: Held,
    /// Not later than etcd granted or prolonged it.
    pub(super) since: Instant,
    /// The one of the lease that is held now: somebody may give it another length.
    pub(super) schedule: Schedule,
    margin: Duration,
    board: Board,
    /// Who else wants to know what is held.
    listener: Option<watch::Sender<Option<Belief>>>,
    /// When the lease is kept alive again.
    pub(super) alive_at: Instant,
    /// When the value is written again.
    pub(super) rewrite_at: Instant,
}

/// What the watch sees of this host in etcd.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mine {
    /// The lease under our key; `None` also if somebody spoilt it.
    pub own: Option<Lease>,
    /// Other leases with our node id.
    pub others: Vec<Lease>,
    /// What another host with our node id asks.
    pub question: Option<Question>,
}

/// What a host believes to hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Belief {
    /// The lease.
    pub held: Held,
    /// When it was confirmed; not later than that.
    pub since: Instant,
    /// How long it may rely on that by its own clock. A reservation does not end, but an administrator
    /// may release it without this host hearing of it.
    pub ttl: Duration,
}

impl Belief {
    /// `ttl` counts for a lease that does not say how long it lives.
    #[must_use]
    pub fn new((held, since): (&Held, Instant), ttl: Duration) -> Self {
        let unsaid = if held.lease.lease_id.is_some() { ttl } else { RELEASED };
        Self { held: held.clone(), since, ttl: held.ttl.unwrap_or(unsaid) }
    }
}

/// Why a lease is not ours any more.
#[derive(Debug, Eq, PartialEq)]
pub enum Left {
    /// The subnet is another's.
    Displaced(Taken),
    /// The node id is another host's, the one at that address if one is known, which keeps the subnet.
    Doubled(Option<Underlay>),
}

/// What wakes a keeper.
#[derive(Debug)]
enum Wake {
    KeepAlive,
    Rewrite,
    Errand,
    Seen,
    Said,
}

impl<S: Store> Keeper<S> {
    /// Takes over the lease that `tenant` joined with. `margin` is flannel's: the value is written at
    /// the latest so long before the lease would end.
    pub fn new(tenant: Tenant<S>, (held, since): (Held, Instant), margin: Duration) -> Self {
        let ttl = held.ttl.unwrap_or(tenant.wish.ttl);
        let schedule = Schedule::new(ttl, margin);
        Self {
            tenant,
            held,
            since,
            schedule,
            margin,
            board: Board::default(),
            listener: None,
            alive_at: since + schedule.keep_alive,
            rewrite_at: since + schedule.rewrite,
        }
    }

    pub(crate) fn on(self, board: Board) -> Self {
        Self { board, ..self }
    }

    /// What the host believes to hold is sent there whenever it changes; `None` when it gives it up.
    #[must_use]
    pub fn tells(self, listener: watch::Sender<Option<Belief>>) -> Self {
        Self { listener: Some(listener), ..self }
    }

    /// Runs until the lease is another's. Whenever `value` is said, peers are told at once: an unchanged
    /// one is written again, and its time is the news.
    ///
    /// `confirmed` is false if the lease comes from this host's memory alone: then etcd is asked first.
    pub async fn run(
        mut self,
        channels: (watch::Receiver<Mine>, watch::Receiver<LeaseValue>),
        confirmed: bool,
    ) -> Left {
        let left = self.keep(channels, confirmed).await;
        self.believe(None);
        left
    }

    async fn keep(
        &mut self,
        (mut seen, mut value): (watch::Receiver<Mine>, watch::Receiver<LeaseValue>),
        confirmed: bool,
    ) -> Left {
        self.tell();
        let mut errands = Trouble::default();
        let mut errand = Some(Instant::now());
        if !confirmed && let Err(left) = self.be_known().await {
            return left;
        }
        loop {
            let wake = tokio::select! {
                () = sleep_until(self.alive_at) => Wake::KeepAlive,
                () = sleep_until(self.rewrite_at) => Wake::Rewrite,
                () = until(errand) => Wake::Errand,
                () = heard(&mut seen) => Wake::Seen,
                () = heard(&mut value) => Wake::Said,
            };
            let done = match wake {
                Wake::Errand => {
                    errand = self.errand(&mut errands).await;
                    continue;
                }
                Wake::KeepAlive => self.stay_alive().await,
                Wake::Rewrite => self.rewrite().await,
                Wake::Said => {
                    let said = value.borrow_and_update().clone();
                    let again = said == self.held.lease.value;
                    self.tenant.say(said);
                    match self.settle().await {
                        Ok(()) if again => self.rewrite().await,
                        done => done,
                    }
                }
                Wake::Seen => {
                    let mine = seen.borrow_and_update().clone();
                    if self.is_news(&mine) { self.settle().await } else { Ok(()) }
                }
            };
            if let Err(left) = done {
                return left;
            }
            if !self.tenant.withdraw.is_empty() {
                errand = Some(Instant::now());
            }
        }
    }

    /// Asks etcd about a lease that comes from this host's memory.
    async fn be_known(&mut self) -> Result<(), Left> {
        self.settle().await?;
        let subnet = self.held.lease.subnet();
        tracing::info!(%subnet, "etcd knows this host by the lease that it remembered");
        // Peers may have missed what was written last. What was left of the lease says nothing of how
        // long it lives: etcd does.
        self.held.ttl = None;
        self.rewrite().await
    }

    /// Does the watch show something else than we know? It runs behind our own writes.
    fn is_news(&self, mine: &Mine) -> bool {
        let own = mine.own.as_ref().is_some_and(|lease| {
            lease.value == self.held.lease.value
                && (lease.revision < self.held.lease.revision || *lease == self.held.lease)
        });
        let here = self.tenant.wish.public_ip();
        let asked = mine.question.as_ref().is_some_and(|question| {
            question.challenge.public_ip != here && question.challenge.answer.is_none()
        });
        !own || asked || !mine.others.is_empty()
    }

    /// Looks, decides and acts until everything is as it should be.
    pub(super) async fn settle(&mut self) -> Result<(), Left> {
        let mut trouble = Trouble::default();
        loop {
            match self.look().await {
                Ok(Outcome::Settled) => {
                    self.board.lease(None);
                    return Ok(());
                }
                Ok(Outcome::Holds(held, since, reason)) => {
                    let subnet = held.lease.subnet();
                    if held.lease.value == self.held.lease.value {
                        tracing::warn!(%subnet, why = %reason, "the subnet is ours again");
                    } else {
                        tracing::info!(%subnet, at = %held.lease.value.public_ip, "peers are told what changed");
                    }
                    self.holds(held, since);
                }
                Ok(Outcome::Adopts(lease)) => self.adopt(lease),
                // A fresh look, at a time of its own.
                Ok(Outcome::Again) => tokio::time::sleep(trouble.meet("lost").0).await,
                Ok(Outcome::Displaced(taken)) => {
                    tell_displaced(&taken);
                    return Err(Left::Displaced(taken));
                }
                Ok(Outcome::Doubled(at)) => {
                    tell_doubled(at);
                    return Err(Left::Doubled(at));
                }
                // Only a host without a subnet looks for a free one.
                Ok(Outcome::Full(_)) => return Ok(()),
                Err(error) => report(&mut trouble, error, "cannot look after the lease").await,
            }
        }
    }

    async fn look(&mut self) -> Result<Outcome, Error> {
        let picture = self.tenant.store.picture(self.tenant.wish.node).await?;
        let gone = !picture.listing.leases.iter().any(|lease| lease.key == self.held.lease.key);
        if gone {
            tracing::warn!(subnet = %self.held.lease.subnet(), "our lease is gone, claiming the subnet again");
        }
        self.tenant.step(Some(&self.held), &picture).await
    }

    /// What somebody made of our lease: a reservation, or one that ends.
    fn adopt(&mut self, lease: Lease) {
        tracing::info!(revision = %lease.revision, reserved = lease.lease_id.is_none(), "somebody wrote our lease, it is still ours");
        let same = lease.lease_id == self.held.lease.lease_id;
        let ttl = self.held.ttl.filter(|_| same);
        let unsaid = ttl.is_none() && lease.lease_id.is_some();
        self.held = Held { lease, ttl, presence: self.held.presence.filter(|_| same) };
        // How long it lives, and what of the node record, a write tells.
        if !same || unsaid {
            self.rewrite_at = Instant::now();
        }
        self.tell();
    }

    /// What a write made ours.
    pub(super) fn holds(&mut self, held: Held, since: Instant) {
        self.schedule = Schedule::new(held.ttl.unwrap_or(self.tenant.wish.ttl), self.margin);
        self.alive_at = since + self.schedule.keep_alive;
        self.rewrite_at = since + self.schedule.rewrite;
        self.held = held;
        self.since = since;
        self.board.lease(None);
        self.tell();
    }

    pub(super) fn tell(&self) {
        let left = self.held.ttl.map(|ttl| ttl.saturating_sub(self.since.elapsed()));
        self.board.lease_ends(left);
        self.believe(Some(Belief::new((&self.held, self.since), self.tenant.wish.ttl)));
    }

    fn believe(&self, belief: Option<Belief>) {
        if let Some(listener) = &self.listener {
            listener.send_replace(belief);
        }
    }
}
