//! The life of one agent: joins, keeps its lease, steps back, begins again. What the agent does about
//! the kernel is left out, and nothing else.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use twill_agent::ownership::{
    Belief, JoinError, Joined, Keeper, Left, Mine, Tenant, Wish, watch_own,
};
use twill_core::config::NetworkConfig;
use twill_core::ids::{NodeId, Underlay};
use twill_core::lease::{Event, LeaseBackend, LeaseValue};
use twill_core::peers::Known;
use twill_store::{Backoff, Follow, Picture, Scope, Store};

use super::slot::{Disk, State};
use super::tenures::Tenure;
use super::world::World;

/// One agent, from its start to its death.
pub(super) struct Life {
    pub(super) number: usize,
    pub(super) address: Underlay,
    pub(super) state: Arc<watch::Sender<State>>,
    pub(super) world: Arc<World>,
}

/// Lives for ever; an error means that this is not possible at all.
pub(super) async fn live<S: Store>(life: &Life, store: S, disk: &mut Disk) -> Result<()> {
    let mut backoff = Backoff::default();
    loop {
        let picture = match store.picture(disk.node).await {
            Ok(picture) => picture,
            Err(error) => {
                life.is_troubled(error);
                sleep(backoff.next_wait()).await;
                continue;
            }
        };
        let mut tenant = Tenant::new(store.clone(), life.wish(*disk, &picture)?);
        let seen = picture.listing.revision;
        match tenant.join(None, picture).await {
            Ok(joined) => {
                backoff.reset();
                disk.previous = Some(joined.held.lease.key);
                let left = Box::pin(life.keep(tenant, joined)).await;
                life.gives_up();
                if matches!(left, Left::Doubled(_)) {
                    *disk = Disk { node: new_node(), previous: None };
                }
            }
            Err(JoinError::Pick(full)) => {
                life.state.send_replace(State::Full(full.to_string()));
                // It asks again when the leases change, and now and then all the same.
                let mut news = Follow::after(store.clone(), Scope::Leases, seen);
                drop(timeout(Backoff::LONGEST, news.next()).await);
            }
            Err(JoinError::Doubled(_)) => *disk = Disk { node: new_node(), previous: None },
            Err(error @ (JoinError::Displaced(_) | JoinError::Outdated | JoinError::Store(_))) => {
                life.is_troubled(error);
                sleep(backoff.next_wait()).await;
            }
        }
    }
}

impl Life {
    fn wish(&self, disk: Disk, picture: &Picture) -> Result<Wish> {
        let config = picture.config.as_ref().context("nobody configured the network")?;
        Ok(Wish {
            config: NetworkConfig::parse(&config.text)?,
            written: config.revision,
            node: disk.node,
            value: LeaseValue {
                public_ip: self.address,
                ipv6: None,
                backend: LeaseBackend::Unnamed,
                node: Some(disk.node),
            },
            hostname: format!("host{}", self.number),
            started: 0,
            previous: disk.previous,
            local_routes: Vec::new(),
            ttl: self.world.ttl,
            anchored: true,
        })
    }

    async fn keep<S: Store>(&self, tenant: Tenant<S>, joined: Joined) -> Left {
        let Joined { held, since, picture, .. } = joined;
        let node = tenant.wish.node;
        let mut known = Known::default();
        let story =
            Follow::after(tenant.store().clone(), Scope::Host(node), picture.listing.revision);
        known.fold(Event::Snapshot(picture.listing));
        known.fold(Event::Put(held.lease.clone()));
        let own = (node, held.lease.key);
        let mine = Mine { own: Some(held.lease.clone()), ..Mine::default() };
        let (mine, seen) = watch::channel(mine);
        let (_value, says) = watch::channel(tenant.wish.value.clone());
        let (tell, told) = watch::channel(None);
        let keeper = Keeper::new(tenant, (held, since), self.world.ttl / 2).tells(tell);
        tokio::select! {
            left = keeper.run((seen, says), true) => left,
            () = watch_own((story, known), own, mine) => std::future::pending().await,
            never = self.listen(told.clone()) => never,
        }
    }

    async fn listen(&self, mut told: watch::Receiver<Option<Belief>>) -> Left {
        while told.changed().await.is_ok() {
            self.believes(told.borrow_and_update().as_ref());
        }
        std::future::pending().await
    }

    fn believes(&self, told: Option<&Belief>) {
        let Some(Belief { held, since, ttl }) = told else { return self.gives_up() };
        let subnet = held.lease.subnet();
        let until = *since + *ttl;
        let tenure = Tenure { subnet, since: *since, until };
        self.world.believes(self.number, tenure);
        self.state.send_replace(State::Holds(subnet));
    }

    fn is_troubled(&self, error: impl std::error::Error + Send + Sync + 'static) {
        self.world.happens(self.number, format!("{:#}", anyhow::Error::new(error)));
    }

    fn gives_up(&self) {
        self.world.gives_up(self.number);
        self.state.send_replace(State::Joining);
    }
}

/// As after the state directory was deleted.
pub(super) fn new_node() -> NodeId {
    NodeId::from_random(rand::random())
}
