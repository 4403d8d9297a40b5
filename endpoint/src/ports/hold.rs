//! Takes ports of the host from the kernel, by sockets that are bound and do nothing else: no other process
//! gets the port, whoever comes first, and the kernel lets it go with the socket. Rules lead what comes there to
//! a container before it would meet the socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol as NetProtocol, SocketFlags, SocketType, bind, ipproto, socket_with,
    sockopt,
};
use twill_core::firewall::ports::Protocol;
use twill_core::ids::Family;

use super::occupant::{in_words, listeners};
use super::{Port, are_one};
use crate::error::Error;
use crate::host::Host;
use crate::request::Owner;

/// Sockets on a port, one for each address that it is published at.
#[derive(Debug)]
pub struct Hold {
    _sockets: Vec<OwnedFd>,
}

impl Hold {
    /// Takes a port for a container that has addresses of these families.
    pub fn take(port: &Port, families: &[Family]) -> Result<Self, Error> {
        fits(port, families)?;
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
                Err(Errno::ADDRINUSE | Errno::ACCESS) => {
                    return Err(Error::PortOccupied { port: port.clone() });
                }
                socket => {
                    let port = port.clone();
                    sockets.push(
                        socket.map_err(|it| Error::PortNotThere { port, source: it.into() })?,
                    );
                }
            }
        }
        Ok(Self { _sockets: sockets })
    }
}

impl Host {
    /// Takes the ports that a container is to have until it is joined, or tells who holds one. For whoever does not stay: rules
    /// that stand hold a port as well, though not against processes of the host, which bind without a look at them.
    pub fn hold_ports(&self, owner: &Owner, ports: &[Port]) -> Result<Vec<Hold>, Error> {
        if ports.is_empty() {
            return Ok(Vec::new());
        }
        let families: Vec<Family> =
            self.read_env()?.blocks().map(|blocks| blocks.subnet.family()).collect();
        let take = |port| match Hold::take(port, &families) {
            Err(Error::PortOccupied { port }) => self.whose(owner, port).map(|()| None),
            taken => taken.map(Some),
        };
        ports.iter().filter_map(|port| take(port).transpose()).collect()
    }

    /// The error about a port that somebody holds: a container, which has a record, or another process. None if it is held
    /// for this very container.
    fn whose(&self, owner: &Owner, port: Port) -> Result<(), Error> {
        self.forget_earlier_boots()?;
        let published = self.published()?;
        let mut others = published.into_iter().filter(|(other, _port)| !are_one(other, owner));
        if let Some((owner, _theirs)) = others.find(|(_other, theirs)| theirs.clashes(&port)) {
            return Err(Error::PortTaken { port, owner: Box::new(owner) });
        }
        let mut listeners = listeners(&port).peekable();
        let seen = listeners.peek().is_some();
        match listeners.find(|it| !it.works_for(&owner.container)) {
            None if seen => Ok(()),
            other => Err(Error::PortInUse { by: in_words(other), port }),
        }
    }
}

/// What no rule can do.
fn fits(port: &Port, families: &[Family]) -> Result<(), Error> {
    let Some(ip) = port.host_ip else { return Ok(()) };
    if ip == IpAddr::V6(Ipv6Addr::LOCALHOST) {
        return Err(Error::PortAtLoopback);
    }
    if !families.contains(&Family::of(ip)) {
        return Err(Error::PortOfNoFamily { ip });
    }
    Ok(())
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
