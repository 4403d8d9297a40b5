//! One call to whichever endpoint answers.

use std::fmt;
use std::sync::Arc;

use etcd_client::Client;
use tokio::time::timeout;

use super::connect::{Options, Reach};
use super::members::Members;
use super::slot::Slot;
use crate::error::Kind;
use crate::layout::Layout;
use crate::{Cause, Error, Operation, Place};

/// In bytes. The client's default of 4 MiB would be reached by some twenty thousand leases.
pub(super) const LARGEST_ANSWER: usize = 64 << 20;

/// The way to etcd. A call goes to the endpoint that answered last, and moves on only when that is
/// silent or does not know us.
///
/// The client's own balancer would send every other call to a dead endpoint.
#[derive(Clone)]
pub(super) struct Endpoints {
    members: Arc<Members>,
    reach: Arc<Reach>,
    pub(super) layout: Arc<Layout>,
}

impl Endpoints {
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        Ok(Self {
            members: Arc::new(Members::new(options)?),
            reach: Arc::new(Reach::new(options)?),
            layout: Arc::new(Layout::new(&options.prefix)),
        })
    }

    /// The endpoint that answered last.
    pub(super) fn current_url(&self) -> String {
        self.members.current_url()
    }

    /// Whatever is asked next connects anew.
    pub(super) fn reconnect(&self) {
        self.members.reconnect();
    }

    /// [`Self::try_call`], with the two halves of its error put together.
    pub(super) async fn call<T, E, F>(
        &self,
        call: (Operation, &str),
        rpc: impl Fn(Client) -> F,
    ) -> Result<T, Error>
    where
        E: Into<Cause>,
        F: Future<Output = Result<T, E>>,
    {
        self.try_call(call, rpc).await.map_err(|(place, cause)| Error::new(place, cause))
    }

    /// Runs `rpc` against one endpoint after the other until one answers, be it with an error.
    ///
    /// It may run twice although the first got through, so it must be harmless when repeated.
    pub(super) async fn try_call<T, E, F>(
        &self,
        (operation, key): (Operation, &str),
        rpc: impl Fn(Client) -> F,
    ) -> Result<T, (Place, Cause)>
    where
        E: Into<Cause>,
        F: Future<Output = Result<T, E>>,
    {
        let deadline = self.reach.limits.deadline;
        let place = |endpoint| Place { operation, key: key.to_owned(), endpoint };
        let known = self.members.in_turn(deadline).await;
        let mut slots = known.map_err(|cause| (place(self.current_url()), cause))?;
        let mut failures = Vec::new();
        let (mut next, mut asked) = (0, false);
        loop {
            let Some(slot) = slots.get(next) else {
                if std::mem::replace(&mut asked, true) {
                    break;
                }
                let others = self.members.others(&slots, deadline).await;
                slots.extend(others);
                continue;
            };
            next += 1;
            match self.at(slot, &rpc).await {
                Ok(answer) => {
                    self.members.answered(slot);
                    return Ok(answer);
                }
                Err(cause) if cause.is_of_connection() => {
                    failures.push((slot.url.clone(), cause));
                }
                Err(cause) => return Err((place(slot.url.clone()), cause)),
            }
        }
        let (endpoint, cause) = told(failures);
        Err((place(endpoint), cause))
    }

    async fn at<T, E, F>(&self, slot: &Slot, rpc: impl Fn(Client) -> F) -> Result<T, Cause>
    where
        E: Into<Cause>,
        F: Future<Output = Result<T, E>>,
    {
        let deadline = self.reach.limits.deadline;
        // Boxed, so that the futures of those who call stay small.
        timeout(deadline, Box::pin(slot.run(&self.reach, rpc))).await.unwrap_or_else(|_elapsed| {
            // Half-open, perhaps: what goes into it next would be lost as well.
            slot.forget();
            Err(Cause::Deadline(deadline))
        })
    }
}

/// What to say of several endpoints' failures.
fn told(mut failures: Vec<(String, Cause)>) -> (String, Cause) {
    // That somebody is there and does not know us says more than that others are silent.
    let denied = failures.iter().position(|(_url, cause)| cause.kind() == Kind::Denied);
    if let Some(index) = denied {
        return failures.swap_remove(index);
    }
    let urls: Vec<&str> = failures.iter().map(|(url, _cause)| url.as_str()).collect();
    let urls = urls.join(", ");
    let last = failures.pop().map(|(_url, cause)| cause);
    (urls, last.unwrap_or_else(|| Cause::Closed("no endpoint".to_owned())))
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.members.fmt(f)
    }
}
