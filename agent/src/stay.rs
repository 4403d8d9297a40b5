//! The stay of this host in one network: sessions one after the other, until it is told to stop.

use tokio::sync::watch;
use twill_store::Store;

use crate::bootstrap::{Agent, Past};
use crate::failure::Failure;
use crate::ownership::Left;
use crate::session::{End, Session};

/// Returns when told to stop; an error means that the start was refused.
pub(crate) async fn stay<S: Store>(
    agent: &Agent<S>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure>
where
    S::Watch: std::fmt::Debug,
{
    let (mut first, mut past) = (true, Past::default());
    loop {
        let session = tokio::select! {
            session = start(agent, (first, past.clone())) => session?,
            _stopped = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        first = false;
        let node = session.node();
        past = match Box::pin(session.run(agent, stop.clone())).await {
            End::Stopped => return Ok(()),
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
