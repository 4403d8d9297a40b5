//! `twill-lab soak-datapath`.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use super::{Carrier, Churn, Length};
use crate::by_hand::say;
use crate::interrupt::Interrupt;
use crate::may_build_labs;

/// Arguments of `soak-datapath`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long it lasts
    #[arg(long, env = "SOAK_SECONDS", default_value_t = 600)]
    seconds: u32,
    /// Which soak: the same number draws the same comings and goings [default: a new one, which is said]
    #[arg(long, env = "SOAK_SEED")]
    seed: Option<u64>,
    /// Who carries the packets
    #[arg(long, env = "SOAK_CARRIER", value_enum, default_value_t = Carrier::UserSpace)]
    carrier: Carrier,
}

/// Runs it and prints what was seen.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !may_build_labs() {
        bail!("a soak needs root");
    }
    let interrupt = Interrupt::expect()?;
    let seed = options.seed.unwrap_or_else(rand::random);
    say(&format!("SOAK_SEED={seed}"));
    let length = Length::Lasting(Duration::from_secs(options.seconds.into()));
    match (Churn { length, seed, carrier: options.carrier })
        .run(|lab| interrupt.ends(lab.stop()?), &say)
    {
        Ok(report) => say(&report.to_string()),
        Err(error) => {
            interrupt.explains_failure();
            return Err(error.context(format!("soak {seed} of the data path")));
        }
    }
    Ok(())
}
