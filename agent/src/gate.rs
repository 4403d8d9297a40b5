//! Keeps the table of peers: whose packets come in to this host's containers at all.

use std::future::pending;
use std::time::Duration;

use tokio::time::Instant;
use twill_core::doctor;
use twill_core::firewall::gate::{Accept, Gate, Refusal, Refused, Table, Uplink};
use twill_core::peers::Peer;
use twill_core::serving::Way;
use twill_net::firewall::{self, Outcome, Programs, Watch};

use crate::firewall::SETTLE;
use crate::setup::Half;
use crate::status::Board;
use crate::trouble::Trouble;
use crate::wake::until;

/// From one line about refused packets to the next: somebody may send a million.
const QUIET: Duration = Duration::from_mins(1);

/// The table of one membership.
#[derive(Debug)]
pub(crate) struct Gatekeeper {
    table: Table,
    /// Nobody without the program `nft`.
    keeper: Option<firewall::Gatekeeper>,
    watch: Option<Watch>,
    /// When to look, because somebody has changed rules.
    due: Option<Instant>,
    board: Board,
    wanted: Vec<Gate>,
    trouble: Trouble,
    /// What the counters said last, and when that was worth a line.
    refused: Option<Refused>,
    told: [Option<Instant>; Refusal::ALL.len()],
}

impl Gatekeeper {
    /// Listens from now on; nothing is looked at or written yet.
    pub(crate) fn new(programs: &Programs, table: Table, board: &Board) -> Self {
        let keeper = programs.gatekeeper(&table);
        // Without it changes are found by the timer; the firewall's guard says so.
        let watch = keeper.as_ref().and_then(|_nft| programs.watch().ok().flatten());
        Self {
            table,
            keeper,
            watch,
            due: None,
            board: board.clone(),
            wanted: Vec::new(),
            trouble: Trouble::default(),
            refused: None,
            told: [None; Refusal::ALL.len()],
        }
    }

    /// Brings the table to what these peers need. Rows that lead to them come later, so that no answer of
    /// a new one comes too early. What cannot be written is said, and keeps nobody from being reached.
    pub(crate) async fn ensure(&mut self, halves: &[Half], peers: &[Peer]) {
        self.wanted = halves.iter().filter_map(|half| gate(half, peers)).collect();
        self.look().await;
    }

    /// Returns when somebody has changed rules of this host, until [`Self::look`] has followed. Nothing is
    /// lost or put off if it is dropped and asked again.
    pub(crate) async fn changed(&mut self) {
        if self.due.is_none() {
            match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => pending().await,
            }
            self.due = Some(Instant::now() + SETTLE);
        }
        until(self.due).await;
    }

    /// Looks at the table as it was wanted last.
    pub(crate) async fn look(&mut self) {
        self.due = None;
        let Some(keeper) = &mut self.keeper else {
            let missing = "strangers may send packets to containers: nft is not installed";
            let error = (!self.wanted.is_empty()).then(|| missing.to_owned());
            if error.is_some() && self.trouble.meet(missing).1 {
                tracing::warn!(hint = "install the package nftables and restart", "{missing}");
            }
            return self.board.gate(error);
        };
        match keeper.ensure(&self.wanted).await {
            Ok(outcome) => {
                if outcome == Outcome::Healed {
                    self.board.meters().healed("rule");
                    tracing::warn!("the table of peers had been changed, put back");
                }
                if self.trouble.over() {
                    tracing::info!("the table of peers is as it should be again");
                }
                self.board.gate(None);
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                if self.trouble.meet(&error).1 {
                    tracing::error!(error, "cannot keep the table of peers");
                }
                let text = format!("strangers may send packets to containers: {error}");
                self.board.gate(Some(text));
            }
        }
        self.count();
    }

    /// Says what was refused since the last time.
    fn count(&mut self) {
        // It is looked at again soon; and metrics tell.
        let Ok(now) = firewall::refused(&self.table) else { return };
        let Some(before) = self.refused.replace(now) else { return };
        for (refusal, count) in now.iter() {
            let more = count.packets.saturating_sub(before.count(refusal).packets);
            if more == 0 {
                continue;
            }
            let told = &mut self.told[refusal as usize];
            if told.is_none_or(|told| told.elapsed() > QUIET) {
                *told = Some(Instant::now());
                let finding = doctor::refused(refusal, more);
                tracing::warn!(hint = finding.hint, "{}", finding.what);
            }
            self.board.refused(refusal, more);
        }
    }
}

/// The table for this host; none if everybody's packets are welcome, or if all of them travel in ways
/// that are not ours.
pub(crate) fn gate(setup: &Half, peers: &[Peer]) -> Option<Gate> {
    let Accept::Peers(sources) = setup.accept else { return None };
    let ways = || setup.serving.all().map(|served| served.backend.way());
    if ways().all(|way| matches!(way, Way::Alloc | Way::Extension)) {
        return None;
    }
    let segment = |way| if let Way::Vxlan(vni, port) = way { Some((port, vni)) } else { None };
    let port = |way| match way {
        Way::Vxlan(_, port) | Way::Udp(port) => Some(port),
        // It knows peers by their keys, from wherever they speak.
        Way::Wireguard | Way::HostGw | Way::Alloc | Way::Extension => None,
    };
    let name = setup.uplink.name.clone();
    let plain = setup.takes_plain_packets();
    Some(Gate {
        network: setup.config.network,
        subnet: setup.subnet,
        segments: ways().filter_map(segment).collect(),
        ports: ways().filter_map(port).collect(),
        devices: setup
            .serving
            .all()
            .filter_map(|served| served.device_of(setup.family()))
            .collect(),
        uplink: if plain { Uplink::Plain(name) } else { Uplink::Wrapped(name) },
        sources,
        peers: peers
            .iter()
            .filter(|peer| peer.subnet.family() == setup.family())
            .map(|peer| (peer.underlay, peer.subnet))
            .collect(),
    })
}
