//! Patience: with etcd away the start waits, and says for what, once.

use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;
use twill_core::config::NetworkConfig;
use twill_core::ids::Revision;
use twill_core::lease::Listing;
use twill_store::{Held, Store};

use crate::bootstrap::Agent;
use crate::claim::{ClaimError, Wish};
use crate::failure::Failure;
use crate::status::Board;
use crate::trouble::Trouble;

/// The network's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) config: NetworkConfig,
    pub(crate) written: Revision,
}

impl<S: Store> Agent<S> {
    /// Configuration and leases, once etcd has both.
    pub(crate) async fn network(&self) -> Result<(Network, Listing), Failure> {
        let mut trouble = Trouble::default();
        loop {
            let (config, listing) = tokio::join!(self.store.config(), self.store.leases());
            let failure = match (config, listing) {
                (Ok(Some(found)), Ok(listing)) => {
                    let config = NetworkConfig::parse(&found.text);
                    let key = format!("{}/config", self.flags.etcd.prefix.trim_end_matches('/'));
                    let config = config.map_err(|error| Failure::configuration(&key, error))?;
                    return Ok((Network { config, written: found.revision }, listing));
                }
                (Ok(None), _) => self.no_configuration(),
                (Err(error), _) | (_, Err(error)) => error.into(),
            };
            self.wait(&mut trouble, &failure).await;
        }
    }

    /// Bids until a subnet is ours; etcd may go away and come back meanwhile. `None` if the network
    /// has another configuration by now.
    pub(crate) async fn claim(
        &self,
        wish: &Wish,
        mut listing: Listing,
    ) -> Result<Option<(twill_core::pick::Choice, Held, Listing)>, Failure> {
        let mut trouble = Trouble::default();
        loop {
            let failure = match wish.claim(&self.store, listing).await {
                Ok(won) => return Ok(Some(won)),
                Err(ClaimError::Outdated) => return Ok(None),
                Err(ClaimError::Pick(error)) => return Err(error.into()),
                Err(ClaimError::Store(error)) => error.into(),
            };
            self.wait(&mut trouble, &failure).await;
            // The answer may have been lost, and not the bid: the listing tells.
            (_, listing) = self.network().await?;
        }
    }

    async fn wait(&self, trouble: &mut Trouble, failure: &Failure) {
        let line = failure.line();
        let (wait, new) = trouble.meet(&line);
        if new {
            let hint = failure.way_out();
            tracing::warn!(hint, "waiting: {line}");
            self.board.waiting(&line);
        }
        tell_systemd(&[
            NotifyState::Status(&format!("waiting: {line}")),
            // The wait itself, the next try, and some air.
            NotifyState::ExtendTimeoutUsec(30_000_000),
        ]);
        tokio::time::sleep(wait).await;
    }

    fn no_configuration(&self) -> Failure {
        let crate::flags::Etcd { endpoints, prefix, .. } = &self.flags.etcd;
        let endpoints = endpoints.0.join(",");
        let key = format!("{}/config", prefix.trim_end_matches('/'));
        let text = format!("etcd at {endpoints} has no network configuration under {key}");
        Failure::refused(anyhow::Error::msg(text)).hint(format!(
            "write one with `twillctl network init --prefix {prefix} --network 10.88.0.0/16`, or \
             correct --etcd-prefix"
        ))
    }
}

/// Speaks to systemd, if there is one.
pub(crate) fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd does not listen");
    }
}

/// Runs a future again and again until it succeeds: for the time after the first start, when giving
/// up would only make things worse.
pub(crate) async fn insist<T, F>(board: &Board, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut trouble = Trouble::default();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(failure) => {
                let line = failure.line();
                let (wait, new) = trouble.meet(&line);
                if new {
                    let hint = failure.way_out();
                    tracing::error!(hint, "cannot join the network again: {line}");
                    board.waiting(&line);
                }
                tokio::time::sleep(wait.max(Duration::from_millis(100))).await;
            }
        }
    }
}
