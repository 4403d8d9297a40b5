//! Every fault of a soak once, in worlds that differ in everything. The long form is `make soak`.
#![expect(clippy::print_stdout, reason = "the table is part of what a test says")]

use anyhow::Result;
use twill_integration::may_build_labs;
use twill_integration::soak::{Addresses, Engine, Length, Setting, Soak, Travel};

#[test]
fn every_fault_over_vxlan_is_undone_and_costs_nothing_that_it_does_not_explain() -> Result<()> {
    let addresses = Addresses::Dual;
    every_fault(Setting { way: Travel::Vxlan, engine: Engine::Iptables, addresses }, 1)
}

#[test]
fn every_fault_over_udp_is_undone_and_costs_nothing_that_it_does_not_explain() -> Result<()> {
    let addresses = Addresses::Ipv6;
    every_fault(Setting { way: Travel::Udp, engine: Engine::Nftables, addresses }, 2)
}

#[test]
fn every_fault_by_the_shortcut_is_undone_and_costs_nothing_that_it_does_not_explain() -> Result<()>
{
    let addresses = Addresses::Ipv4;
    every_fault(Setting { way: Travel::UdpShortcut, engine: Engine::Iptables, addresses }, 5)
}

#[test]
fn every_fault_over_host_gw_is_undone_and_costs_nothing_that_it_does_not_explain() -> Result<()> {
    let addresses = Addresses::Dual;
    every_fault(Setting { way: Travel::HostGw, engine: Engine::Nftables, addresses }, 3)
}

#[test]
fn every_fault_beside_a_tunnel_is_undone_and_costs_nothing_that_it_does_not_explain() -> Result<()>
{
    let addresses = Addresses::Ipv4;
    every_fault(Setting { way: Travel::VxlanDirect, engine: Engine::Iptables, addresses }, 4)
}

fn every_fault(setting: Setting, seed: u64) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let soak = Soak { setting, length: Length::EachOnce, seed };
    println!("{}", soak.run(|_lab| Ok(()), &|line| println!("{line}"))?);
    Ok(())
}
