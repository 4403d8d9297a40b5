//! Which process of the host listens on a port.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use twill_core::firewall::ports::Protocol;
use twill_core::ids::Family;

use super::Port;

/// Somebody, in words.
#[must_use]
pub fn occupant(port: &Port) -> String {
    let everywhere = || vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let at = port.host_ip.map_or_else(everywhere, |ip| vec![ip]);
    in_words(listeners(&[(port.clone(), at)]).first().map(|(_port, listener)| *listener))
}

/// One process, if it can be seen, in words.
pub(super) fn in_words(listener: Option<Listener>) -> String {
    let Some(Listener { pid, .. }) = listener else { return "another process has it".to_owned() };
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("process {pid} ({}) listens there", name.trim())
}

/// A process of the host with a socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Listener {
    pid: u32,
    /// Who made the socket.
    maker: u32,
}

impl Listener {
    /// Was it started, by our own user and with a socket of that user's, for that container? Podman lets the process that
    /// watches a container hold its published ports, and names the container to it.
    pub(super) fn works_for(self, container: &str) -> bool {
        let process = format!("/proc/{}", self.pid);
        let user = rustix::process::geteuid().as_raw();
        let words = fs::read(format!("{process}/cmdline")).unwrap_or_default();
        let status = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        // By whatever of its four users: a program that changes them may have been started by another.
        let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        let mut users = users.split_whitespace().map(|it| it.parse() == Ok(user)).peekable();
        users.peek().is_some()
            && users.all(|ours| ours)
            && self.maker == user
            && fs::metadata(&process).is_ok_and(|it| it.uid() == user)
            && words.split(|byte| *byte == 0).any(|word| word == container.as_bytes())
    }
}

/// All that can be seen, each with the number of the port that it is in the way of; looked for once, however many ports there
/// are. Each port comes with the addresses that it is wanted at.
pub(super) fn listeners(wanted: &[(Port, Vec<IpAddr>)]) -> Vec<(usize, Listener)> {
    let sockets = sockets(wanted);
    let mut found = Vec::new();
    if sockets.is_empty() {
        return found;
    }
    for pid in processes() {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        for ports in links.filter_map(|link| sockets.get(inode_of(&link)?)) {
            found
                .extend(ports.iter().map(|(port, maker)| (*port, Listener { pid, maker: *maker })));
        }
    }
    found.sort_by_key(|(port, listener)| (*port, listener.pid));
    found
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn inode_of(link: &Path) -> Option<&str> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')
}

/// The inodes of the sockets in the way, and of which ports; with who made them.
fn sockets(wanted: &[(Port, Vec<IpAddr>)]) -> BTreeMap<String, Vec<(usize, u32)>> {
    let mut found: BTreeMap<String, Vec<(usize, u32)>> = BTreeMap::new();
    let tables = [
        // A connection that came to it has the same number.
        (Protocol::Tcp, "tcp", "0A"),
        (Protocol::Tcp, "tcp6", "0A"),
        (Protocol::Udp, "udp", "07"),
        (Protocol::Udp, "udp6", "07"),
    ];
    for (protocol, table, state) in tables {
        let of_it = |it: &&(usize, &(Port, Vec<IpAddr>))| it.1.0.protocol == protocol;
        let wanted: Vec<_> = wanted.iter().enumerate().filter(|it| of_it(&it)).collect();
        if wanted.is_empty() {
            continue;
        }
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        for socket in text.lines().filter_map(|line| Socket::parse(line, state)) {
            for (number, (port, at)) in &wanted {
                if port.host_port == socket.port && at.iter().any(|ip| meet(socket.at, *ip)) {
                    found.entry(socket.inode.clone()).or_default().push((*number, socket.maker));
                }
            }
        }
    }
    found
}

/// Can only one of the two be bound?
fn meet(there: IpAddr, wanted: IpAddr) -> bool {
    // One at all addresses of IPv6 may be at all of IPv4 as well.
    let all = there == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let there = there.to_canonical();
    let either = there.is_unspecified() || wanted.is_unspecified();
    all || Family::of(there) == Family::of(wanted) && (either || there == wanted)
}

/// A line of `/proc/net/tcp` or `udp` (`Documentation/networking/proc_net_tcp.rst`).
#[derive(Debug, Eq, PartialEq)]
struct Socket {
    at: IpAddr,
    port: u16,
    maker: u32,
    inode: String,
}

impl Socket {
    /// One in that state.
    fn parse(line: &str, state: &str) -> Option<Self> {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _remote, found) = (fields.next()?, fields.next()?, fields.next()?);
        let (at, port) = local.rsplit_once(':')?;
        // Queues, timers and retransmissions are in between; then what probes are left.
        let (maker, inode) = (fields.nth(3)?.parse().ok()?, fields.nth(1)?.to_owned());
        let port = u16::from_str_radix(port, 16).ok()?;
        (found == state).then_some(Self { at: address(at)?, port, maker, inode })
    }
}

/// Words of four bytes, each as the number that this machine takes it for.
fn address(text: &str) -> Option<IpAddr> {
    let words = text.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    let ipv4 = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
    ipv4.or_else(|_long| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn port(protocol: Protocol, at: &str, host_port: u16) -> Port {
        Port { container_port: 1, protocol, host_ip: at.parse().ok(), host_port }
    }

    #[test]
    fn whoever_listens_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let pid = std::process::id();
        let mut rows = vec![
            ("at any address", "", number, true),
            ("at its own", "127.0.0.1", number, true),
            ("at another one", "127.0.0.2", number, false),
            ("at one of IPv6", "fd00::1", number, false),
        ];
        rows.push(("on another port", "", if number == 1 { 2 } else { 1 }, false));
        for (name, at, number, is_named) in rows {
            let said = occupant(&port(Protocol::Tcp, at, number));
            assert_eq!(said.starts_with(&format!("process {pid} (")), is_named, "{name}: {said}");
        }
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        let number = socket.local_addr().unwrap().port();
        assert_ne!(occupant(&port(Protocol::Udp, "::1", number)), "another process has it");
        drop(listener);
        assert_eq!(occupant(&port(Protocol::Sctp, "", 1)), "another process has it");
    }

    #[test]
    fn addresses_that_meet() {
        for (there, wanted, want) in [
            ("0.0.0.0", "192.0.2.1", true),
            ("192.0.2.1", "0.0.0.0", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("::", "192.0.2.1", true),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("0.0.0.0", "fd00::1", false),
            ("fd00::1", "::", true),
            ("fd00::1", "0.0.0.0", false),
        ] {
            assert_eq!(
                meet(there.parse().unwrap(), wanted.parse().unwrap()),
                want,
                "{there} {wanted}"
            );
        }
    }

    #[test]
    fn whoever_was_told_of_a_container_works_for_it() {
        let maker = rustix::process::geteuid().as_raw();
        let me = Listener { pid: std::process::id(), maker };
        let program = std::env::args().next().unwrap();
        assert!(me.works_for(&program));
        assert!(!me.works_for(&program[1..]), "a part of a word is another name");
        assert!(!Listener { maker: maker + 1, ..me }.works_for(&program), "a gift of another user");
        assert!(!Listener { pid: u32::MAX, maker }.works_for(&program), "nobody is there");
    }
}
