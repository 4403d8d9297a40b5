//! A store whose calls go wrong: lost on the way there or back, late, refused. What goes wrong is drawn
//! from a seed.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};
use twill_core::ids::{LeaseId, NodeId, Revision};
use twill_core::lease::{Key, Lease, Listing};
use twill_core::ownership::Challenge;
use twill_store::{
    Alive, Asked, Bid, Cause, Claimed, ConfigText, Error, Expected, Held, Nodes, Operation,
    Picture, Place, Question, Renewal, Reserve, Revoked, Rewritten, Scope, Store, Written,
};

use super::watch::FaultyWatch;

/// How long a host waits for an answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(1);

/// There and back on a good day.
const TRIP: Duration = Duration::from_millis(2);

/// One host's way to a store.
#[derive(Clone, Debug)]
pub struct Faults<S> {
    inner: S,
    way: Arc<Mutex<Way>>,
}

#[derive(Debug)]
struct Way {
    chance: StdRng,
    calm: bool,
    calls: u64,
    /// How many calls went out in the second that began then, and the most of any second.
    second: (Instant, u64),
    most: u64,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It arrives after this time, and its answer after that one.
    Done(Duration, Duration),
    /// Nobody listens there, which is known at once.
    Closed,
    /// It is refused, as by a member that has lost its leader.
    Refused,
    /// It never arrives.
    Lost,
    /// It is done, and the answer is lost.
    Deaf,
    /// It arrives after this time, when nobody waits for its answer any more.
    Late(Duration),
}

type Call<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

impl<S: Store> Faults<S> {
    /// A stormy way to `inner`.
    pub fn new(inner: S, seed: u64) -> Self {
        let chance = StdRng::seed_from_u64(seed);
        let second = (Instant::now(), 0);
        let way = Way { chance, calm: false, calls: 0, second, most: 0 };
        Self { inner, way: Arc::new(Mutex::new(way)) }
    }

    /// Nothing goes wrong any more.
    pub fn calm(&self) {
        self.way().calm = true;
    }

    /// How many calls were made so far.
    pub fn calls(&self) -> u64 {
        self.way().calls
    }

    /// The most calls that were made within one second.
    pub fn most_in_a_second(&self) -> u64 {
        self.way().most
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn carry<T: Send + 'static>(
        &self,
        operation: Operation,
        call: impl FnOnce(S) -> Call<T>,
    ) -> Result<T, Error> {
        let fate = self.way().fate();
        let call = call(self.inner.clone());
        match fate {
            Fate::Done(there, back) => {
                sleep(there).await;
                let answer = call.await;
                sleep(back).await;
                return answer;
            }
            Fate::Closed | Fate::Refused => sleep(TRIP).await,
            Fate::Lost => sleep(DEADLINE).await,
            Fate::Deaf => {
                drop(call.await);
                sleep(DEADLINE).await;
            }
            Fate::Late(after) => {
                tokio::spawn(async move {
                    sleep(after).await;
                    drop(call.await);
                });
                sleep(DEADLINE).await;
            }
        }
        Err(fate.error(operation))
    }
}

impl Way {
    fn fate(&mut self) -> Fate {
        self.calls += 1;
        if self.second.0.elapsed() >= Duration::from_secs(1) {
            self.second = (Instant::now(), 0);
        }
        self.second.1 += 1;
        self.most = self.most.max(self.second.1);
        if self.calm {
            return Fate::Done(TRIP / 2, TRIP / 2);
        }
        let mut some = |most: Duration| most.mul_f64(self.chance.random());
        let (there, back, late) = (some(DEADLINE / 2), some(DEADLINE / 2), some(3 * DEADLINE));
        match self.chance.random_range(0..12) {
            0 => Fate::Closed,
            1 => Fate::Refused,
            2 => Fate::Lost,
            3 => Fate::Deaf,
            4 => Fate::Late(DEADLINE + late),
            5..8 => Fate::Done(there, back),
            _ => Fate::Done(TRIP / 2, TRIP / 2),
        }
    }
}

impl Fate {
    fn error(self, operation: Operation) -> Error {
        let (key, endpoint) = ("a key".to_owned(), "the twin".to_owned());
        let place = Box::new(Place { operation, key, endpoint });
        match self {
            Self::Refused => {
                let source = Box::new(Cause::Refused("etcdserver: leader changed".to_owned()));
                Error::Failed { place, source }
            }
            Self::Closed => {
                Error::Unreachable { place, source: Box::new(Cause::Closed("nobody".to_owned())) }
            }
            Self::Done(..) | Self::Lost | Self::Deaf | Self::Late(_) => {
                Error::Unreachable { place, source: Box::new(Cause::Deadline(DEADLINE)) }
            }
        }
    }
}

impl<S: Store> Store for Faults<S> {
    type Watch = FaultyWatch<S::Watch>;

    fn reconnect(&self) {
        self.inner.reconnect();
    }

    async fn config(&self) -> Result<Option<ConfigText>, Error> {
        self.carry(Operation::ReadConfig, |to| Box::pin(async move { to.config().await })).await
    }

    async fn write_config(&self, text: &str, expected: Expected) -> Result<Written, Error> {
        self.inner.write_config(text, expected).await
    }

    async fn leases(&self) -> Result<Listing, Error> {
        self.carry(Operation::ListLeases, |to| Box::pin(async move { to.leases().await })).await
    }

    async fn picture(&self, node: NodeId) -> Result<Picture, Error> {
        let call = move |to: S| -> Call<_> { Box::pin(async move { to.picture(node).await }) };
        self.carry(Operation::ReadPicture, call).await
    }

    async fn claim(&self, bid: &Bid) -> Result<Claimed, Error> {
        let bid = bid.clone();
        let call = move |to: S| -> Call<_> { Box::pin(async move { to.claim(&bid).await }) };
        self.carry(Operation::Claim, call).await
    }

    async fn renew(&self, renewal: Renewal<'_>) -> Result<Claimed, Error> {
        let Renewal { held, record, ttl } = renewal;
        let (held, record) = (held.clone(), record.cloned());
        let call = move |to: S| -> Call<_> {
            Box::pin(async move {
                to.renew(Renewal { held: &held, record: record.as_ref(), ttl }).await
            })
        };
        self.carry(Operation::Renew, call).await
    }

    async fn keep_alive(&self, held: &Held) -> Result<Alive, Error> {
        let held = held.clone();
        let call = move |to: S| -> Call<_> { Box::pin(async move { to.keep_alive(&held).await }) };
        self.carry(Operation::Renew, call).await
    }

    async fn ask(
        &self,
        node: NodeId,
        challenge: &Challenge,
        ttl: Duration,
    ) -> Result<Asked, Error> {
        let challenge = challenge.clone();
        let call = move |to: S| -> Call<_> {
            Box::pin(async move { to.ask(node, &challenge, ttl).await })
        };
        self.carry(Operation::Ask, call).await
    }

    async fn unask(&self, placed: LeaseId) {
        let call = move |to: S| -> Call<_> {
            Box::pin(async move {
                to.unask(placed).await;
                Ok(())
            })
        };
        // A question that cannot be taken back ends by itself.
        drop(self.carry(Operation::Ask, call).await);
    }

    async fn answer(&self, node: NodeId, answered: &Question) -> Result<(), Error> {
        let answered = answered.clone();
        let call =
            move |to: S| -> Call<_> { Box::pin(async move { to.answer(node, &answered).await }) };
        self.carry(Operation::Answer, call).await
    }

    async fn revoke(&self, lease: &Lease) -> Result<Revoked, Error> {
        let lease = lease.clone();
        let call = move |to: S| -> Call<_> { Box::pin(async move { to.revoke(&lease).await }) };
        self.carry(Operation::Revoke, call).await
    }

    async fn nodes(&self) -> Result<Nodes, Error> {
        self.carry(Operation::ListNodes, |to| Box::pin(async move { to.nodes().await })).await
    }

    async fn watch(&self, after: Revision, scope: Scope) -> Result<Self::Watch, Error> {
        let call =
            move |to: S| -> Call<_> { Box::pin(async move { to.watch(after, scope).await }) };
        let inner = self.carry(Operation::Watch, call).await?;
        let mut way = self.way();
        let seed = (!way.calm).then(|| way.chance.random());
        Ok(FaultyWatch::new(inner, seed))
    }

    async fn reserve(&self, wish: Reserve<'_>) -> Result<Rewritten, Error> {
        self.inner.reserve(wish).await
    }

    async fn release(&self, lease: &Lease, ttl: Duration) -> Result<Rewritten, Error> {
        self.inner.release(lease, ttl).await
    }

    async fn discard(&self, key: Key, revision: Revision) -> Result<Revoked, Error> {
        self.inner.discard(key, revision).await
    }
}

/// The error of a watch that broke.
pub(super) fn broken() -> Error {
    Fate::Lost.error(Operation::Watch)
}
