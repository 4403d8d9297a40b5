//! The loop that keeps the kernel equal to etcd: dump, plan, apply, wait for a reason to look again.

mod last;
mod part;
mod run;
mod uplink;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;
use twill_core::ids::{NetworkName, Revision};
use twill_core::peers::{Peer, View};
use twill_core::serving::Way;
use twill_core::status::Ignored;
use twill_net::Kernel;
use twill_net::kernel::{Choice, Events};

use crate::books::Books;
use crate::extension::{self, Ends};
use crate::failure::Failure;
use crate::follow::warn_of;
use crate::gate::Gatekeeper;
use crate::metrics;
use crate::setup::{Half, Setup};
use crate::status::Board;
use crate::trouble::Trouble;
use part::{Looked, Part, Task};

/// One membership's devices and rows.
#[derive(Debug)]
pub(crate) struct Reconciler {
    kernel: Kernel,
    events: Events,
    /// One for each family of the network.
    parts: Vec<Part>,
    wires: Wires,
    board: Board,
    far: Vec<Ignored>,
    absence: Trouble,
    trouble: Trouble,
    /// Had a device gone when the last pass wrote its rows?
    outrun: bool,
    delay: Trouble,
}

/// What the loop hears, and what it says; each is a `watch`, because only the newest counts.
#[derive(Debug)]
pub(crate) struct Wires {
    pub(crate) peers: watch::Receiver<View>,
    pub(crate) setup: watch::Receiver<Setup>,
    /// What stands.
    pub(crate) stands: watch::Sender<Option<Stood>>,
    /// What the uplink is called.
    pub(crate) named: watch::Sender<String>,
    /// Where commands keep what they did.
    pub(crate) record: PathBuf,
    /// Who lets peers in.
    pub(crate) gate: Gatekeeper,
    /// What the networks of this host use of it, and which one this is.
    pub(crate) shared: (Books, Option<NetworkName>),
}

/// When the configuration was written whose backend stands, and the ways that are served; no device of
/// another one is left.
pub(crate) type Stood = (Revision, BTreeSet<Way>);

/// What one pass did.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    /// How many rows had to be written or dropped.
    changes: usize,
    /// The first row that could not be; the others were all the same.
    error: Option<twill_net::Error>,
    /// Why a new backend does not stand yet. Those before it do.
    unready: Option<Failure>,
    /// What could not be done for a family whose uplink is away, as has been said.
    absent: Option<Failure>,
}

impl Pass {
    /// And that for the other family.
    fn add(&mut self, other: Self) {
        self.changes += other.changes;
        self.error = self.error.take().or(other.error);
        self.unready = self.unready.take().or(other.unready);
        self.absent = self.absent.take().or(other.absent);
    }

    /// The start needs the device that the configuration asks for.
    pub(crate) fn with_every_device(mut self) -> Result<Self, Failure> {
        self.unready.take().map_or(Ok(self), Err)
    }

    /// How many rows were changed, if that was all.
    pub(crate) fn complete(self) -> Result<usize, Failure> {
        match self.error.map(Failure::from).or(self.absent) {
            Some(failure) => Err(failure),
            None => Ok(self.changes),
        }
    }
}

/// The uplink is another one now, or its address or MTU is: the host has to join again.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Uprooted;

impl Reconciler {
    /// Listens from now on, so that no change falls between this and the first pass. `choices` are those
    /// of the uplink, for each family of the network.
    pub(crate) fn new(
        kernel: &Kernel,
        choices: Vec<Choice>,
        wires: Wires,
        board: Board,
    ) -> Result<Self, Failure> {
        let ends =
            Ends { board: board.clone(), record: wires.record.clone(), wake: Arc::default() };
        let halves: Vec<Half> = wires.setup.borrow().halves().collect();
        let parts = halves.iter().zip(choices);
        let parts = parts.map(|(half, choice)| Part::new(half, choice, ends.clone())).collect();
        Ok(Self {
            kernel: kernel.clone(),
            events: Kernel::events()?,
            parts,
            wires,
            board,
            far: Vec::new(),
            absence: Trouble::default(),
            trouble: Trouble::default(),
            outrun: false,
            delay: Trouble::default(),
        })
    }

    /// The first pass. A host that was in the network before may lack one of its two addresses, and is
    /// brought as far as it can be without; of one that has changed the loop hears.
    pub(crate) async fn first_pass(&mut self) -> Result<Pass, Failure> {
        self.uprooted().await;
        self.pass().await
    }

    /// One pass. An error means that there is no device, or no picture of what is on it.
    pub(crate) async fn pass(&mut self) -> Result<Pass, Failure> {
        let begun = Instant::now();
        let done = self.look().await;
        let outcome = match &done {
            Ok(Pass { error: None, unready: None, absent: None, changes: 0 }) => metrics::UNCHANGED,
            Ok(Pass { error: None, unready: None, absent: None, .. }) => metrics::CHANGED,
            _failed => metrics::FAILED,
        };
        self.board.meters().pass(outcome, begun.elapsed());
        done
    }

    async fn look(&mut self) -> Result<Pass, Failure> {
        let told = self.board.changes();
        let setup = self.wires.setup.borrow_and_update().clone();
        let (peers, hosts) = {
            let view = self.wires.peers.borrow_and_update();
            (view.peers.clone(), extension::hosts(&view))
        };
        let halves: Vec<Half> = setup.halves().collect();
        // Before there is a device to send into, and before anybody is asked to.
        self.wires.gate.ensure(&halves, &peers).await;
        let mut sum = Pass::default();
        let (mut failure, mut pending, mut far) = (None, Vec::new(), Vec::new());
        let (books, name) = &self.wires.shared;
        for (half, part) in halves.into_iter().zip(&mut self.parts) {
            let family = half.family();
            let peers: Vec<Peer> =
                peers.iter().filter(|peer| peer.subnet.family() == family).copied().collect();
            let networks = books.left_to(name.as_ref(), &half.networks);
            let task = Task { half, peers, hosts: hosts.clone(), networks };
            // What is wrong with the one keeps nobody from the other.
            match part.look((&self.kernel, &self.board), task, &mut pending).await {
                Ok(Looked { mut pass, far: out_of_reach }) => {
                    far.extend(out_of_reach);
                    if part.away {
                        pass.absent = pass.unready.take();
                    }
                    sum.add(pass);
                }
                // Its devices may need the address, and will be made when that is there.
                Err(failed) if part.away => {
                    sum.add(Pass { absent: Some(failed), ..Pass::default() });
                }
                Err(failed) => failure = failure.or(Some(failed)),
            }
        }
        self.board.pending(&pending, &peers);
        let tunnels = self.parts.iter().flat_map(Part::tunnels);
        self.board.meters().tunnels(tunnels.collect());
        self.name_the_far(far);
        if let Some(failure) = failure {
            return Err(failure);
        }
        self.board.seen(told);
        if sum.unready.is_none() {
            self.say_what_stands(&setup);
        }
        Ok(sum)
    }

    fn say_what_stands(&self, setup: &Setup) {
        let stood = Some((setup.written, setup.serving.ways()));
        self.wires.stands.send_if_modified(|last| {
            let differs = *last != stood;
            *last = stood;
            differs
        });
    }

    fn name_the_far(&mut self, far: Vec<Ignored>) {
        if self.far != far {
            far.iter().filter(|peer| !self.far.contains(peer)).for_each(warn_of);
            self.board.out_of_reach(far.clone());
            self.far = far;
        }
    }
}
