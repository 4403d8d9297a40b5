//! All paths side by side, each ready at any time, so that rounds can take turns.
//!
//! ```text
//!  Twill's, a lab for each backend            by hand, one lab for all of them
//!  node1 ───────────────── node2              node1 ───────────────── node2
//!   │ twilld, etcd  twilld │                   │ itself: raw    itself │
//!   └ pod              pod ┘                   ├ naive ── pods ─ naive ┤
//!                                              └ tincd ── pods ─ tincd ┘
//! ```

use anyhow::{Context, Result};

use super::by_hand::Bare;
use super::lane::{End, Lane, Path};
use crate::by_hand::say;
use crate::container::Endpoint;
use crate::fabric::Fabric;
use crate::interrupt::Interrupt;

/// See the module's own words.
#[derive(Debug)]
pub(super) struct Stand {
    pub(super) lanes: Vec<Lane>,
    fabrics: Vec<Fabric>,
    bare: Option<Bare>,
}

impl Stand {
    /// Builds what these paths need; one that this machine cannot have is left out, aloud.
    pub(super) fn new(paths: &[Path], interrupt: &Interrupt) -> Result<Self> {
        let mut stand = Self { lanes: Vec::new(), fabrics: Vec::new(), bare: None };
        for path in paths {
            let added = stand.add(*path, interrupt);
            if !added.with_context(|| format!("cannot build the path {}", path.name()))? {
                say(&format!("{}: left out, it is not installed", path.name()));
            }
        }
        Ok(stand)
    }

    fn add(&mut self, path: Path, interrupt: &Interrupt) -> Result<bool> {
        if let Some(backend) = path.backend() {
            let mut fabric = Fabric::with_agents(2, backend)?;
            interrupt.ends(fabric.lab().stop()?)?;
            let pods = [1, 2].map(|number| Endpoint::pod(fabric.node(number), "bench"));
            let [near, far] = pods;
            let ends = [End::endpoint(&near?), End::endpoint(&far?)];
            let agents = [1, 2].map(|number| fabric.agent(number).map(|agent| agent.pid()));
            let agents = agents.into_iter().collect::<Result<_>>()?;
            self.lanes.push(Lane::new(path, ends, (backend.mtu(), agents))?);
            self.fabrics.push(fabric);
            return Ok(true);
        }
        if self.bare.is_none() {
            let bare = Bare::new()?;
            interrupt.ends(bare.lab().stop()?)?;
            self.bare = Some(bare);
        }
        let lane = self.bare.as_mut().context("no lab")?.lane(path)?;
        let is_there = lane.is_some();
        self.lanes.extend(lane);
        Ok(is_there)
    }

    /// Takes everything down, and fails if anything is still on this machine.
    pub(super) fn finish(self) -> Result<()> {
        let Self { fabrics, bare, .. } = self;
        fabrics.into_iter().try_for_each(Fabric::finish)?;
        bare.map_or(Ok(()), Bare::finish)
    }
}
