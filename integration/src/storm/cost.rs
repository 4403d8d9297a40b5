//! What it costs etcd when one host joins.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::admin::Admin;
use super::line::Line;
use super::slot::{Slot, State};
use super::world::World;
use super::{ETCD, LOOK, SETTLE, Storm, alone, requests};

/// Nothing is to be renewed while we count.
const TTL: Duration = Duration::from_hours(1);

/// A host that has asked nothing for so long has joined.
const QUIET: Duration = Duration::from_secs(1);

/// How many requests a host sends to join a network where so many have joined before.
///
/// # Errors
/// When it does not get in.
pub fn of_joining(others: usize) -> Result<u64> {
    let storm = Storm { hosts: 1, subnets: others + 1, ttl: TTL, length: Duration::ZERO, seed: 0 };
    alone(storm, |_observer| async move {
        let mut admin = Admin::new(ETCD).await?;
        admin.fill(others).await?;
        let (line, plug) = Line::new(ETCD).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(plug.carry());
        let (slot, body) = Slot::new(others, line);
        let before = requests().await?;
        tasks.spawn(body.run(Arc::new(World::new(TTL))));
        let (start, mut last) = (Instant::now(), (before, Instant::now()));
        loop {
            let now = requests().await?;
            if now != last.0 {
                last = (now, Instant::now());
            }
            if matches!(slot.state(), State::Holds(_)) && last.1.elapsed() > QUIET {
                return Ok(now - before);
            }
            ensure!(start.elapsed() < SETTLE, "it did not join: {:?}", slot.state());
            sleep(LOOK).await;
        }
    })
}
