//! Every fault of a soak once, over each backend. The long form is `make soak`.
#![expect(clippy::print_stdout, reason = "the table is part of what a test says")]

use anyhow::Result;
use twill_integration::fabric::Backend;
use twill_integration::may_build_labs;
use twill_integration::soak::{Length, Soak};

#[test]
fn every_fault_over_vxlan_is_undone_and_costs_nothing_that_it_does_not_explain() -> Result<()> {
    every_fault(Backend::Vxlan, 1)
}

#[test]
fn every_fault_over_udp_is_undone_and_costs_nothing_that_it_does_not_explain() -> Result<()> {
    every_fault(Backend::Udp, 2)
}

#[test]
fn every_fault_over_host_gw_is_undone_and_costs_nothing_that_it_does_not_explain() -> Result<()> {
    every_fault(Backend::HostGw, 3)
}

fn every_fault(backend: Backend, seed: u64) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let soak = Soak { backend, length: Length::EachOnce, seed };
    println!("{}", soak.run(|_lab| Ok(()), &|line| println!("{line}"))?);
    Ok(())
}
