//! What the README claims, measured: `twill-lab bench`.
//!
//! Walls are those of this machine, busy or not; each series prints its median, its fastest and
//! the floor that starting anything on a host of the lab has.

pub(crate) mod cni;
mod containers;
pub(crate) mod control;
pub(crate) mod datapath;
mod processes;
pub(crate) mod runtime;
mod samples;

use std::fs;
use std::time::Instant;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use crate::by_hand::say;
use crate::container::Endpoint;
use crate::fabric::{Backend, Fabric, SUBNET_FILE};
use crate::interrupt::Interrupt;
use crate::may_build_labs;

use samples::Samples;

/// Runs everything and prints it.
pub(crate) fn run() -> Result<()> {
    if !may_build_labs() {
        bail!("measuring needs root");
    }
    let interrupt = Interrupt::expect()?;
    say(&format!("{:<44} {:>10} {:>10}   wanted", "", "median", "fastest"));
    for backend in [Backend::Udp, Backend::Vxlan] {
        let mut fabric = Fabric::start(2, backend)?;
        interrupt.ends(fabric.lab().stop()?)?;
        start_of_the_agent(&mut fabric, backend)?;
        processes::agent(&mut fabric, backend)?;
        fabric.finish()?;
    }
    let fabric = Fabric::start(1, Backend::Vxlan)?;
    interrupt.ends(fabric.lab().stop()?)?;
    let host = fabric.node(1);
    // The first one makes the bridge.
    let running = Endpoint::container(host, "running", &["sleep", "10000"])?;
    processes::monitor(host)?;
    containers::run(host)?;
    containers::plugin(host)?;
    running.remove_container()?;
    fabric.finish()
}

// Its own lease is there, as after a reboot; nothing else is.
fn start_of_the_agent(fabric: &mut Fabric, backend: Backend) -> Result<()> {
    let mut samples = Samples::default();
    for _ in 0..10 {
        fabric.stop_agent(1, Signal::SIGTERM)?;
        fs::remove_file(fabric.node(1).path(SUBNET_FILE))?;
        let start = Instant::now();
        fabric.start_agent(1)?;
        samples.add(start.elapsed());
    }
    let name = format!("twilld ({}): start to subnet.env", backend.name());
    samples.print(&name, "100 ms");
    Ok(())
}
