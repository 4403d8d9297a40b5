//! The agent's own code on the store's twin, with everything going wrong that can.
//!
//! `TWIN_SEED` repeats the weather of one storm.

use anyhow::{Context, Result};
use twill_integration::storm::twin::{Outcome, blow};

const STORMS: u64 = 200;

#[tokio::test(start_paused = true)]
async fn no_weather_gives_a_subnet_two_owners_or_leaves_a_host_without_one() -> Result<()> {
    let given = std::env::var("TWIN_SEED").ok();
    let given = given.map(|text| text.parse::<u64>().context("TWIN_SEED is no number"));
    let first: u64 = rand::random();
    let seeds: Vec<u64> = match given {
        Some(seed) => vec![seed?],
        None => (0..STORMS).map(|n| first.wrapping_add(n)).collect(),
    };
    println!("TWIN_SEED={} and the {} after it", seeds[0], seeds.len() - 1);
    let mut worst = Outcome::default();
    for seed in seeds {
        let seen = blow(seed).await.with_context(|| format!("TWIN_SEED={seed}"))?;
        worst.in_a_second = worst.in_a_second.max(seen.in_a_second);
        worst.in_quiet = worst.in_quiet.max(seen.in_quiet);
        worst.settled = worst.settled.max(seen.settled);
    }
    println!("the worst of all: {worst:?}");
    Ok(())
}
