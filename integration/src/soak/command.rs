//! `twill-lab soak`.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use super::setting::{Addresses, Engine, Setting, Travel, Wanted};
use super::{Length, Soak};
use crate::by_hand::say;
use crate::interrupt::Interrupt;
use crate::may_build_labs;

/// A part of a soak that is shorter sees too little.
const PART: u32 = 240;

/// Arguments of `soak`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long it lasts, in all worlds together
    #[arg(long, env = "SOAK_SECONDS", default_value_t = 1200)]
    seconds: u32,
    /// Which soak: the same number draws the same worlds and faults [default: a new one, which is said]
    #[arg(long, env = "SOAK_SEED")]
    seed: Option<u64>,
    /// In how many worlds, one after the other [default: a new one every four minutes]
    #[arg(long, env = "SOAK_WORLDS", value_parser = clap::value_parser!(u32).range(1..))]
    worlds: Option<u32>,
    /// How packets travel between the hosts [default: what the seed draws]
    #[arg(long, env = "SOAK_BACKEND", value_enum)]
    backend: Option<Travel>,
    /// What the firewall's rules are written with [default: what the seed draws]
    #[arg(long, env = "SOAK_FIREWALL", value_enum)]
    firewall: Option<Engine>,
    /// Which addresses containers have [default: what the seed draws]
    #[arg(long, env = "SOAK_FAMILY", value_enum)]
    family: Option<Addresses>,
}

impl Options {
    /// The worlds of this soak.
    fn settings(&self, seed: u64) -> Result<Vec<Setting>> {
        let Self { backend: way, firewall: engine, family: addresses, .. } = *self;
        let mut settings = Wanted { way, engine, addresses }.settings(seed);
        let many = self.worlds.unwrap_or_else(|| (self.seconds / PART).max(1));
        settings.truncate(many.try_into()?);
        Ok(settings)
    }
}

/// Runs it and prints what was seen.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !may_build_labs() {
        bail!("a soak needs root");
    }
    let interrupt = Interrupt::expect()?;
    let seed = options.seed.unwrap_or_else(rand::random);
    say(&format!("SOAK_SEED={seed}"));
    let settings = options.settings(seed)?;
    let parts = u32::try_from(settings.len())?;
    let length = Length::Lasting(Duration::from_secs(options.seconds.into()) / parts);
    let mut reports = Vec::new();
    for setting in settings {
        say(&format!("with {setting}:"));
        let soak = Soak { setting, length, seed };
        match soak.run(|lab| interrupt.ends(lab.stop()?), &say) {
            Ok(report) => reports.push(report),
            Err(error) => {
                interrupt.explains_failure();
                return Err(error.context(format!("soak {seed} with {setting}")));
            }
        }
    }
    for report in reports {
        say(&report.to_string());
    }
    Ok(())
}
