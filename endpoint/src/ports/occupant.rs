//! Which process of the host listens on a port, for the message about it.

use std::fs;
use std::path::Path;

use twill_core::firewall::ports::Protocol;

use super::Port;

/// In words.
#[must_use]
pub fn occupant(port: &Port) -> String {
    let inodes = inodes(port);
    let found = processes().find(|pid| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        let mut links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.any(|link| is_one_of(&link, &inodes))
    });
    match found {
        Some(pid) => {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process {pid} ({}) listens there", name.trim())
        }
        None => "another process has it".to_owned(),
    }
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
}
