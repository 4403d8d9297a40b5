//! The three files of a container that its host writes: hosts, hostname, resolv.conf.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use twill_core::ids::Family;
use twill_endpoint::{HostEntry, RESOLVED_RESOLV_CONF, ResolverOptions};

use crate::container::{Address, Network, Record};
use crate::error::{FileContext as _, Result};

/// Where the container sees them.
pub const MOUNTED: [&str; 3] = ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"];

/// Writes all three. The container will have addresses of these families; which ones is not known yet, see
/// [`write_hosts`].
pub fn write(directory: &Path, record: &Record, families: &[Family]) -> Result<()> {
    let hosts = match record.network {
        Network::Host => read_or_empty("/etc/hosts"),
        Network::Bridge | Network::None => hosts(record, &[]),
    };
    let resolv_conf = match record.network {
        Network::Host => host_resolv_conf(),
        Network::Bridge | Network::None => {
            twill_endpoint::resolv_conf(&host_resolv_conf(), &ResolverOptions::default(), families)
        }
    };
    put(&directory.join("hosts"), &hosts)?;
    put(&directory.join("hostname"), &format!("{}\n", record.hostname))?;
    put(&directory.join("resolv.conf"), &resolv_conf)
}

/// Names the container's addresses in its hosts file, in place: the file is mounted by now.
pub fn write_hosts(directory: &Path, record: &Record, address: &Address) -> Result<()> {
    let addresses: Vec<IpAddr> = address.all().map(|ip| ip.ip).collect();
    put(&directory.join("hosts"), &hosts(record, &addresses))
}

fn hosts(record: &Record, addresses: &[IpAddr]) -> String {
    let entry =
        |address: &IpAddr| HostEntry { address: *address, names: vec![record.hostname.clone()] };
    let entries: Vec<HostEntry> = addresses.iter().map(entry).collect();
    twill_endpoint::hosts(&entries)
}

fn host_resolv_conf() -> String {
    let text = read_or_empty("/etc/resolv.conf");
    if twill_endpoint::is_resolved_stub(&text) { read_or_empty(RESOLVED_RESOLV_CONF) } else { text }
}

/// A host without the file is one without anything in it.
fn read_or_empty(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Readable for every user of the container. A restart finds the file mounted nowhere and replaces its text.
fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).file("write", path)
}
