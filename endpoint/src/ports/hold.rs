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
        let mut sockets = Vec::new();
        for ip in addresses(port, families) {
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
        let (mut held, mut occupied) = (Vec::new(), Vec::new());
        for port in ports {
            match Hold::take(port, &families) {
                Err(Error::PortOccupied { port }) => {
                    let at = addresses(&port, &families);
                    occupied.push((port, at));
                }
                taken => held.push(taken?),
            }
        }
        if !occupied.is_empty() {
            self.whose(owner, &occupied)?;
        }
        Ok(held)
    }

    /// The error about a port that somebody holds: a container, which has a record, or another process. None if all are
    /// held for this very container.
    fn whose(&self, owner: &Owner, occupied: &[(Port, Vec<IpAddr>)]) -> Result<(), Error> {
        self.forget_earlier_boots()?;
        let mut published = self.published()?;
        published.retain(|(other, _port)| !are_one(other, owner));
        for (port, _at) in occupied {
            let holder = published.iter().find(|(_other, theirs)| theirs.clashes(port));
            if let Some((owner, _theirs)) = holder {
                let (port, owner) = (port.clone(), Box::new(owner.clone()));
                return Err(Error::PortTaken { port, owner });
            }
        }
        let listeners = listeners(occupied);
        for (number, (port, _at)) in occupied.iter().enumerate() {
            let mut here = listeners.iter().filter(|(port, _it)| *port == number).peekable();
            let seen = here.peek().is_some();
            let stranger = here.map(|(_port, it)| *it).find(|it| !it.works_for(&owner.container));
            if stranger.is_some() || !seen {
                return Err(Error::PortInUse { by: in_words(stranger), port: port.clone() });
            }
        }
        Ok(())
    }
}

/// Where a port is wanted.
fn addresses(port: &Port, families: &[Family]) -> Vec<IpAddr> {
    let everywhere = |family: &Family| match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    port.host_ip.map_or_else(|| families.iter().map(everywhere).collect(), |ip| vec![ip])
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
