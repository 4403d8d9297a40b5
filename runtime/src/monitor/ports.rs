//! Takes the host's ports for a container, for as long as its monitor lives.
//!
//! A port is held by a socket that is bound and does nothing else: no other process gets the port, no
//! other container either, whoever comes first, and the kernel lets it go with the monitor, however that
//! ends. Rules lead what comes there to the container before it would meet the socket.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol as NetProtocol, SocketFlags, SocketType, bind, ipproto, socket_with,
    sockopt,
};
use twill_core::firewall::ports::Protocol;
use twill_core::ids::Family;
use twill_endpoint::{Owner, Port};

use super::occupant;
use crate::Paths;
use crate::container::ports::Binding;
use crate::container::{Network, Record, reap};
use crate::error::{Error, Result};

/// The ports of one container, once they are taken.
#[derive(Debug, Default)]
pub(super) struct Held {
    ports: Option<Vec<Port>>,
    sockets: Vec<OwnedFd>,
}

impl Held {
    /// What is published, from the first start on the same. The container has these families.
    pub(super) fn take(
        &mut self,
        paths: &Paths,
        record: &Record,
        families: &[Family],
    ) -> Result<Vec<Port>> {
        if let Some(ports) = &self.ports {
            return Ok(ports.clone());
        }
        let wanted =
            if record.network == Network::Bridge { record.ports.wanted() } else { Vec::new() };
        let published = if wanted.is_empty() {
            Vec::new()
        } else {
            reap::host(paths)
                .published()
                .map_err(|source| Error::Network { operation: "join", source })?
        };
        let taken = Taken { paths, record, published };
        let mut ports = Vec::new();
        for binding in &wanted {
            ports.push(self.bind(&taken, (binding, families))?);
        }
        ports.sort();
        self.ports = Some(ports.clone());
        Ok(ports)
    }

    fn bind(
        &mut self,
        taken: &Taken<'_>,
        (binding, families): (&Binding, &[Family]),
    ) -> Result<Port> {
        check(binding, families)?;
        let (first, last) = binding.host_ports.unwrap_or_else(any_port);
        let mut refused = None;
        for host_port in first..=last {
            let port = Port {
                container_port: binding.port.port,
                protocol: binding.port.protocol,
                host_ip: binding.host_ip,
                host_port,
            };
            if let Some(owner) = taken.owner(&port) {
                refused.get_or_insert((port, Some(owner)));
                continue;
            }
            match sockets(&port, families) {
                Ok(sockets) => {
                    self.sockets.extend(sockets);
                    return Ok(port);
                }
                Err(Errno::ADDRINUSE | Errno::ACCESS) => {
                    refused.get_or_insert((port, None));
                }
                Err(error) => {
                    return Err(Error::PortNotThere { place: port.place(), source: error.into() });
                }
            }
        }
        let Some((port, owner)) = refused else { return Err(Error::Lost) };
        let owner = owner.unwrap_or_else(|| occupant::of(&port));
        let place = port.place();
        Err(Error::PortTaken { place, owner })
    }
}

/// What others have, as far as the kernel does not know: containers of other runtimes hold no sockets.
struct Taken<'a> {
    paths: &'a Paths,
    record: &'a Record,
    published: Vec<(Owner, Port)>,
}

impl Taken<'_> {
    /// By the name of the container, if it is one of ours.
    fn owner(&self, port: &Port) -> Option<String> {
        let of_others = |(owner, other): &&(Owner, Port)| {
            owner.container != self.record.id && other.clashes(port)
        };
        let (owner, _port) = self.published.iter().find(of_others)?;
        let store = crate::container::Store::new(self.paths);
        Some(match store.read(&owner.container) {
            Ok(found) => format!("container {} has it", found.record.name),
            Err(_) => format!("{owner} has it"),
        })
    }
}

fn check(binding: &Binding, families: &[Family]) -> Result<()> {
    let Some(ip) = binding.host_ip else { return Ok(()) };
    if ip == IpAddr::V6(Ipv6Addr::LOCALHOST) {
        let text =
            "a port cannot be published at ::1, which Linux leads to no container: use 127.0.0.1";
        return Err(Error::Usage(text.into()));
    }
    if !families.contains(&Family::of(ip)) {
        let text =
            format!("a port cannot be published at {ip}: the network has no {}", Family::of(ip));
        return Err(Error::Usage(text));
    }
    Ok(())
}

/// From where the kernel takes ports for whoever wants any.
fn any_port() -> (u16, u16) {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
    numbers.next().zip(numbers.next()).unwrap_or((32768, 60999))
}

fn sockets(port: &Port, families: &[Family]) -> rustix::io::Result<Vec<OwnedFd>> {
    let everywhere = |family: &Family| match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let addresses: Vec<IpAddr> = match port.host_ip {
        Some(ip) => vec![ip],
        None => families.iter().map(everywhere).collect(),
    };
    let mut sockets = Vec::new();
    for ip in addresses {
        match socket(port.protocol, SocketAddr::new(ip, port.host_port)) {
            // Nobody else can have it either.
            Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT | Errno::AFNOSUPPORT) => {}
            socket => sockets.push(socket?),
        }
    }
    Ok(sockets)
}

fn socket(protocol: Protocol, at: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let (kind, number): (SocketType, Option<NetProtocol>) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, None),
        Protocol::Udp => (SocketType::DGRAM, None),
        Protocol::Sctp => (SocketType::STREAM, Some(ipproto::SCTP)),
    };
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, number)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Connections of a server that was here before us are still being forgotten; a server that is here is
    // in the way all the same, and nobody is to share with us.
    let shares = protocol == Protocol::Tcp;
    sockopt::set_socket_reuseaddr(&socket, shares)?;
    bind(&socket, &at)?;
    sockopt::set_socket_reuseaddr(&socket, false)?;
    Ok(socket)
}
