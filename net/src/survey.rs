//! What there is on this host beside what is ours, for whoever looks for a fault. Changes nothing.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use crate::Error;
use crate::process::Program;

/// A kernel setting below `/proc/sys/net`, by its path; `None` if there is none.
#[must_use]
pub fn setting(path: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/net/{path}")).ok().map(|text| text.trim().to_owned())
}

/// The rules of a table of iptables as `-S` prints them, or those of one of its chains; `None` without
/// iptables.
pub async fn rules(table: &str, chain: Option<&str>) -> Result<Option<String>, Error> {
    let mut arguments = vec!["-w", "-t", table, "-S"];
    arguments.extend(chain);
    let deadline = Duration::from_secs(5);
    let program = Program { name: "iptables", arguments: &arguments, input: "", deadline };
    match program.run().await {
        Ok(rules) => Ok(Some(rules)),
        Err(Error::StartProgram { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Everybody's rules in nftables, as `nft` prints them; `None` without the program.
pub async fn ruleset() -> Result<Option<String>, Error> {
    let arguments = &["-s", "list", "ruleset"];
    let deadline = Duration::from_secs(5);
    match (Program { name: "nft", arguments, input: "", deadline }).run().await {
        Ok(rules) => Ok(Some(rules)),
        Err(Error::StartProgram { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
