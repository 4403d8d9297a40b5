//! The end of a soak: hosts are cleaned up, and what is left on them is looked at.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use twill_core::ids::Family;

use super::seen::type_in;
use super::{Standing, Turned, World};
use crate::snapshot::Snapshot;
use crate::soak::traffic::name;

/// Takes those rows of others away that hang on the uplink and were planted after the first look.
const LATE: [&str; 3] = [
    "ip neigh del STRANGER dev eth0",
    "ip route flush table 99",
    "ip route del 10.99.1.0/24 dev eth0",
];

impl World {
    /// Stops everything, cleans the hosts up as an administrator does, and fails if anything is left on
    /// them or on this machine, or if anything was taken from others.
    pub(in crate::soak) fn finish(mut self) -> Result<()> {
        let late: Vec<Vec<String>> = (0..self.hosts.len()).map(|place| self.late(place)).collect();
        let usual = |place| self.wanted(place, (&Turned::default(), ""));
        for place in 0..self.hosts.len() {
            let amiss = self.amiss(place, &usual(place), "eth0")?;
            ensure!(amiss.is_empty(), "{} at the end:\n{}", name(place), amiss.join("\n"));
        }
        for container in std::mem::take(&mut self.containers) {
            container.remove_container()?;
        }
        for number in 1..=self.hosts.len() {
            self.fabric.stop_agent(number, Signal::SIGTERM)?;
            self.fabric.node(number).ok(["twillctl", "host", "cleanup", "--yes"])?;
        }
        self.fabric.stop_etcd()?;
        for (Standing { host, bare, .. }, late) in self.hosts.iter().zip(&late) {
            // These were planted when ours were there already.
            for row in late {
                drop(type_in(host, row));
            }
            let changes = bare.changes(&Snapshot::take(host)?);
            let changes = left(&changes);
            ensure!(changes.is_empty(), "left on {}:\n{}", host.name(), changes.join("\n"));
        }
        self.fabric.finish()
    }

    fn late(&self, place: usize) -> Vec<String> {
        let of = |family: &Family| LATE.map(|row| self.fill(row, (place, place), *family));
        self.setting.families().iter().flat_map(of).collect()
    }
}

/// Directories of the container runtime, empty, and its locks: it stays on a host that leaves the network.
const RUNTIMES: [&str; 11] = [
    "/run/twill",
    "/run/twill/containers",
    "/run/twill/lock",
    "/run/twill/volumes.lock",
    "/var/lib/twill/containers",
    "/var/lib/twill/endpoint",
    "/var/lib/twill/endpoint/boot",
    "/var/lib/twill/endpoint/lock",
    "/var/lib/twill/endpoint/turns",
    "/var/lib/twill/names",
    "/var/lib/twill",
];

/// What a clean-up has forgotten, or taken from others, among these lines of a comparison.
fn left(changes: &[String]) -> Vec<&str> {
    let stays = |line: &str| {
        let Some(file) = line.strip_prefix("+ file ") else { return false };
        RUNTIMES.contains(&file) || file.starts_with("/sys/fs/cgroup/") && file.ends_with("/twill")
    };
    let is = |sign: char, words: &str| {
        let of_sign = changes.iter().filter_map(|line| line.strip_prefix(sign));
        of_sign.map(unnumbered).any(|line| line == words)
    };
    let lines = changes.iter().map(String::as_str).filter(|line| !stays(line));
    lines
        .filter(|line| !(is('+', &unnumbered(&line[1..])) && is('-', &unnumbered(&line[1..]))))
        .collect()
}

/// The line of an interface without what is another when the interface was made again: its numbers, and
/// its hardware address.
fn unnumbered(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["address", "of", "IPv6", _number, rest @ ..] | ["address", _number, rest @ ..] => {
            rest.join(" ")
        }
        ["link", name, _mac, rest @ ..] if name.starts_with("eth0@") => rest.join(" "),
        _other => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uplink_made_again_is_no_leftover_and_a_directory_of_the_runtime_neither() {
        let lines = [
            "+ address 9: eth0 inet 192.0.2.1/24",
            "+ address of IPv6 9: eth0 inet6 2001:db8::1/64",
            "+ link eth0@if8 d6:b8:85:1c:89:4f <UP>",
            "+ file /run/twill/containers",
            "+ file /sys/fs/cgroup/pids/twill",
            "- address 2: eth0 inet 192.0.2.1/24",
            "- address of IPv6 2: eth0 inet6 2001:db8::1/64",
            "- link eth0@if5 ba:ca:0f:30:70:b3 <UP>",
        ];
        let lines = lines.map(str::to_owned);
        assert_eq!(left(&lines), [""; 0]);
        assert_eq!(left(&lines[..3]), lines[..3], "it was not there before");
        for line in ["+ file /run/twill/containers/1", "+ link flannel.1 02:00:00:00:00:01 <UP>"] {
            assert_eq!(left(&[line.to_owned()]), [line]);
        }
    }
}
