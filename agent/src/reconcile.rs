//! The loop that keeps the kernel equal to etcd: dump, plan, apply, wait for a reason to look again.

use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::time::Instant;
use twill_core::device::{IfIndex, Uplink};
use twill_core::ids::Underlay;
use twill_core::peers::{Peer, View};
use twill_core::plan::{desired, plan};
use twill_net::Kernel;
use twill_net::kernel::{Choice, Events};

use crate::bootstrap::Membership;
use crate::datapath::DataPath;
use crate::failure::Failure;
use crate::firewall::jittered;
use crate::status::Board;
use crate::trouble::Trouble;

/// From one pass to the next at least. The first reason is answered at once; somebody who undoes our
/// rows as fast as we write them gets no busy loop and no flood of log lines.
const SPACING: Duration = Duration::from_millis(100);

/// One membership's device and rows.
#[derive(Debug)]
pub(crate) struct Reconciler {
    kernel: Kernel,
    events: Events,
    path: DataPath,
    config: twill_core::config::NetworkConfig,
    uplink: Uplink,
    choice: Choice,
    peers: watch::Receiver<View>,
    board: Board,
    device: Option<IfIndex>,
    trouble: Trouble,
}

/// What one pass did.
#[derive(Debug)]
pub(crate) struct Pass {
    /// How many rows had to be written or dropped.
    changes: usize,
    /// The first row that could not be; the others were all the same.
    error: Option<twill_net::Error>,
}

impl Pass {
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
        (membership, choice): (&Membership, Choice),
        (peers, board): (watch::Receiver<View>, Board),
    ) -> Result<Self, Failure> {
        Ok(Self {
            kernel: kernel.clone(),
            events: Kernel::events()?,
            path: DataPath::new(membership),
            config: membership.wish.config.clone(),
            uplink: membership.uplink.clone(),
            choice,
            peers,
            board,
            device: None,
            trouble: Trouble::default(),
        })
    }

    /// One pass. An error means that there is no device, or no picture of what is on it.
    pub(crate) async fn pass(&mut self) -> Result<Pass, Failure> {
        let told = self.board.changes();
        let peers: Vec<Peer> = self.peers.borrow_and_update().peers.clone();
        let device = self.path.ensure(&self.kernel).await?;
        self.device = Some(device);
        self.path.set_peers(&peers);
        let wanted = desired(&self.config.backend, self.config.network, &peers);
        let actual = self.kernel.dump_tables(device).await?;
        let changes = plan(&wanted, &actual);
        let words = |change: &twill_core::plan::Change| change.to_string();
        self.board.pending(changes.iter().map(words).collect());
        let mut pass = Pass { changes: changes.len(), error: None };
        let mut failed = Vec::new();
        for change in &changes {
            // One bad row must not keep the others away.
            if let Err(error) = self.kernel.apply(device, *change).await {
                failed.push(change.to_string());
                pass.error.get_or_insert(error);
            }
        }
        self.board.pending(failed);
        self.board.seen(told);
        Ok(pass)
    }

    /// Passes whenever there is a reason to, until told to stop; a pass that has begun is finished.
    pub(crate) async fn run(
        mut self,
        period: Duration,
        mut stop: watch::Receiver<bool>,
    ) -> Option<Uprooted> {
        let mut wait = jittered(period);
        let mut next = Instant::now();
        loop {
            tokio::select! {
                _stopped = stop.wait_for(|stop| *stop) => return None,
                () = self.reason() => {}
                () = tokio::time::sleep(wait) => {}
            }
            tokio::select! {
                _stopped = stop.wait_for(|stop| *stop) => return None,
                () = tokio::time::sleep_until(next) => {}
            }
            next = Instant::now() + SPACING;
            if self.uprooted().await {
                return Some(Uprooted);
            }
            wait = self.try_pass(period).await;
        }
    }

    /// The wait until the next pass if nothing happens.
    async fn try_pass(&mut self, period: Duration) -> Duration {
        match self.pass().await.and_then(Pass::complete) {
            Ok(changes) => {
                self.board.pass(None);
                if changes > 0 {
                    tracing::info!(changes, "kernel brought up to date");
                }
                if self.trouble.over() {
                    tracing::info!("the kernel is as it should be again");
                }
                jittered(period)
            }
            Err(failure) => {
                let line = failure.line();
                let (wait, new) = self.trouble.meet(&line);
                if new {
                    let hint = failure.way_out();
                    tracing::error!(hint, "cannot bring the kernel up to date: {line}");
                }
                self.board.pass(Some(line));
                wait
            }
        }
    }

    /// Returns when something happened that may concern us. Many things at once are one reason.
    async fn reason(&mut self) {
        loop {
            tokio::select! {
                changed = self.peers.changed() => {
                    if changed.is_err() {
                        // The session ends; it stops us too.
                        std::future::pending::<()>().await;
                    }
                    return;
                }
                () = self.path.lost() => return,
                event = self.events.next() => {
                    let mut concerns = self.concerns(event);
                    while let Some(event) = self.events.next().now_or_never() {
                        concerns |= self.concerns(event);
                    }
                    if concerns {
                        return;
                    }
                }
            }
        }
    }

    fn concerns(&self, event: Result<twill_net::kernel::Event, twill_net::Error>) -> bool {
        match event {
            Ok(event) => self.device.is_none_or(|device| event.concerns(device, self.uplink.index)),
            Err(error) => {
                tracing::debug!(%error, "the kernel's news were cut off");
                true
            }
        }
    }

    /// Is the uplink still the one that peers know? As long as its address is on some interface with
    /// the same MTU, a new default route is no reason to move.
    async fn uprooted(&self) -> bool {
        let Underlay(address) = self.uplink.address;
        let same = Choice { public_ip: Some(address), ..Choice::default() };
        if self.kernel.uplink(&same).await.is_ok_and(|uplink| uplink == self.uplink) {
            self.board.uplink(None);
            return false;
        }
        match self.kernel.uplink(&self.choice).await {
            Ok(uplink) if uplink != self.uplink => {
                let Uplink { name, address, mtu, .. } = uplink;
                tracing::warn!(interface = name, %address, %mtu, "the uplink changed, joining again");
                true
            }
            Ok(_same) => {
                self.board.uplink(None);
                false
            }
            Err(error) => {
                // It may come back as it was; peers go on sending there.
                tracing::debug!(%error, "the uplink is away");
                let Uplink { name, address, .. } = &self.uplink;
                self.board.uplink(Some(format!("the uplink {name} with {address} is away")));
                false
            }
        }
    }
}
