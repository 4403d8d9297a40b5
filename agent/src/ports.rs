//! Keeps the rules of published ports: whoever publishes writes them, but somebody else may take them
//! away, and whoever was to take them away may have been killed.

use std::time::Duration;

use twill_endpoint::{Host, Kept};
use twill_net::firewall::Watch;

use crate::firewall::{SETTLE, Wall, changed, jittered};
use crate::metrics::Meters;
use crate::trouble::Trouble;

/// Looks each `period`, and at once when somebody changed the host's rules, for ever.
pub(crate) async fn keep(wall: Wall, host: Host, (period, meters): (Duration, Meters)) {
    let mut trouble = Trouble::default();
    let mut watch: Option<Watch> = wall.watch().await;
    loop {
        match look(&wall, &host).await {
            Ok(kept) => {
                if kept == Kept::Healed {
                    meters.healed("rule");
                    tracing::warn!("the rules of published ports had been changed, put back");
                }
                if trouble.over() {
                    tracing::info!("the rules of published ports are in place again");
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                if trouble.meet(&error).1 {
                    tracing::error!(error, "cannot keep the rules of published ports");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(period)) => {}
            () = changed(&mut watch) => tokio::time::sleep(SETTLE).await,
        }
    }
}

/// With the engine that the administrator wants, once there are rules of networks; else with what suits the host.
async fn look(wall: &Wall, host: &Host) -> anyhow::Result<Kept> {
    let (engine, host) = (wall.wished().await, host.clone());
    Ok(tokio::task::spawn_blocking(move || host.keep_ports(engine)).await??)
}
