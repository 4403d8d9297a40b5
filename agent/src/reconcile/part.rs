//! What a network has in the kernel for one family of addresses: devices, and the rows on them.

use std::sync::Arc;

use twill_core::device::{IfIndex, Uplink};
use twill_core::extension::Hosts;
use twill_core::ids::Subnet;
use twill_core::peers::Peer;
use twill_core::plan::{Change, Paths, desired, out_of_reach, plan, settled};
use twill_core::serving::Way;
use twill_core::status::Ignored;
use twill_net::Kernel;
use twill_net::kernel::{Choice, Dump, Ground};
use twill_tunnel::Counters;

use super::Pass;
use super::last::{Found, Last};
use crate::datapath::{DataPaths, Standing};
use crate::extension::Ends;
use crate::failure::Failure;
use crate::setup::Half;
use crate::status::Board;

/// What a network has in the kernel for one family.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) uplink: Uplink,
    pub(super) choice: Choice,
    /// Is the uplink not there? It may come back under any number.
    pub(super) away: bool,
    pub(super) devices: Vec<IfIndex>,
    paths: DataPaths,
    /// The way of the newest setup that stands: the one that peers have been told.
    current: Way,
    last: Last,
}

/// What it should be.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) half: Half,
    /// Those of this family.
    pub(super) peers: Vec<Peer>,
    pub(super) hosts: Hosts,
    /// The ranges that rows of ours may lead into.
    pub(super) networks: Vec<Subnet>,
}

/// What was done about it.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) pass: Pass,
    pub(super) far: Vec<Ignored>,
}

/// What became of a plan.
#[derive(Debug)]
struct Applied {
    done: Vec<Change>,
    failed: Vec<Change>,
    error: Option<twill_net::Error>,
}

impl Part {
    pub(super) fn new(half: &Half, choice: Choice, ends: Ends) -> Self {
        Self {
            uplink: half.uplink.clone(),
            choice,
            away: false,
            devices: Vec::new(),
            paths: DataPaths::new(ends),
            current: half.serving.current().backend.way(),
            last: Last::default(),
        }
    }

    /// The tunnels that run, by their devices, with what became of their packets.
    pub(super) fn tunnels(&self) -> Vec<(String, Arc<Counters>)> {
        self.paths.tunnels()
    }

    /// Returns when a tunnel says that its device is gone, or when commands stand or do not.
    pub(super) async fn lost(&self) {
        self.paths.lost().await;
    }

    /// One look at the kernel. What is still to be written is added to `pending`.
    pub(super) async fn look(
        &mut self,
        (kernel, board): (&Kernel, &Board),
        task: Task,
        pending: &mut Vec<Change>,
    ) -> Result<Looked, Failure> {
        let Task { mut half, peers, hosts, networks } = task;
        let before = kernel.mended();
        // Somebody may have renamed it.
        half.uplink.name.clone_from(&self.uplink.name);
        self.paths.reach(hosts);
        // A tunnel that takes over from an earlier one's is to know them from the beginning.
        self.paths.set_peers(&peers);
        let Standing { devices, unready } = self.paths.ensure(kernel, &half).await?;
        self.devices = devices.values().copied().collect();
        let found = Found { before, after: kernel.mended(), switched: self.paths.switched() };
        self.last.count_mended(board.meters(), &found, &half);
        if unready.is_none() {
            self.current = half.serving.current().backend.way();
        }
        let uplink = self.uplink.index;
        let keyed: Vec<IfIndex> = devices.get(&Way::Wireguard).copied().into_iter().collect();
        let ground = Ground { devices: &self.devices, keyed: &keyed, uplink, networks: &networks };
        let Dump { tables: mut actual, link, alive } = kernel.dump(ground).await?;
        let paths = Paths {
            network: half.config.network,
            current: self.current,
            devices,
            uplink,
            link,
            mtus: half.mtus(),
            direct: half.is_direct(),
            shared: half.shared(),
        };
        let far = out_of_reach(&paths, &peers);
        let wanted = desired(&paths, &peers);
        actual.wires = settled(&actual.wires, (&wanted, self.last.stood()), &alive);
        let changes = plan(&wanted, &actual);
        board.pending(&[&pending[..], &changes].concat(), &peers);
        let Applied { done, failed, error } = apply(kernel, &changes).await?;
        let pass = Pass { changes: changes.len(), error, unready, absent: None };
        pending.extend(&failed);
        self.last.count_drift(board.meters(), &done);
        self.last = Last::of((half, wanted), failed);
        Ok(Looked { pass, far })
    }
}

async fn apply(kernel: &Kernel, changes: &[Change]) -> Result<Applied, Failure> {
    let mut refused = kernel.apply(changes).await?;
    let (failed, done) = changes.iter().copied().partition(|change| refused.contains_key(change));
    let error = refused.pop_first().map(|(_change, error)| error);
    Ok(Applied { done, failed, error })
}
