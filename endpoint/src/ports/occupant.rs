//! Which process of the host listens on a port.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use twill_core::firewall::ports::Protocol;

use super::Port;

/// Somebody, in words.
#[must_use]
pub fn occupant(port: &Port) -> String {
    in_words(listeners(port).next())
}

/// One process, if it can be seen, in words.
pub(super) fn in_words(listener: Option<Listener>) -> String {
    let Some(Listener { pid }) = listener else { return "another process has it".to_owned() };
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("process {pid} ({}) listens there", name.trim())
}

/// A process of the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Listener {
    pid: u32,
}

impl Listener {
    /// Was it started, by our own user, for that container? Podman lets the process that watches a container hold its
    /// published ports, and names the container to it.
    pub(super) fn works_for(self, container: &str) -> bool {
        let process = format!("/proc/{}", self.pid);
        let user = rustix::process::geteuid().as_raw();
        let words = fs::read(format!("{process}/cmdline")).unwrap_or_default();
        fs::metadata(&process).is_ok_and(|it| it.uid() == user)
            && words.split(|byte| *byte == 0).any(|word| word == container.as_bytes())
    }
}

/// All that can be seen.
pub(super) fn listeners(port: &Port) -> impl Iterator<Item = Listener> + use<> {
    let inodes = inodes(port);
    let listens = move |pid: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        let mut links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.any(|link| is_one_of(&link, &inodes))
    };
    processes().filter(listens).map(|pid| Listener { pid })
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn is_one_of(link: &Path, inodes: &[String]) -> bool {
    let name = link.to_str().and_then(|link| link.strip_prefix("socket:["));
    let inode = name.and_then(|name| name.strip_suffix(']'));
    inode.is_some_and(|inode| inodes.iter().any(|it| it == inode))
}

/// Of the sockets that wait on it, of either family.
fn inodes(port: &Port) -> Vec<String> {
    let (tables, state) = match port.protocol {
        // A connection that came to it has the same number.
        Protocol::Tcp => (["tcp", "tcp6"], "0A"),
        Protocol::Udp => (["udp", "udp6"], "07"),
        Protocol::Sctp => return Vec::new(),
    };
    let read = |table| fs::read_to_string(format!("/proc/thread-self/net/{table}"));
    let texts = tables.map(|table| read(table).unwrap_or_default());
    texts.iter().flat_map(|text| text.lines().filter_map(|line| inode(line, port, state))).collect()
}

fn inode(line: &str, port: &Port, state: &str) -> Option<String> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, _remote, found) = (fields.next()?, fields.next()?, fields.next()?);
    let number = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    // Queues, timers, retransmissions, owner and probes are in between.
    let inode = fields.nth(5)?;
    (number == port.host_port && found == state).then(|| inode.to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn whoever_listens_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host_port = listener.local_addr().unwrap().port();
        let port = Port { container_port: 1, protocol: Protocol::Tcp, host_ip: None, host_port };
        let pid = std::process::id();
        assert!(occupant(&port).starts_with(&format!("process {pid} (")), "{}", occupant(&port));
        drop(listener);
        let nobody = Port { host_port: 1, ..port };
        assert_eq!(occupant(&nobody), "another process has it");
    }

    #[test]
    fn whoever_was_told_of_a_container_works_for_it() {
        let me = Listener { pid: std::process::id() };
        let program = std::env::args().next().unwrap();
        assert!(me.works_for(&program));
        assert!(!me.works_for(&program[1..]), "a part of a word is another name");
        assert!(!Listener { pid: u32::MAX }.works_for(&program), "nobody is there");
    }
}
