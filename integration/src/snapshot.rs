//! Everything on a host that a program could leave behind, as sorted lines.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::host::Host;

/// What is looked at by asking a tool, and the words at the start of lines to leave out: those
/// that change by themselves.
const ASKED: [(&str, &[&str], &[&str]); 11] = [
    ("link", &["ip", "-br", "link"], &[]),
    ("address", &["ip", "-4", "-o", "address"], &[]),
    ("route", &["ip", "-4", "route", "show", "table", "all"], &[]),
    ("routing rule", &["ip", "rule"], &[]),
    ("address of IPv6", &["ip", "-6", "-o", "address", "show", "scope", "global"], &[]),
    ("route of IPv6", &["ip", "-6", "route", "show", "table", "main"], &["fe80:"]),
    ("neighbour", &["ip", "neighbour", "show", "nud", "permanent"], &[]),
    ("forwarding row", &["bridge", "fdb", "show"], &["33:33:", "01:00:5e:"]),
    ("firewall rule", &["iptables-save"], &["#", ":", "COMMIT"]),
    ("firewall rule of IPv6", &["ip6tables-save"], &["#", ":", "COMMIT"]),
    ("firewall table", &["nft", "list", "tables"], &IPTABLES),
];

/// Tables that iptables makes and leaves, empty.
const IPTABLES: [&str; 8] = [
    "table ip filter",
    "table ip nat",
    "table ip raw",
    "table ip mangle",
    "table ip6 filter",
    "table ip6 nat",
    "table ip6 raw",
    "table ip6 mangle",
];

/// Trees of files that are a host's own.
const TREES: [&str; 3] = ["/run", "/var/lib", "/etc/twill"];

/// Files that nobody is asked to remove: the lab's own, etcd's, and a lock of iptables.
const FOREIGN: [&str; 3] = ["/run/lab", "/var/lib/etcd", "/run/xtables.lock"];

/// A host at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot {
    // Each line with how often it is there: a doubled rule is a difference too.
    lines: BTreeMap<String, usize>,
}

impl Snapshot {
    /// Looks at everything.
    ///
    /// # Errors
    /// When a tool is missing.
    pub fn take(host: &Host) -> Result<Self> {
        // First, before our own tools run.
        let running = processes(host).into_iter().map(|line| format!("process {line}"));
        let mut lines: Vec<String> = running.collect();
        lines.extend(network(host)?);
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", host.init()))?;
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        lines.extend(points.map(|point| format!("mount {point}")));
        for tree in TREES {
            walk(host, tree, &mut lines, &|path| !FOREIGN.contains(&path));
        }
        let directories = |path: &str| host.path(path).is_dir();
        walk(host, "/sys/fs/cgroup", &mut lines, &directories);
        Ok(Self::count(lines))
    }

    /// Looks only at what the kernel's network consists of: devices, addresses, routes,
    /// neighbours, forwarding rows, rules.
    ///
    /// # Errors
    /// When a tool is missing.
    pub fn of_network(host: &Host) -> Result<Self> {
        network(host).map(Self::count)
    }

    fn count(lines: Vec<String>) -> Self {
        let mut counted = BTreeMap::new();
        for line in lines {
            *counted.entry(line).or_default() += 1;
        }
        Self { lines: counted }
    }

    /// The lines that `later` has and this one has not, with a `+`, and the reverse with a `-`.
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let missing = |here: &Self, there: &Self, sign: char| -> Vec<String> {
            let fewer = |(line, count): &(&String, &usize)| there.lines.get(*line) < Some(count);
            here.lines.iter().filter(fewer).map(|(line, _)| format!("{sign} {line}")).collect()
        };
        [missing(later, self, '+'), missing(self, later, '-')].concat()
    }

    /// Looks again and fails if anything has come or gone.
    ///
    /// # Errors
    /// Then, with the list of it.
    pub fn assert_same(&self, host: &Host) -> Result<()> {
        let changes = self.changes(&Self::take(host)?);
        ensure!(changes.is_empty(), "{} has changed:\n{}", host.name(), changes.join("\n"));
        Ok(())
    }
}

fn network(host: &Host) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (what, command, skipped) in ASKED {
        let said = host.ok(command)?;
        let kept = said.lines().filter(|line| !skipped.iter().any(|s| line.starts_with(s)));
        lines.extend(kept.map(|line| format!("{what} {}", settled(what, line))));
    }
    Ok(lines)
}

// A TUN device that comes up for the second time says UP where it said UNKNOWN before; whether it
// is up is among the flags. A bridge learns up to a second late that its last port is gone.
fn settled(what: &str, line: &str) -> String {
    let words = line.split_whitespace().enumerate();
    let lasting = |(index, word): &(usize, &str)| match what {
        "link" => *index != 1,
        _ => *word != "linkdown",
    };
    let kept = words.filter(lasting).map(|(_, word)| match what {
        "link" => word.replace("NO-CARRIER,", "").replace(",LOWER_UP", ""),
        _ => word.to_owned(),
    });
    kept.collect::<Vec<_>>().join(" ")
}

fn processes(host: &Host) -> Vec<String> {
    let entries = fs::read_dir(host.path("/proc")).into_iter().flatten().flatten();
    let numbered = entries.filter(|entry| {
        entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())
    });
    let lines = numbered.filter_map(|entry| {
        let line = command_line(&entry.path());
        (!is_a_look(host, &entry.path(), &line)).then_some(line)
    });
    lines.filter(|line| !line.is_empty()).collect()
}

fn command_line(process: &Path) -> String {
    let words = fs::read(process.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ").trim().to_owned()
}

/// The agent looks at its rules now and then.
fn is_a_look(host: &Host, process: &Path, line: &str) -> bool {
    let name = |place: &Path| fs::read_to_string(place.join("comm")).unwrap_or_default();
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
    let Some(parent) = parent.map(|pid| host.path("/proc").join(pid)) else { return false };
    let own = name(process);
    let tool = ["iptables", "ip6tables", "nft", "xtables"].iter().any(|it| own.starts_with(it));
    // A child that has not become the tool yet has its parent's words, and a thread's name.
    name(&parent).trim() == "twilld" && (tool || command_line(&parent) == line)
}

fn walk(host: &Host, path: &str, lines: &mut Vec<String>, wanted: &impl Fn(&str) -> bool) {
    if !wanted(path) {
        return;
    }
    // Which addresses rest is known for two minutes.
    if !path.ends_with("/endpoint/freed") {
        lines.push(format!("file {path}"));
    }
    let real = host.path(path);
    if real.is_symlink() || !real.is_dir() || is_foreign_mount(&real) {
        return;
    }
    for entry in fs::read_dir(real).into_iter().flatten().flatten() {
        let child = format!("{path}/{}", entry.file_name().to_string_lossy());
        walk(host, &child, lines, wanted);
    }
}

// A container's own root is mounted below; its mount is listed, its files are the image's.
fn is_foreign_mount(path: &Path) -> bool {
    path.ends_with("rootfs") || path.ends_with("merged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_settles_by_itself_is_no_change() {
        let busy = "twill0 UP 02:42:0a:58:4b:01 <BROADCAST,MULTICAST,UP,LOWER_UP>";
        let idle = "twill0 DOWN 02:42:0a:58:4b:01 <NO-CARRIER,BROADCAST,MULTICAST,UP>";
        let down = "twill0 DOWN 02:42:0a:58:4b:01 <BROADCAST,MULTICAST>";
        assert_eq!(settled("link", busy), settled("link", idle));
        assert_ne!(settled("link", busy), settled("link", down));
        let route = "10.88.75.0/24 dev twill0 scope link";
        assert_eq!(settled("route", &format!("{route} linkdown")), settled("route", route));
    }

    #[test]
    fn what_came_what_went_and_what_was_doubled() {
        let of = |lines: &[(&str, usize)]| Snapshot {
            lines: lines.iter().map(|(line, count)| ((*line).to_owned(), *count)).collect(),
        };
        let before = of(&[("link a", 1), ("rule x", 1)]);
        assert_eq!(before.changes(&before), Vec::<String>::new());
        let after = of(&[("link b", 1), ("rule x", 2)]);
        assert_eq!(before.changes(&after), ["+ link b", "+ rule x", "- link a"]);
    }
}
