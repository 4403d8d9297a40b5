//! Hosts against the store's in-memory twin, with time that passes at our word.

mod doubles;
mod join;
mod keeper;
mod pairs;

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use twill_core::config::NetworkConfig;
use twill_core::ids::{NodeId, Subnet, Underlay};
use twill_core::lease::{Lease, LeaseBackend, LeaseValue};
use twill_core::peers::{Home, Known, Own, View};
use twill_core::serving::Serving;
use twill_store::{Follow, Held, Memory, Scope, Store};

use super::*;
use crate::follow::{News, follow};
use crate::status::Board;

const CONFIG: &[u8] = br#"{"Network":"10.5.0.0/22","SubnetLen":24}"#;
const CONFIG_KEY: &str = "/coreos.com/network/config";
const MARGIN: Duration = Duration::from_hours(1);
const MOMENT: Duration = Duration::from_secs(1);

/// A network with room for three hosts.
fn network() -> Memory {
    let memory = Memory::default();
    memory.put_raw(CONFIG_KEY, CONFIG);
    memory
}

/// What host `n` wants, with the configuration as it stands.
async fn wish(memory: &Memory, n: u8) -> Wish {
    let found = memory.config().await.expect("the twin answers").expect("a configuration");
    let node = NodeId::from_random([n; 16]);
    Wish {
        config: NetworkConfig::parse(&found.text).expect("a configuration"),
        written: found.revision,
        node,
        value: LeaseValue {
            public_ip: ip(n),
            ipv6: None,
            backend: LeaseBackend::Unnamed,
            node: Some(node),
        },
        hostname: format!("node{n}"),
        started: 0,
        previous: None,
        local_routes: Vec::new(),
        ttl: DEFAULT_TTL,
        anchored: true,
    }
}

/// What host `n` wants if it carries the node id of `of`.
async fn copy(memory: &Memory, (n, of): (u8, u8)) -> Wish {
    let mut wish = wish(memory, of).await;
    wish.value.public_ip = ip(n);
    wish.hostname = format!("node{n}");
    wish
}

fn ip(n: u8) -> Underlay {
    Underlay([192, 0, 2, n].into())
}

async fn join(memory: &Memory, wish: Wish) -> (Tenant<Memory>, Result<Joined, JoinError>) {
    let picture = memory.picture(wish.node).await.expect("the twin answers");
    let mut tenant = Tenant::new(memory.clone(), wish);
    let joined = tenant.join(None, picture).await;
    (tenant, joined)
}

/// A host that has a subnet, with its keeper and its watch running.
struct Host {
    memory: Memory,
    keeper: JoinHandle<Left>,
    follower: JoinHandle<()>,
    first: Held,
    value: watch::Sender<LeaseValue>,
    board: Board,
}

impl Host {
    async fn start(memory: &Memory, wish: Wish) -> Self {
        Self::try_start(memory, wish).await.expect("a subnet")
    }

    async fn try_start(memory: &Memory, wish: Wish) -> Result<Self, JoinError> {
        let (tenant, joined) = join(memory, wish).await;
        let Joined { held, since, picture, .. } = joined?;
        let wish = &tenant.wish;
        let own = Own {
            node: wish.node,
            home: Home {
                network: wish.config.network,
                subnet: held.lease.subnet(),
                public_ip: wish.public_ip(),
            },
            ipv6: None,
            mac: None,
            key: None,
            serving: Serving::new(wish.config.backend.clone(), wish.written),
        };
        let known = Known::default();
        let news = News::new(watch::Sender::new(View::default()), Mine::default(), None);
        let seen = news.mine.subscribe();
        let scope = Scope::Host(wish.node);
        let story = Follow::after(memory.clone(), scope, picture.listing.revision);
        let (value, says) = watch::channel(wish.value.clone());
        let board = Board::default();
        let own = watch::channel(own).1;
        let follower = tokio::spawn(follow(story, (own, known), (news, Board::default())));
        let keeper = Keeper::new(tenant, (held.clone(), since), MARGIN).on(board.clone());
        let keeper = tokio::spawn(keeper.run((seen, says), true));
        Ok(Self { memory: memory.clone(), keeper, follower, first: held, value, board })
    }

    async fn now(&self) -> Option<Lease> {
        let listing = self.memory.leases().await.expect("the twin answers");
        listing.leases.into_iter().find(|lease| lease.key == self.first.lease.key)
    }

    fn subnet(&self) -> Subnet {
        self.first.lease.subnet()
    }

    fn key(&self) -> String {
        format!("/coreos.com/network/subnets/{}", self.first.lease.key)
    }

    /// Why it gave its subnet up; `None` if it still has it.
    async fn left(&mut self) -> Option<Left> {
        if !self.keeper.is_finished() {
            return None;
        }
        Some((&mut self.keeper).await.expect("no mistake of ours"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.keeper.abort();
        self.follower.abort();
    }
}

/// Lets everything happen that is due within that time.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

async fn leases(memory: &Memory) -> Vec<Lease> {
    memory.leases().await.expect("the twin answers").leases
}

fn now() -> Instant {
    Instant::now()
}
