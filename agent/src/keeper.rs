//! Keeps the lease ours: renews it in time, takes it back when it is gone, and steps aside when
//! another host has it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use twill_core::ids::Subnet;
use twill_core::lease::Lease;
use twill_core::node::NodeRecord;
use twill_core::pick::{Choice, Over, Reason};
use twill_store::{Claimed, Held, Store};

use crate::claim::{Attempt, Wish};
use crate::status::Board;
use crate::trouble::Trouble;

/// The keeper of one lease.
#[derive(Debug)]
pub(crate) struct Keeper<S> {
    pub(crate) store: S,
    pub(crate) wish: Wish,
    pub(crate) held: Held,
    /// When etcd granted it.
    pub(crate) since: Instant,
    /// How long before its end it is renewed.
    pub(crate) margin: Duration,
    /// The lease under our key as the watch sees it.
    pub(crate) seen: watch::Receiver<Option<Lease>>,
    /// Other leases of this host, to be revoked.
    pub(crate) withdraw: Vec<Lease>,
    pub(crate) record: NodeRecord,
    pub(crate) board: Board,
}

/// Another host owns our subnet now.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Displaced;

/// What to do about what the watch saw.
#[derive(Debug, Eq, PartialEq)]
enum Sight {
    Fine,
    /// Somebody rewrote our lease and it still is ours: a reservation was made of it, say.
    Rewritten(Lease),
    Gone,
}

impl<S: Store> Keeper<S> {
    /// Returns only when another host has the subnet.
    pub(crate) async fn run(mut self) -> Displaced {
        self.tell_expiry();
        let mut errands = Trouble::default();
        let mut next_errand = Some(Instant::now());
        loop {
            tokio::select! {
                () = until(self.renewal()) => {
                    if self.renew().await.is_err() {
                        return Displaced;
                    }
                    next_errand = Some(Instant::now());
                }
                changed = self.seen.changed() => {
                    // Without a watch nothing can be seen; the renewal finds out in the end.
                    if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                    match self.look().await {
                        Ok(false) => {}
                        Ok(true) => next_errand = Some(Instant::now()),
                        Err(displaced) => return displaced,
                    }
                }
                () = until(next_errand) => {
                    next_errand = self.errand(&mut errands).await;
                }
            }
        }
    }

    fn renewal(&self) -> Option<Instant> {
        let ttl = self.held.ttl?;
        // etcd may grant less than was asked for.
        let wait = ttl.checked_sub(self.margin).filter(|wait| !wait.is_zero()).unwrap_or(ttl / 2);
        Some(self.since + wait)
    }

    /// Tries until the lease is ours for its full time again.
    async fn renew(&mut self) -> Result<(), Displaced> {
        let mut trouble = Trouble::default();
        loop {
            let asked = Instant::now();
            match self.store.renew(&self.held).await {
                Ok(Claimed::Ours(held)) => {
                    tracing::info!(subnet = %held.lease.subnet(), "lease renewed");
                    self.holds(held, asked);
                    return Ok(());
                }
                Ok(Claimed::Lost | Claimed::Outdated) => return self.recover().await,
                Err(error) => report(&mut trouble, error, "cannot renew the lease").await,
            }
        }
    }

    /// Judges what the watch saw; tells whether the lease is a new one.
    async fn look(&mut self) -> Result<bool, Displaced> {
        let seen = self.seen.borrow_and_update().clone();
        match judge(&self.held, seen) {
            Sight::Fine => Ok(false),
            Sight::Rewritten(lease) => {
                tracing::info!(revision = %lease.revision, "somebody wrote our lease, it is still ours");
                if lease.lease_id.is_none() {
                    self.holds(Held { lease, ttl: None }, Instant::now());
                    return Ok(true);
                }
                // How long the new one lives is not told: a renewal tells.
                self.held.lease = lease;
                self.renew().await.map(|()| true)
            }
            Sight::Gone if self.is_still_there().await => Ok(false),
            Sight::Gone => self.recover().await.map(|()| true),
        }
    }

    /// The watch runs behind, so what it says of the past may be no news.
    async fn is_still_there(&self) -> bool {
        let Ok(listing) = self.store.leases().await else { return false };
        let found = listing.leases.into_iter().find(|lease| lease.key == self.held.lease.key);
        judge(&self.held, found) == Sight::Fine
    }

    /// The lease is gone. The same subnet again if nobody has it; the data plane is not touched.
    async fn recover(&mut self) -> Result<(), Displaced> {
        let own = self.held.lease.subnet();
        self.wish.previous = Some(own);
        tracing::warn!(subnet = %own, "our lease is gone, claiming the subnet again");
        let mut trouble = Trouble::default();
        loop {
            let asked = Instant::now();
            match self.try_again(own).await {
                Ok(Attempt::Won(choice, held)) => {
                    tracing::warn!(subnet = %own, "the subnet is ours again");
                    self.withdraw.extend(choice.withdraw);
                    self.holds(held, asked);
                    return Ok(());
                }
                Ok(Attempt::Lost | Attempt::Outdated) => {
                    let (wait, _new) = trouble.meet("another host was faster");
                    tokio::time::sleep(wait).await;
                }
                Ok(Attempt::Copied(other)) => {
                    // Two that take the lease from each other would cut off both, for ever.
                    let line = format!("the host at {other} has the node id of this one");
                    let (wait, new) = trouble.meet(&line);
                    if new {
                        tracing::error!(
                            hint = "on the copy stop twilld, delete its --state-dir and its tunnel device, and \
                                    start it; then restart twilld here",
                            "our lease is taken: {line}"
                        );
                    }
                    self.board.lease(Some(line));
                    tokio::time::sleep(wait).await;
                }
                Ok(Attempt::Elsewhere | Attempt::Nothing(_)) => {
                    tracing::error!(
                        subnet = %own,
                        "ANOTHER HOST OWNS OUR SUBNET: this host moves to a new one, and containers \
                         with addresses of the old one must be started again"
                    );
                    return Err(Displaced);
                }
                Err(error) => report(&mut trouble, error, "cannot claim the subnet again").await,
            }
        }
    }

    async fn try_again(&self, own: Subnet) -> Result<Attempt, twill_store::Error> {
        let listing = self.store.leases().await?;
        let Lease { key, lease_id, .. } = self.held.lease;
        let now = listing.leases.iter().find(|lease| lease.key == key);
        if let Some(now) = now.filter(|now| is_by_a_copy(&self.held.lease, now)) {
            return Ok(Attempt::Copied(now.value.public_ip));
        }
        // What was written over our lease names no owner, so it still is ours to put right.
        if let Some(spoilt) = listing.malformed.iter().find(|spoilt| spoilt.lease == Some(key)) {
            let over = match lease_id {
                Some(id) => Over::Lease(spoilt.revision, id),
                None => Over::Reservation(spoilt.revision),
            };
            let choice = Choice { subnet: own, over, reason: Reason::Own, withdraw: Vec::new() };
            return self.wish.bid(&self.store, choice).await;
        }
        self.wish.attempt(&self.store, (&listing, Some(own))).await
    }

    fn holds(&mut self, held: Held, since: Instant) {
        self.held = held;
        self.since = since;
        self.board.lease(None);
        self.tell_expiry();
    }

    fn tell_expiry(&self) {
        let left = self.held.ttl.map(|ttl| ttl.saturating_sub(self.since.elapsed()));
        self.board.lease_ends(left);
    }

    /// Writes the node record and revokes what is left of earlier leases. Nothing waits for it;
    /// `None` when all is done, else when to try again.
    async fn errand(&mut self, trouble: &mut Trouble) -> Option<Instant> {
        match self.try_errand().await {
            Ok(()) => {
                trouble.over();
                None
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                let (wait, new) = trouble.meet(&error);
                if new {
                    tracing::warn!(
                        error,
                        "cannot write the node record or revoke an old lease yet"
                    );
                }
                Some(Instant::now() + wait)
            }
        }
    }

    async fn try_errand(&mut self) -> Result<(), twill_store::Error> {
        while let Some(lease) = self.withdraw.last() {
            let revoked = self.store.revoke(lease).await?;
            tracing::info!(subnet = %lease.subnet(), ?revoked, "withdrew an earlier lease of this host");
            self.withdraw.pop();
        }
        self.store.put_node(&self.record, self.held.lease.lease_id).await
    }
}

fn judge(held: &Held, seen: Option<Lease>) -> Sight {
    match seen {
        None => Sight::Gone,
        // The watch runs behind our own writes. Of a foreign value no revision says that it is old:
        // etcd may have been put back from a copy, and counts from there.
        Some(lease) if lease.value != held.lease.value => Sight::Gone,
        Some(lease) if lease.revision <= held.lease.revision => Sight::Fine,
        Some(lease) => Sight::Rewritten(lease),
    }
}

/// Was it written by a host with our node id that is not this one? An older value with another
/// address is our own, from a copy that etcd was put back from.
fn is_by_a_copy(held: &Lease, now: &Lease) -> bool {
    now.revision > held.revision
        && now.value.node == held.value.node
        && now.value.node.is_some()
        && now.value.public_ip != held.value.public_ip
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn report(trouble: &mut Trouble, error: twill_store::Error, what: &'static str) {
    let error = format!("{:#}", anyhow::Error::new(error));
    let (wait, new) = trouble.meet(&error);
    if new {
        tracing::warn!(error, "{what}");
    }
    tokio::time::sleep(wait).await;
}

#[cfg(test)]
mod tests;
