//! All networks of this host: those that the administrator names, or those that come and go in etcd.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tracing::{Instrument as _, Span};
use twill_core::ids::NetworkName;
use twill_net::Kernel;

use crate::bootstrap::Agent;
use crate::failure::Failure;
use crate::flags::Flags;
use crate::hook::{Hooks, Running};
use crate::host::Host;
use crate::prefix::Prefix;
use crate::status::{Board, Boards};
use crate::stay::Order;
use crate::visit::{Asked, Visit};

/// One network's end.
type Done = (Option<NetworkName>, Result<(), Failure>);

/// The networks that this host is in, or about to join or leave.
pub(crate) struct Visits {
    host: Arc<Host>,
    flags: Flags,
    boards: Boards,
    hooks: Hooks,
    here: BTreeMap<Option<NetworkName>, Orders>,
    running: FuturesUnordered<LocalBoxFuture<'static, Done>>,
}

/// How one of them is told what to do.
struct Orders {
    tell: watch::Sender<Order>,
    hook: Running,
}

impl Visits {
    pub(crate) fn new(host: &Arc<Host>, flags: &Flags, (boards, hooks): (&Boards, Hooks)) -> Self {
        let (here, running) = (BTreeMap::new(), FuturesUnordered::new());
        let (host, flags, boards) = (Arc::clone(host), flags.clone(), boards.clone());
        Self { host, flags, boards, hooks, here, running }
    }

    /// Those that the administrator names, from now on; refuses early what cannot work. Those that may come
    /// and go wait if this host has something of them.
    pub(crate) async fn begin(&mut self, kernel: &Kernel) -> Result<(), Failure> {
        let comes = self.flags.etcd.watch_networks;
        let order = if comes { Order::Wait } else { Order::Serve };
        let mut ready = Vec::new();
        for (name, flags) in self.flags.of_networks() {
            // Before anybody claims anything it is known what everybody had.
            if let Some(name) = &name {
                self.host.recall_use(name, &flags, kernel).await;
            }
            let (visit, hook) = self.visit((name, flags))?;
            let agent = if comes { None } else { Some(visit.agent()?) };
            ready.push((visit, hook, agent));
        }
        for (visit, hook, agent) in ready {
            self.start((visit, hook), agent, order);
        }
        Ok(())
    }

    /// Runs them until `stop`; an error means that the start was refused.
    pub(crate) async fn run(
        mut self,
        prefix: Option<Prefix>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let mut prefix = prefix;
        loop {
            tokio::select! {
                Some((name, done)) = self.running.next(), if !self.running.is_empty() => {
                    done?;
                    self.left(name).await;
                    if let Some(prefix) = &mut prefix {
                        prefix.judge(&mut self).await;
                    }
                }
                () = news(&mut prefix) => {
                    if let Some(prefix) = &mut prefix {
                        prefix.judge(&mut self).await;
                    }
                }
                _stopped = stop.wait_for(|stop| *stop) => break,
            }
        }
        for orders in self.here.values() {
            orders.tell.send_replace(Order::Stop);
        }
        let mut refused = Ok(());
        while let Some((_name, done)) = self.running.next().await {
            refused = refused.and(done);
        }
        for (_name, orders) in std::mem::take(&mut self.here) {
            orders.hook.stop().await;
        }
        self.hooks.stop().await;
        refused
    }

    /// What it is told to do in that network, if it is here.
    pub(crate) fn order(&self, name: &NetworkName) -> Option<Order> {
        self.here.get(&Some(name.clone())).map(|orders| *orders.tell.borrow())
    }

    /// Those that are here, whatever they are told to do.
    pub(crate) fn names(&self) -> Vec<NetworkName> {
        self.here.keys().flatten().cloned().collect()
    }

    /// From now on it is to be in that one. One that it is leaving it leaves first.
    pub(crate) fn serve(&mut self, name: &NetworkName) -> Result<(), Failure> {
        match self.order(name) {
            None => {
                tracing::info!(network = %name, "a network that this host is to be in");
                let visit = self.visit((Some(name.clone()), self.flags.of(name)))?;
                self.start(visit, None, Order::Serve);
            }
            Some(Order::Wait) => self.tell(name, Order::Serve),
            Some(Order::Serve | Order::Leave | Order::Stop) => {}
        }
        Ok(())
    }

    /// From now on it is not to be in that one, and nothing of it is to be left.
    pub(crate) fn leave(&self, name: &NetworkName) {
        if self.order(name).is_some_and(|order| !order.ends()) {
            tracing::warn!(network = %name, "the network's configuration was deleted: leaving it");
            self.tell(name, Order::Leave);
        }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn boards(&self) -> &Boards {
        &self.boards
    }

    pub(crate) fn board(&self, name: &NetworkName) -> Option<Board> {
        let mut all = self.boards.all().into_iter();
        all.find(|(known, _board)| known.as_ref() == Some(name)).map(|(_name, board)| board)
    }

    fn tell(&self, name: &NetworkName, order: Order) {
        if let Some(orders) = self.here.get(&Some(name.clone())) {
            orders.tell.send_replace(order);
        }
    }

    fn visit(
        &mut self,
        (name, flags): (Option<NetworkName>, Flags),
    ) -> Result<(Visit, Running), Failure> {
        let (hook, running) = self.hooks.of(name.as_ref(), &flags)?;
        let known = self.boards.all().into_iter().find(|(known, _board)| *known == name);
        let board = known.map_or_else(|| self.boards.add(name.as_ref()), |(_name, board)| board);
        Ok((Visit { host: Arc::clone(&self.host), name, flags, board, hook }, running))
    }

    fn start(
        &mut self,
        (visit, hook): (Visit, Running),
        agent: Option<Agent<Asked>>,
        order: Order,
    ) {
        let name = visit.name.clone();
        let (tell, told) = watch::channel(order);
        let span = match &name {
            Some(name) => tracing::info_span!("network", %name),
            None => Span::none(),
        };
        self.here.insert(name.clone(), Orders { tell, hook });
        let run = visit.run(agent, told).instrument(span);
        self.running.push(async move { (name, run.await) }.boxed_local());
    }

    /// Nothing of that network is here any more.
    async fn left(&mut self, name: Option<NetworkName>) {
        if let Some(orders) = self.here.remove(&name) {
            orders.hook.stop().await;
        }
        if let Some(name) = name {
            self.boards.remove(&name);
            self.host.books.forget(&name);
        }
    }
}

/// Something is to be judged anew. Never, if the networks are those that the administrator names.
async fn news(prefix: &mut Option<Prefix>) {
    match prefix {
        Some(prefix) => prefix.news().await,
        None => std::future::pending().await,
    }
}
