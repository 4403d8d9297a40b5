//! One host of a storm: its cable, its disk, and its agent, which dies and comes back as it is
//! told.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use twill_core::ids::{NodeId, Subnet, Underlay};
use twill_core::lease::Key;
use twill_store::{Etcd, Options, Store};

use super::gate::Gate;
use super::life::{Life, live, new_node};
use super::line::Line;
use super::script::{Cut, Left};
use super::world::World;

/// How long etcd may take to answer before the agent calls it silent.
const DEADLINE: Duration = Duration::from_secs(1);

/// What a host has on its disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    pub(super) node: NodeId,
    pub(super) previous: Option<Key>,
}

/// How an agent is doing, by its own account.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum State {
    /// It does not run.
    #[default]
    Down,
    /// It looks for a subnet.
    Joining,
    /// It found none, and says why.
    Full(String),
    /// It has one.
    Holds(Subnet),
}

/// The handle of a host.
#[derive(Debug)]
pub(super) struct Slot {
    gate: Gate,
    /// `None` without a network.
    line: Option<Arc<Line>>,
    deaths: mpsc::UnboundedSender<Death>,
    state: watch::Receiver<State>,
}

/// How an agent dies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    /// When it comes back; never, without a time.
    pub(super) down: Option<Duration>,
    /// What it finds on its disk then.
    pub(super) left: Left,
}

/// The host itself, not yet running.
pub(super) struct Body<S> {
    number: usize,
    gate: Gate,
    /// Each agent opens it anew.
    store: Box<dyn Fn() -> Result<S> + Send + Sync>,
    deaths: mpsc::UnboundedReceiver<Death>,
    state: Arc<watch::Sender<State>>,
}

impl Slot {
    /// Host number `number`, on a cable of its own.
    pub(super) fn new(number: usize, line: Line) -> (Self, Body<Etcd>) {
        let endpoints = vec![line.endpoint()];
        let open = move || {
            let endpoints = endpoints.clone();
            Ok(Etcd::new(&Options { endpoints, deadline: DEADLINE, ..Options::default() })?)
        };
        let (slot, body) = Self::before(number, open);
        (Self { line: Some(Arc::new(line)), ..slot }, body)
    }

    /// Host number `number`, on whatever store that opens.
    pub(super) fn before<S: Store>(
        number: usize,
        open: impl Fn() -> Result<S> + Send + Sync + 'static,
    ) -> (Self, Body<S>) {
        let gate = Gate::default();
        let (deaths, told) = mpsc::unbounded_channel();
        let (tell, state) = watch::channel(State::default());
        let body = Body {
            number,
            gate: gate.clone(),
            store: Box::new(open),
            deaths: told,
            state: Arc::new(tell),
        };
        (Self { gate, line: None, deaths, state }, body)
    }

    /// Its agent dies without a word.
    pub(super) fn kill(&self, death: Death) {
        // Without a body there is nothing to kill.
        self.deaths.send(death).ok();
    }

    /// Stops the agent for a while.
    pub(super) fn pause(&self, lasting: Duration) {
        self.gate.shut();
        let gate = self.gate.clone();
        tokio::spawn(async move {
            sleep(lasting).await;
            gate.open();
        });
    }

    /// Cuts the cable for a while.
    pub(super) fn cut(&self, lasting: Duration, what: Cut) {
        let Some(line) = self.line.clone() else { return };
        line.cut(what);
        tokio::spawn(async move {
            sleep(lasting).await;
            line.cut(Cut::No);
        });
    }

    /// Nothing is wrong with this host any more.
    pub(super) fn calm(&self) {
        self.gate.open();
        if let Some(line) = &self.line {
            line.cut(Cut::No);
        }
    }

    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }
}

impl<S: Store> Body<S> {
    /// Lives, dies and comes back, for ever.
    pub(super) async fn run(mut self, world: Arc<World>) -> Result<()> {
        let mut disk = Disk { node: new_node(), previous: None };
        loop {
            self.state.send_replace(State::Joining);
            let life = Life {
                number: self.number,
                address: address(self.number),
                state: self.state.clone(),
                world: world.clone(),
            };
            let store = (self.store)()?;
            let death = tokio::select! {
                // It ends only if it cannot live at all.
                ended = self.gate.guard(live(&life, store, &mut disk)) => return ended,
                Some(death) = self.deaths.recv() => death,
            };
            self.state.send_replace(State::Down);
            world.down(death.down).await;
            match death.left {
                Left::Everything => {}
                Left::NodeId => disk.previous = None,
                Left::Nothing => disk = Disk { node: new_node(), previous: None },
            }
        }
    }
}

// The addresses are told and never used: no packet goes to a host of a storm.
pub(super) fn address(number: usize) -> Underlay {
    let number = u32::try_from(number).unwrap_or_default();
    Underlay(Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 1).to_bits() + number).into())
}
