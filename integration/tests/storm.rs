//! Hundreds of hosts, too few subnets, and everything that can happen to an agent.
//!
//! `STORM_SECONDS` makes it longer, `STORM_SEED` repeats one; `make storm` is the whole of it.
use std::env;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use twill_integration::may_build_labs;
use twill_integration::storm::{SETTLE, Storm, cost};

/// How many requests a host may send to join.
const TO_JOIN: u64 = 6;

#[test]
fn two_hundred_hosts_share_too_few_subnets_and_none_has_two_owners() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let length = Duration::from_secs(variable("STORM_SECONDS")?.unwrap_or(30));
    let seed = variable("STORM_SEED")?.unwrap_or_else(rand::random);
    println!("STORM_SEED={seed}");
    let ttl = Duration::from_secs(5);
    let report = Storm { hosts: 200, subnets: 196, ttl, length, seed }.run()?;
    println!("{report}");
    ensure!(report.settled < SETTLE, "it took {:?}", report.settled);
    Ok(())
}

#[test]
fn joining_costs_few_requests_however_many_have_joined_before() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let (first, last) = (cost::of_joining(0)?, cost::of_joining(195)?);
    println!("to join: {first} requests as the first host, {last} as host 196 of 196");
    ensure!(first <= TO_JOIN, "{first} requests to join an empty network");
    ensure!(last == first, "{last} requests to join a full network, {first} to join an empty one");
    Ok(())
}

fn variable(name: &str) -> Result<Option<u64>> {
    let Some(text) = env::var_os(name) else { return Ok(None) };
    let number = text.to_string_lossy().parse();
    number.map(Some).with_context(|| format!("{name} is `{}`, no whole number", text.display()))
}
