//! One call to whichever endpoint answers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::connect::{Options, normalise};
use crate::error::Kind;
use crate::layout::Layout;
use crate::{Cause, Error, Operation, Place};

/// In bytes. The client's default of 4 MiB would be reached by some twenty thousand leases.
pub(super) const LARGEST_ANSWER: usize = 64 << 20;

/// Every endpoint with its connection. A call goes to the one that answered last, and moves on only
/// when that is silent.
///
/// The client's own balancer would send every other call to a dead endpoint.
#[derive(Clone)]
pub(super) struct Endpoints {
    slots: Arc<[Slot]>,
    current: Arc<AtomicUsize>,
    deadline: Duration,
    pub(super) layout: Arc<Layout>,
}

struct Slot {
    url: String,
    options: ConnectOptions,
    client: OnceCell<Client>,
}

impl Endpoints {
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let tls = options.tls.load()?;
        let slots: Vec<Slot> = options
            .endpoints
            .iter()
            .map(|endpoint| {
                let url = normalise(endpoint)?;
                let options = options.for_endpoint(&tls, &url);
                Ok(Slot { url, options, client: OnceCell::new() })
            })
            .collect::<Result<_, Error>>()?;
        if slots.is_empty() {
            return Err(Error::NoEndpoint);
        }
        Ok(Self {
            slots: slots.into(),
            current: Arc::default(),
            deadline: options.deadline,
            layout: Arc::new(Layout::new(&options.prefix)),
        })
    }

    /// The endpoint that answered last.
    pub(super) fn current_url(&self) -> &str {
        &self.slots[self.current.load(Ordering::Relaxed) % self.slots.len()].url
    }

    /// [`Self::try_call`], with the two halves of its error put together.
    pub(super) async fn call<T, F>(
        &self,
        call: (Operation, &str),
        rpc: impl Fn(Client) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.try_call(call, rpc).await.map_err(|(place, cause)| Error::new(place, cause))
    }

    /// Runs `rpc` against one endpoint after the other until one answers, be it with an error.
    ///
    /// It may run twice although the first got through, so it must be harmless when repeated.
    pub(super) async fn try_call<T, F>(
        &self,
        (operation, key): (Operation, &str),
        rpc: impl Fn(Client) -> F,
    ) -> Result<T, (Place, Cause)>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let first = self.current.load(Ordering::Relaxed);
        let place = |endpoint| Place { operation, key: key.to_owned(), endpoint };
        let mut silent = Vec::new();
        let mut last = None;
        for offset in 0..self.slots.len() {
            let index = (first + offset) % self.slots.len();
            let slot = &self.slots[index];
            match self.at(slot, &rpc).await {
                Ok(answer) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(cause) if cause.kind() == Kind::Unreachable => {
                    silent.push(slot.url.as_str());
                    last = Some(cause);
                }
                Err(cause) => return Err((place(slot.url.clone()), cause)),
            }
        }
        let cause = last.unwrap_or_else(|| Cause::Closed("no endpoint".to_owned()));
        Err((place(silent.join(", ")), cause))
    }

    async fn at<T, F>(&self, slot: &Slot, rpc: impl Fn(Client) -> F) -> Result<T, Cause>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let connected = async {
            let client = slot
                .client
                .get_or_try_init(|| Client::connect([&slot.url], Some(slot.options.clone())))
                .await?;
            rpc(client.clone()).await
        };
        match timeout(self.deadline, connected).await {
            Ok(answer) => answer.map_err(Cause::Client),
            Err(_elapsed) => Err(Cause::Deadline(self.deadline)),
        }
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.slots.iter().map(|slot| &slot.url)).finish()
    }
}
