//! The loop that keeps the kernel equal to etcd: dump, plan, apply, wait for a reason to look again.

mod last;
mod run;
mod uplink;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;
use twill_core::device::{IfIndex, Uplink};
use twill_core::ids::{NetworkName, Revision};
use twill_core::peers::View;
use twill_core::plan::{Change, Paths, desired, out_of_reach, plan};
use twill_core::serving::Way;
use twill_core::status::Ignored;
use twill_net::Kernel;
use twill_net::kernel::{Choice, Dump, Events, Ground};

use crate::books::Books;
use crate::datapath::{DataPaths, Standing};
use crate::extension::{self, Ends};
use crate::failure::Failure;
use crate::follow::warn_of;
use crate::gate::Gatekeeper;
use crate::metrics;
use crate::setup::Setup;
use crate::status::Board;
use crate::trouble::Trouble;
use last::{Found, Last};

/// One membership's devices and rows.
#[derive(Debug)]
pub(crate) struct Reconciler {
    kernel: Kernel,
    events: Events,
    paths: DataPaths,
    uplink: Uplink,
    choice: Choice,
    wires: Wires,
    board: Board,
    devices: Vec<IfIndex>,
    /// The way of the newest setup that stands: the one that peers have been told.
    current: Way,
    far: Vec<Ignored>,
    last: Last,
    /// Is the uplink not there? It may come back under any number.
    away: bool,
    absence: Trouble,
    trouble: Trouble,
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
#[derive(Debug)]
pub(crate) struct Pass {
    /// How many rows had to be written or dropped.
    changes: usize,
    /// The first row that could not be; the others were all the same.
    error: Option<twill_net::Error>,
    /// Why a new backend does not stand yet. Those before it do.
    unready: Option<Failure>,
}

/// What became of a plan.
#[derive(Debug)]
struct Applied {
    done: Vec<Change>,
    failed: Vec<Change>,
    error: Option<twill_net::Error>,
}

impl Pass {
    /// The start needs the device that the configuration asks for.
    pub(crate) fn with_every_device(mut self) -> Result<Self, Failure> {
        self.unready.take().map_or(Ok(self), Err)
    }

    /// How many rows were changed, if that was all.
    pub(crate) fn complete(self) -> Result<usize, Failure> {
        self.error.map_or(Ok(self.changes), |error| Err(error.into()))
    }
}

/// The uplink is another one now, or its address or MTU is: the host has to join again.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Uprooted;

impl Reconciler {
    /// Listens from now on, so that no change falls between this and the first pass.
    pub(crate) fn new(
        kernel: &Kernel,
        choice: Choice,
        wires: Wires,
        board: Board,
    ) -> Result<Self, Failure> {
        let (uplink, current) = {
            let setup = wires.setup.borrow();
            (setup.uplink.clone(), setup.serving.current().backend.way())
        };
        let ends =
            Ends { board: board.clone(), record: wires.record.clone(), wake: Arc::default() };
        Ok(Self {
            kernel: kernel.clone(),
            events: Kernel::events()?,
            paths: DataPaths::new(ends),
            uplink,
            choice,
            wires,
            board,
            devices: Vec::new(),
            current,
            far: Vec::new(),
            last: Last::default(),
            away: false,
            absence: Trouble::default(),
            trouble: Trouble::default(),
            delay: Trouble::default(),
        })
    }

    /// One pass. An error means that there is no device, or no picture of what is on it.
    pub(crate) async fn pass(&mut self) -> Result<Pass, Failure> {
        let begun = Instant::now();
        let done = self.look().await;
        let outcome = match &done {
            Ok(Pass { error: None, unready: None, changes: 0 }) => metrics::UNCHANGED,
            Ok(Pass { error: None, unready: None, .. }) => metrics::CHANGED,
            _failed => metrics::FAILED,
        };
        self.board.meters().pass(outcome, begun.elapsed());
        done
    }

    async fn look(&mut self) -> Result<Pass, Failure> {
        let before = self.kernel.mended();
        let told = self.board.changes();
        let mut setup = self.wires.setup.borrow_and_update().clone();
        // Somebody may have renamed it.
        setup.uplink.name.clone_from(&self.uplink.name);
        let (peers, hosts) = {
            let view = self.wires.peers.borrow_and_update();
            (view.peers.clone(), extension::hosts(&view))
        };
        // Before there is a device to send into, and before anybody is asked to.
        self.wires.gate.ensure(&setup, &peers).await;
        self.paths.reach(hosts);
        let Standing { devices, unready } = self.paths.ensure(&self.kernel, &setup).await?;
        self.devices = devices.values().copied().collect();
        self.paths.set_peers(&peers);
        self.board.meters().tunnels(self.paths.tunnels());
        let found = Found { before, after: self.kernel.mended(), switched: self.paths.switched() };
        self.last.count_mended(self.board.meters(), &found, &setup);
        if unready.is_none() {
            self.current = setup.serving.current().backend.way();
        }
        let (books, name) = &self.wires.shared;
        let networks = books.left_to(name.as_ref(), &setup.networks);
        let ground =
            Ground { devices: &self.devices, uplink: self.uplink.index, networks: &networks };
        let Dump { tables: actual, link } = self.kernel.dump(ground).await?;
        let paths = Paths {
            network: setup.config.network,
            current: self.current,
            devices,
            uplink: self.uplink.index,
            link,
            mtus: setup.mtus(),
            direct: setup.is_direct(),
        };
        self.name_the_far(out_of_reach(&paths, &peers));
        let wanted = desired(&paths, &peers);
        let changes = plan(&wanted, &actual);
        self.board.pending(&changes, &peers);
        let Applied { done, failed, error } = self.apply(&changes).await?;
        let pass = Pass { changes: changes.len(), error, unready };
        self.board.pending(&failed, &peers);
        self.last.count_drift(self.board.meters(), &done);
        self.last = Last::of((setup.clone(), wanted), failed);
        self.board.seen(told);
        if pass.unready.is_none() {
            self.say_what_stands(&setup);
        }
        Ok(pass)
    }

    fn say_what_stands(&self, setup: &Setup) {
        let stood = Some((setup.written, setup.serving.ways()));
        self.wires.stands.send_if_modified(|last| {
            let differs = *last != stood;
            *last = stood;
            differs
        });
    }

    async fn apply(&self, changes: &[Change]) -> Result<Applied, Failure> {
        let mut refused = self.kernel.apply(changes).await?;
        let (failed, done) =
            changes.iter().copied().partition(|change| refused.contains_key(change));
        let error = refused.pop_first().map(|(_change, error)| error);
        Ok(Applied { done, failed, error })
    }

    fn name_the_far(&mut self, far: Vec<Ignored>) {
        if self.far != far {
            far.iter().filter(|peer| !self.far.contains(peer)).for_each(warn_of);
            self.board.out_of_reach(far.clone());
            self.far = far;
        }
    }
}
