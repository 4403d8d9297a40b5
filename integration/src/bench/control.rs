//! What peers cost a host, measured: `twill-lab bench-control`.
//!
//! The real agent, on a host of a lab whose etcd holds the leases of hosts that never come. Beside it
//! stands what flannel's design asks for the same, done on a host of its own: a request of its own for
//! each row, each waited for, and programs started to look at each rule of the firewall.
//!
//! CPU time is that of all processes of the host, by its control group; calls into the kernel are
//! counted by strace, in rounds of their own, because it slows everything down.

mod agent;
mod cost;
mod flannel;
mod leases;

use anyhow::{Result, bail};

use crate::by_hand::say;
use crate::interrupt::Interrupt;
use crate::may_build_labs;

use agent::Stand;
use cost::Cost;

/// How often each thing is done; medians are printed.
const ROUNDS: usize = 5;

/// How often under strace: counts vary little.
const TRACED: usize = 1;

/// What to measure; both backends with 1,000 and with 10,000 peers unless it is said.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchControl {
    /// How packets travel; may be repeated
    #[arg(long, value_enum, value_name = "BACKEND", default_values_t = [Way::Vxlan, Way::HostGw])]
    backend: Vec<Way>,
    /// How many peers, at most 16,000; may be repeated
    #[arg(long, value_name = "COUNT", default_values_t = [1_000, 10_000],
          value_parser = clap::value_parser!(u32).range(1..=16_000))]
    peers: Vec<u32>,
}

/// How packets travel.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Way {
    /// By the kernel's VXLAN device: three rows for a peer.
    Vxlan,
    /// By plain routes: one row for a peer.
    HostGw,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::HostGw => "host-gw",
        }
    }

    /// The interface that routes to peers lead through.
    fn device(self) -> &'static str {
        match self {
            Self::Vxlan => "flannel.1",
            Self::HostGw => "eth0",
        }
    }
}

/// Runs everything and prints it.
pub(crate) fn run(wanted: &BenchControl) -> Result<()> {
    if !may_build_labs() {
        bail!("measuring needs root");
    }
    let interrupt = Interrupt::expect()?;
    say(
        "medians; a row of Twill's, the same by flannel's design, and how many times less Twill takes",
    );
    for way in &wanted.backend {
        for peers in &wanted.peers {
            let mut stand = Stand::new(*way)?;
            interrupt.ends(stand.stop()?)?;
            measure(&mut stand, usize::try_from(*peers)?)?;
            stand.finish()?;
        }
    }
    Ok(())
}

fn measure(stand: &mut Stand, peers: usize) -> Result<()> {
    let title = format!("{}, {peers} peers", stand.way().name());
    say("");
    say(&format!(
        "{title:<34} {:>10} {:>10} {:>10} {:>10}",
        "wall ms", "CPU ms", "calls", "programs"
    ));
    let alone = stand.starts()?;
    stand.fill(peers)?;
    let first = stand.starts()?.less(alone);
    let rows = flannel::rows(stand.bare(), (stand.way(), peers))?;
    compare("first pass over the rows", first, Some(rows));
    let one = rows.divided(peers);
    compare("a peer joins", stand.joins(peers)?, Some(one));
    compare("a peer leaves", stand.leaves(peers)?, Some(one));
    compare("a look with nothing to do", stand.looks()?, None);
    compare("a look at the firewall", stand.firewall()?, Some(flannel::tick(stand.bare())?));
    Ok(())
}

fn compare(name: &str, ours: Cost, flannels: Option<Cost>) {
    ours.print(name);
    let Some(flannels) = flannels else { return };
    flannels.print("  by flannel's design");
    flannels.print_over(ours);
}
