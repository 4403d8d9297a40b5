//! What network this host is in: as etcd says, or as this host remembers.

use std::future::Future;
use std::time::Duration;

use twill_core::config::NetworkConfig;
use twill_core::ids::{Revision, Subnet};
use twill_core::lease::Listing;
use twill_core::picture::Picture as Kept;
use twill_store::{ConfigText, Picture, Store};

use crate::bootstrap::{Agent, Past};
use crate::failure::Failure;
use crate::flags::Etcd;
use crate::memory::{self, Recalled, Whose};
use crate::ownership::Basis;
use crate::trouble::Trouble;

/// The configuration that a host joins by.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) config: NetworkConfig,
    pub(crate) written: Revision,
    /// Is it the newest one?
    pub(crate) basis: Basis,
    /// What this host went by before, if it is another and the host may go on by it.
    pub(crate) before: Option<Box<Network>>,
}

/// Where a host learned of its network.
#[derive(Debug)]
pub(crate) enum From {
    /// etcd says so.
    Etcd(Picture),
    /// etcd is away, and this is what this host kept.
    Memory(Box<Recalled>),
}

impl From {
    /// Everybody's leases.
    pub(crate) fn listing(&self) -> &Listing {
        match self {
            Self::Etcd(picture) => &picture.listing,
            Self::Memory(recalled) => &recalled.picture.listing,
        }
    }
}

/// How long etcd may take to answer a host that can do without.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same, of a host that has served until now: its containers wait for a device or a route that has to be
/// another one.
const SHORT: Duration = Duration::from_millis(400);

impl<S: Store> Agent<S> {
    /// Configuration and leases, once etcd has both; or as this host remembers them, if etcd does not
    /// answer and the lease still holds.
    ///
    /// While the configuration in etcd is of no use to anybody, a host goes on by the one before for as
    /// long as its lease is in etcd.
    pub(crate) async fn network(&self, past: &Past) -> Result<(Network, From), Failure> {
        let patience = if past.held.is_some() { SHORT } else { PATIENCE };
        let mut trouble = Trouble::default();
        let mut kept = self.recall();
        loop {
            let node = self.identity().node;
            let recalled = kept.as_ref().map(memory::usable);
            let limit = matches!(recalled, Some(Ok(_))).then_some(patience);
            let answer = self.within(limit, self.store.picture(node)).await;
            // An etcd without a network is another one, or an empty one.
            if let Ok(picture @ Picture { config: Some(_), .. }) = &answer
                && kept.as_ref().is_some_and(|kept| !kept.agrees_with(&picture.listing))
            {
                tracing::info!("etcd knows better than the picture of the network on disk");
                self.memory.forget();
                kept = None;
            }
            let failure = match (answer, recalled) {
                (Ok(picture), _) => match self.told(&picture, kept.as_ref()) {
                    Ok(network) => return Ok((network, From::Etcd(picture))),
                    Err(broken) if picture.config.is_some() => return Err(broken),
                    Err(missing) => {
                        self.host.books.release(self.name.as_ref());
                        missing
                    }
                },
                (Err(silence), Some(Ok(recalled))) => {
                    tracing::warn!("{}", silence.line());
                    let network = Network::of(&recalled.picture, Basis::Newest);
                    return Ok((network, From::Memory(Box::new(recalled))));
                }
                (Err(silence), Some(Err(why))) => silence.besides(&why),
                (Err(silence), None) => silence,
            };
            self.wait(&mut trouble, &failure).await;
        }
    }

    /// What to go by when etcd answers.
    fn told(&self, picture: &Picture, kept: Option<&Kept>) -> Result<Network, Failure> {
        let kept = kept.filter(|kept| kept.agrees_with(&picture.listing));
        let newest = picture.config.as_ref().map(|told| told.revision);
        let before =
            kept.map(|kept| Network::of(kept, Basis::Earlier { newest, own: kept.own.key }));
        match (self.newest(picture.config.as_ref()), before) {
            (Ok((config, written)), before) => {
                let admitted = kept.is_some_and(|kept| config.admits(kept.own.key));
                // Which families a host can have only it knows.
                let families = |config: &NetworkConfig| {
                    config.networks().map(Subnet::family).collect::<Vec<_>>()
                };
                let before = before.filter(|before| {
                    let others = families(&before.config) != families(&config);
                    before.written != written && (admitted || others)
                });
                let before = before.map(Box::new);
                Ok(Network { config, written, basis: Basis::Newest, before })
            }
            (Err(_said_by_live), Some(before)) => {
                before.tell();
                Ok(before)
            }
            (Err(failure), None) => Err(failure),
        }
    }

    fn newest(&self, told: Option<&ConfigText>) -> Result<(NetworkConfig, Revision), Failure> {
        let ConfigText { text, revision } = told.ok_or_else(|| self.no_configuration())?;
        let config = NetworkConfig::parse(text);
        Ok((config.map_err(|error| self.broken(*revision, error))?, *revision))
    }

    /// The answer, if it comes in that time.
    async fn within<T>(
        &self,
        limit: Option<Duration>,
        answer: impl Future<Output = Result<T, twill_store::Error>>,
    ) -> Result<T, Failure> {
        let Some(limit) = limit else { return answer.await.map_err(Failure::from) };
        let Ok(answer) = tokio::time::timeout(limit, answer).await else {
            // Whoever is cut short learns nothing of the connection, which may lead nowhere.
            self.store.reconnect();
            let text = format!("etcd has not answered within {limit:?}");
            return Err(Failure::refused(anyhow::Error::msg(text)));
        };
        answer.map_err(Failure::from)
    }

    fn recall(&self) -> Option<Kept> {
        let (node, anchored) = {
            let identity = self.identity();
            (identity.node, identity.anchored)
        };
        self.memory.recall(Whose { prefix: &self.flags.etcd.prefix, node, anchored })
    }

    /// Where the network's configuration is.
    fn config_key(&self) -> String {
        format!("{}/config", self.flags.etcd.prefix.trim_end_matches('/'))
    }

    /// A configuration that breaks a rule.
    pub(crate) fn broken(&self, at: Revision, error: twill_core::config::Error) -> Failure {
        Failure::configuration(&format!("{}@{at}", self.config_key()), error)
    }

    /// One that somebody deleted.
    pub(crate) fn deleted(&self) -> Failure {
        let text = format!("{} was deleted", self.config_key());
        Failure::refused(anyhow::Error::msg(text))
            .hint("write it again with `twillctl network init`; this host goes on as before")
    }

    fn no_configuration(&self) -> Failure {
        let Etcd { endpoints, prefix, .. } = &self.flags.etcd;
        let endpoints = endpoints.0.join(",");
        let key = self.config_key();
        let text = format!("etcd at {endpoints} has no network configuration under {key}");
        Failure::refused(anyhow::Error::msg(text)).hint(format!(
            "write one with `twillctl network init --prefix {prefix} --network 10.88.0.0/16`, or \
             correct --etcd-prefix"
        ))
    }
}

impl Network {
    fn of(kept: &Kept, basis: Basis) -> Self {
        Self { config: kept.config.clone(), written: kept.written, basis, before: None }
    }

    /// Says that it is not the newest one. Why not is said again and again while the host runs.
    pub(crate) fn tell(&self) {
        tracing::warn!(
            revision = %self.written,
            "the configuration in etcd is of no use: going by the one in this host's own picture of the \
             network"
        );
    }
}
