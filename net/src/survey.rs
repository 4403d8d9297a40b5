//! What there is on this host beside what is ours, for whoever looks for a fault. Changes nothing.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::time::Duration;

use flate2::read::GzDecoder;
use twill_core::doctor::Build;
use twill_core::ids::Family;

use crate::Error;
use crate::process::Program;

/// A kernel setting below `/proc/sys/net`, by its path; `None` if there is none.
#[must_use]
pub fn setting(path: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/net/{path}")).ok().map(|text| text.trim().to_owned())
}

/// Whether the host passes packets of that family on; `None` if the kernel does not tell.
#[must_use]
pub fn forwarding(family: Family) -> Option<String> {
    setting(match family {
        Family::V4 => "ipv4/ip_forward",
        Family::V6 => "ipv6/conf/all/forwarding",
    })
}

/// What the kernel tells of how it was built. Without the right to look, modules count as there.
#[must_use]
pub fn kernel() -> Build {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().to_owned();
    let modules = fs::read_dir("/sys/module").into_iter().flatten().flatten();
    let there = fs::metadata(format!("/lib/modules/{release}"));
    Build {
        config: packed().or_else(|| fs::read_to_string(format!("/boot/config-{release}")).ok()),
        modules: modules.filter_map(|module| module.file_name().into_string().ok()).collect(),
        sealed: there.is_err_and(|error| error.kind() == ErrorKind::NotFound),
        release,
    }
}

/// `/proc/config.gz`, of kernels with `CONFIG_IKCONFIG_PROC`.
fn packed() -> Option<String> {
    let mut text = String::new();
    GzDecoder::new(File::open("/proc/config.gz").ok()?).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The rules of a table of iptables, or of ip6tables, as `-S` prints them, or those of one of its chains;
/// `None` without the program.
pub async fn rules(
    family: Family,
    table: &str,
    chain: Option<&str>,
) -> Result<Option<String>, Error> {
    let name = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    let mut arguments = vec!["-w", "-t", table, "-S"];
    arguments.extend(chain);
    let deadline = Duration::from_secs(5);
    let program = Program { name, arguments: &arguments, input: "", deadline };
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
