//! `twillctl cni`: the configuration by which container runtimes find `twill-cni`, written and looked after.

mod check;
mod install;
mod list;
mod plugin;

use std::path::PathBuf;

use twill_core::ids::NetworkName;

use crate::args::{Cni, CniPlace, Output};
use crate::failure::Failure;
use crate::report::Report;

/// Writes it, or looks.
pub(crate) fn run(
    command: &Cni,
    network: Option<&NetworkName>,
    output: Output,
) -> Result<Report, Failure> {
    match command {
        Cni::Install(wanted) => install::install(wanted, network, output),
        Cni::Check(wanted) => Ok(check::check(wanted, network, output)),
    }
}

/// The file's name and where it lies.
fn place(of: &CniPlace, network: Option<&NetworkName>) -> (String, PathBuf) {
    let usual = || match network {
        // Behind that of the host's own network, which stays the one that runtimes take.
        Some(network) => format!("20-twill-{network}.conflist"),
        None => "10-twill.conflist".to_owned(),
    };
    let file = of.file.clone().unwrap_or_else(usual);
    let path = of.directory.join(&file);
    (file, path)
}
