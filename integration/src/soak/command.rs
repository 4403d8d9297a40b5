//! `twill-lab soak`.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use super::{Length, Soak};
use crate::by_hand::say;
use crate::fabric::Backend;
use crate::interrupt::Interrupt;
use crate::may_build_labs;

/// Arguments of `soak`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long it lasts; with all backends, all of them together
    #[arg(long, env = "SOAK_SECONDS", default_value_t = 1200)]
    seconds: u32,
    /// Which soak: the same number draws the same faults [default: a new one, which is said]
    #[arg(long, env = "SOAK_SEED")]
    seed: Option<u64>,
    /// How packets travel between the hosts
    #[arg(long, env = "SOAK_BACKEND", value_enum, default_value_t = Choice::Vxlan)]
    backend: Choice,
}

/// One backend, or one after the other.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Choice {
    Vxlan,
    Udp,
    HostGw,
    All,
}

/// Runs it and prints what was seen.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !may_build_labs() {
        bail!("a soak needs root");
    }
    let interrupt = Interrupt::expect()?;
    let seed = options.seed.unwrap_or_else(rand::random);
    say(&format!("SOAK_SEED={seed}"));
    let backends: &[Backend] = match options.backend {
        Choice::Vxlan => &[Backend::Vxlan],
        Choice::Udp => &[Backend::Udp],
        Choice::HostGw => &[Backend::HostGw],
        Choice::All => &[Backend::Vxlan, Backend::Udp, Backend::HostGw],
    };
    let parts = u32::try_from(backends.len())?;
    let length = Length::Lasting(Duration::from_secs(options.seconds.into()) / parts);
    let mut reports = Vec::new();
    for backend in backends {
        let soak = Soak { backend: *backend, length, seed };
        match soak.run(|lab| interrupt.ends(lab.stop()?), &say) {
            Ok(report) => reports.push(report),
            Err(error) => {
                interrupt.explains_failure();
                return Err(error.context(format!("soak {seed} over {}", backend.name())));
            }
        }
    }
    for report in reports {
        say(&report.to_string());
    }
    Ok(())
}
