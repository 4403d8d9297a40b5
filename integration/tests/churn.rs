//! A few seconds of full load over `udp` while others come and go. The long form is `make soak-datapath`.
#![expect(clippy::print_stdout, reason = "what was seen is part of what a test says")]

use std::time::Duration;

use anyhow::Result;
use twill_integration::churn::{Carrier, Churn, Length};
use twill_integration::may_build_labs;

#[test]
fn full_load_loses_no_byte_while_peers_come_and_go() -> Result<()> {
    loses_no_byte(Carrier::UserSpace)
}

#[test]
fn full_load_by_the_shortcut_loses_no_byte_while_peers_come_and_go() -> Result<()> {
    loses_no_byte(Carrier::Shortcut)
}

fn loses_no_byte(carrier: Carrier) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let churn = Churn { length: Length::Short(Duration::from_secs(10)), seed: 1, carrier };
    println!("{}", churn.run(|_lab| Ok(()), &|line| println!("{line}"))?);
    Ok(())
}
