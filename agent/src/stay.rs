//! The stay of this host in one network: sessions one after the other, until it is told to stop.

use tokio::sync::watch;
use twill_store::Store;

use crate::bootstrap::{Agent, Past};
use crate::failure::Failure;
use crate::ownership::Left;
use crate::session::{End, Session};

/// What a host is to do in a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Order {
    /// Nothing yet: nobody knows whether the network is still there.
    Wait,
    /// To be in it.
    Serve,
    /// To stop, and to leave everything as it is.
    Stop,
    /// To stop for good: nothing is to be left.
    Leave,
}

/// What the last session left behind that a stay ended with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Last {
    /// The network was served until the end, and the administrator's commands know that it is over.
    Served,
    /// It was being joined.
    Joining,
}

impl Order {
    /// Is this stay over?
    pub(crate) fn ends(self) -> bool {
        matches!(self, Self::Stop | Self::Leave)
    }
}

/// Returns when told to stop; an error means that the start was refused.
pub(crate) async fn stay<S: Store>(
    agent: &Agent<S>,
    mut orders: watch::Receiver<Order>,
) -> Result<Last, Failure>
where
    S::Watch: std::fmt::Debug,
{
    let (mut first, mut past) = (true, Past::default());
    loop {
        let session = tokio::select! {
            session = start(agent, (first, past.clone())) => session?,
            _stopped = orders.wait_for(|order| order.ends()) => return Ok(Last::Joining),
        };
        first = false;
        let node = session.node();
        past = match Box::pin(session.run(agent, orders.clone())).await {
            End::Stopped => return Ok(Last::Served),
            End::Uprooted(next) => {
                agent.board.leaving();
                // etcd's answers go to the address that this host had.
                agent.store.reconnect();
                next.after(past)
            }
            End::Outgrown => {
                agent.board.leaving();
                agent.memory.forget();
                Past::default()
            }
            End::Left(left) => {
                agent.board.leaving();
                agent.memory.forget();
                match left {
                    Left::Displaced(_) => Past::default(),
                    Left::Doubled(_) => agent.become_another(node)?,
                }
            }
            End::Renamed => {
                agent.board.leaving();
                agent.as_another()
            }
            End::Died => return Err(died()),
        }
    }
}

async fn start<S: Store>(
    agent: &Agent<S>,
    (first, past): (bool, Past),
) -> Result<Session<S>, Failure> {
    let attempt =
        || async { Session::open(agent, Box::pin(agent.join(past.clone())).await?).await };
    if first && agent.name.is_none() {
        Box::pin(attempt()).await
    } else {
        Ok(Box::pin(agent.insist(attempt)).await)
    }
}

/// Only a mistake of ours can bring it about.
pub(crate) fn died() -> Failure {
    Failure::internal(anyhow::Error::msg("a task of the agent died, see the log above"))
}
