//! What a keeper does when nothing happens: keeps alive, writes again, clears up.

use tokio::time::Instant;
use twill_store::{Alive, Claimed, Renewal, Store};

use super::keeper::{Keeper, Left};
use super::tenant::tell_withdrawn;
use super::words::report;
use crate::trouble::Trouble;

impl<S: Store> Keeper<S> {
    /// Keeps the etcd lease alive, or finds out that it is not.
    pub(super) async fn stay_alive(&mut self) -> Result<(), Left> {
        let mut trouble = Trouble::default();
        loop {
            let asked = Instant::now();
            self.alive_at = asked + self.schedule.keep_alive;
            match self.tenant.store.keep_alive(&self.held).await {
                Ok(Alive::Yes) => {
                    self.since = asked;
                    self.tell();
                    return Ok(());
                }
                Ok(Alive::No) => {
                    self.settle().await?;
                    // Of a reservation only the node record ended.
                    return if self.held.lease.lease_id.is_none() {
                        self.rewrite().await
                    } else {
                        Ok(())
                    };
                }
                Err(error) => report(&mut trouble, error, "cannot keep the lease alive").await,
            }
        }
    }

    /// Writes the unchanged value again, for peers that missed it.
    pub(super) async fn rewrite(&mut self) -> Result<(), Left> {
        let record = self.tenant.wish.record(self.held.lease.key);
        let mut trouble = Trouble::default();
        loop {
            let asked = Instant::now();
            self.rewrite_at = asked + self.schedule.rewrite;
            let renewal =
                Renewal { held: &self.held, record: Some(&record), ttl: self.tenant.wish.ttl };
            match self.tenant.store.renew(renewal).await {
                Ok(Claimed::Ours(held)) => {
                    tracing::info!(subnet = %held.lease.subnet(), "lease renewed");
                    self.holds(held, asked);
                    return Ok(());
                }
                Ok(Claimed::Lost | Claimed::Outdated) => return self.settle().await,
                Err(error) => report(&mut trouble, error, "cannot renew the lease").await,
            }
        }
    }

    /// Revokes what is left of earlier leases. Nothing waits for it; `None` when all is done, else when
    /// to try again.
    pub(super) async fn errand(&mut self, trouble: &mut Trouble) -> Option<Instant> {
        while let Some(lease) = self.tenant.withdraw.last() {
            match self.tenant.store.revoke(lease).await {
                Ok(revoked) => {
                    tell_withdrawn(lease, revoked);
                    self.tenant.withdraw.pop();
                }
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    let (wait, new) = trouble.meet(&error);
                    if new {
                        tracing::warn!(error, "cannot revoke an old lease yet");
                    }
                    return Some(Instant::now() + wait);
                }
            }
        }
        trouble.over();
        None
    }
}
