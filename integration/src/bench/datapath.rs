//! What the data path of `udp` reaches beside others, measured: `twill-lab bench-datapath`.
//!
//! All paths stand at once, and rounds take turns: each measure is taken on one path after the other
//! before the next measure begins, so that what disturbs the machine disturbs all of them. Nothing here
//! can fail because it is slow.

mod by_hand;
mod cpu;
mod events;
mod lane;
mod load;
mod measure;
mod memory;
pub(crate) mod naive;
mod ping;
mod plot;
mod report;
mod results;
mod stand;
mod table;
mod targets;
mod traffic;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::ValueEnum as _;

use crate::by_hand::{progress, say};
use crate::interrupt::Interrupt;
use crate::may_build_labs;

use cpu::Watch;
use lane::Path;
use measure::Measure;
use report::Report;
use results::Results;
use stand::Stand;

/// What to measure; everything unless it is said.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchDatapath {
    /// How often everything is measured; medians are told
    #[arg(long, env = "BENCH_ROUNDS", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// How long a measure counts, in seconds
    #[arg(long, env = "BENCH_SECONDS", default_value_t = 1.0)]
    seconds: f64,
    /// Which paths, separated by commas [default: all]
    #[arg(long, env = "BENCH_PATHS", value_enum, value_delimiter = ',', value_name = "PATH,…")]
    paths: Vec<Path>,
    /// Which measures, separated by commas [default: all]
    #[arg(
        long,
        env = "BENCH_MEASURES",
        value_enum,
        value_delimiter = ',',
        value_name = "MEASURE,…"
    )]
    measures: Vec<Measure>,
    /// Where the reports are written
    #[arg(long, value_name = "DIRECTORY", default_value = "target/bench-datapath")]
    output: PathBuf,
}

/// Runs everything, prints it and writes the reports.
pub(crate) fn run(wanted: &BenchDatapath) -> Result<()> {
    if !may_build_labs() {
        bail!("measuring needs root");
    }
    ensure!((0.05..=600.0).contains(&wanted.seconds), "--seconds must be from 0.05 to 600");
    let interrupt = Interrupt::expect()?;
    let paths = chosen(&wanted.paths, Path::value_variants());
    let measures = chosen(&wanted.measures, Measure::value_variants());
    let stand = Stand::new(&paths, &interrupt)?;
    let start = Instant::now();
    let mut watch = Watch::new()?;
    let results = rounds(wanted, &stand, (&measures, &mut watch));
    let run = format!(
        "{} rounds of {} s for each measure and path, in turns; {:.0} s in all.",
        wanted.rounds,
        wanted.seconds,
        start.elapsed().as_secs_f64()
    );
    let lanes = &stand.lanes;
    let counted = &watch.counted();
    Report { results: &results, lanes, measures: &measures, counted, run }.tell(&wanted.output)?;
    stand.finish()
}

fn rounds(
    wanted: &BenchDatapath,
    stand: &Stand,
    (measures, watch): (&[Measure], &mut Watch),
) -> Results {
    let length = Duration::from_secs_f64(wanted.seconds);
    let mut results = Results::default();
    for round in 1..=wanted.rounds {
        for measure in measures {
            progress(&format!("round {round} of {}: {}", wanted.rounds, measure.meaning().title));
            for lane in &stand.lanes {
                let sample = measure.take(lane, watch, length);
                results.add((*measure, lane.path), sample);
            }
        }
    }
    say("");
    results
}

/// As they were named, each once; all if none was.
fn chosen<T: Copy + PartialEq>(named: &[T], all: &[T]) -> Vec<T> {
    let mut chosen: Vec<T> = Vec::new();
    for one in if named.is_empty() { all } else { named } {
        if !chosen.contains(one) {
            chosen.push(*one);
        }
    }
    chosen
}

/// A count as a number to calculate with; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "no measure counts that far")]
fn number(count: u64) -> f64 {
    count as f64
}
