//! This host in one network, from when it is told to be in it until nothing of it is left, or until it stops.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use twill_core::ids::NetworkName;
use twill_net::Kernel;
use twill_store::{Etcd, Store as _};

use crate::access;
use crate::bootstrap::Agent;
use crate::departed::Departed;
use crate::failure::Failure;
use crate::flags::Flags;
use crate::hook::Hook;
use crate::host::Host;
use crate::memory::Memory;
use crate::metrics::Counted;
use crate::patience::complain;
use crate::publish;
use crate::shelf::Shelf;
use crate::status::Board;
use crate::stay::{Last, Order, stay};
use crate::trouble::Trouble;

/// etcd, and how often it was asked for what.
pub(crate) type Asked = Counted<Etcd>;

/// How long etcd may take to end a lease: it ends by itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// A network that this host is in, or may be.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) host: Arc<Host>,
    /// A host in one network need not name it.
    pub(crate) name: Option<NetworkName>,
    /// As they read for this network.
    pub(crate) flags: Flags,
    pub(crate) board: Board,
    pub(crate) hook: Hook,
}

impl Visit {
    /// Refuses early what cannot work. Nothing is asked or written yet.
    pub(crate) fn agent(&self) -> Result<Agent<Asked>, Failure> {
        let Self { name, flags, board, hook, .. } = self;
        let store = Etcd::new(&access::options(&flags.etcd, access::credentials().as_deref())?)?;
        let store = Counted::new(store, board.meters());
        publish::check(&flags.files)?;
        let (host, kernel) = (Arc::clone(&self.host), Kernel::open()?);
        let (name, flags) = (name.clone(), flags.clone());
        let (board, hook) = (board.clone(), hook.clone());
        let state = &flags.files.state_dir;
        let (memory, devices) = (Memory::new(state), Mutex::default());
        Ok(Agent {
            shelf: Shelf::new(state),
            host,
            name,
            flags,
            kernel,
            store,
            board,
            memory,
            hook,
            devices,
        })
    }

    /// Does as it is told until it is told to stop. An error means that the start was refused.
    pub(crate) async fn run(
        self,
        agent: Option<Agent<Asked>>,
        mut orders: watch::Receiver<Order>,
    ) -> Result<(), Failure> {
        // Whoever gives orders says when it is over.
        drop(orders.wait_for(|order| *order != Order::Wait).await);
        let (mut agent, mut last) = (agent, Last::Joining);
        if *orders.borrow() == Order::Serve {
            if agent.is_none() {
                agent = self.insist(&mut orders).await;
            }
            if let Some(agent) = &agent {
                last = stay(agent, orders.clone()).await?;
            }
        }
        if *orders.borrow() == Order::Leave {
            self.leave(agent, last, &mut orders).await;
        }
        Ok(())
    }

    /// A network that comes while others are served is no reason to give those up.
    async fn insist(&self, orders: &mut watch::Receiver<Order>) -> Option<Agent<Asked>> {
        let mut trouble = Trouble::default();
        loop {
            let failure = match self.agent() {
                Ok(agent) => return Some(agent),
                Err(failure) => failure,
            };
            let here = (&*self.host, self.name.as_ref(), &self.board);
            let wait = complain(here, &mut trouble, &failure);
            if ended(orders, wait).await {
                return None;
            }
        }
    }

    /// Takes everything of it off this host, and its lease out of etcd. What cannot be is said, and tried
    /// again.
    async fn leave(
        self,
        agent: Option<Agent<Asked>>,
        mut last: Last,
        orders: &mut watch::Receiver<Order>,
    ) {
        let Some(name) = self.name.clone() else { return };
        self.board.leaves();
        let agent = agent.or_else(|| {
            let agent = self.agent();
            agent
                .inspect_err(|failure| {
                    tracing::warn!("nobody can end the lease in the network: {}", failure.line());
                })
                .ok()
        });
        let departed = Departed::new(name.clone(), self.flags.clone());
        let mut trouble = Trouble::default();
        loop {
            let failure = match self.try_leave(&departed, agent.as_ref(), &mut last).await {
                Ok(()) => break,
                Err(failure) => failure,
            };
            let line = failure.line();
            let (wait, new) = trouble.meet(&line);
            if new {
                let hint = failure.way_out();
                tracing::error!(hint, "something is left of the network: {line}");
                self.board.waiting(&format!("leaving the network: {line}"));
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _stopped = orders.wait_for(|order| *order == Order::Stop) => return,
            }
        }
        tracing::info!("this host is in that network no more, all of it is gone");
    }

    /// What says whose a device is goes last, so that a start can take it up where this was cut off.
    async fn try_leave(
        &self,
        departed: &Departed,
        agent: Option<&Agent<Asked>>,
        last: &mut Last,
    ) -> Result<(), Failure> {
        let kernel = Kernel::open()?;
        if mem::replace(last, Last::Served) == Last::Joining {
            departed.run_commands(&kernel).await;
        }
        if let Some(agent) = agent {
            // Whoever takes devices away locks them.
            agent.devices.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        departed.drop_ways((&kernel, &self.host.programs)).await?;
        if let Some(name) = &self.name {
            self.host.wall.leave(name).await?;
        }
        if let Some(agent) = agent {
            end_lease(agent).await;
            // A picture that is being written must not come back.
            agent.memory.forget();
        }
        departed.drop_files()
    }
}

/// Peers need not wait for its end. A reservation stays one.
async fn end_lease(agent: &Agent<Asked>) {
    let node = agent.identity().node;
    let end = async {
        let mut done = Ok::<(), twill_store::Error>(());
        for lease in agent.store.leases().await?.leases {
            if lease.value.node == Some(node) && lease.lease_id.is_some() {
                let revoked = agent.store.revoke(&lease).await.map(|_outcome| ());
                done = done.and(revoked);
            }
        }
        done
    };
    let why = match timeout(PATIENCE, end).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => format!("{:#}", anyhow::Error::new(error)),
        Err(_elapsed) => format!("etcd has not answered within {PATIENCE:?}"),
    };
    tracing::warn!("the lease in the network that is left ends by itself: {why}");
}

/// Waits for that time, or until the stay is over; tells whether it is.
async fn ended(orders: &mut watch::Receiver<Order>, wait: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(wait) => false,
        _over = orders.wait_for(|order| order.ends()) => true,
    }
}
