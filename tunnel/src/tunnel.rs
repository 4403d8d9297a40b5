//! The two threads, and the handle that their owner keeps.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::{io, thread};

use arc_swap::{ArcSwap, Cache};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use twill_core::ids::{Ipv4Subnet, Mtu};

use crate::counters::{Counters, Event};
use crate::path::{self, Local, Outbound};
use crate::wait::{Ready, pause, wait};
use crate::{Device, Error, Peers};

/// No packet, and no datagram, is longer: nothing is ever cut without our noticing.
const LONGEST: usize = 65_535;
/// What we ask the kernel to queue in each direction; it gives what it will.
const SOCKET_BUFFER: usize = 4 << 20;

/// This host's end of the tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Our address on the network that joins the hosts.
    pub underlay: Ipv4Addr,
    /// The UDP port of every host.
    pub port: u16,
    /// The block that this host owns.
    pub subnet: Ipv4Subnet,
    /// The longest packet the tunnel carries: the device's MTU.
    pub mtu: Mtu,
    /// Whose packets it takes.
    pub accept: Accept,
}

/// Whose packets a tunnel takes. What is inside must be for this host in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accept {
    /// Those of peers, with sources that are theirs.
    Peers,
    /// And with sources outside of this network: of clients that a peer forwards for.
    PeersAndOutside(Ipv4Subnet),
    /// Everybody's, with any source.
    Anyone,
}

/// A running tunnel. Dropping it stops both threads; the device stays, see [`Device`].
#[derive(Debug)]
pub struct Tunnel {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    device: Device,
    socket: UdpSocket,
    endpoint: Endpoint,
    peers: ArcSwap<Peers>,
    counters: Arc<Counters>,
    stop: EventFd,
    stopping: AtomicBool,
}

impl Tunnel {
    /// Binds the socket and starts to carry packets; to nobody, until [`Self::set_peers`] is called.
    ///
    /// `lost` is called, once and from a thread of the tunnel, if the device is deleted under us.
    /// Nothing that the underlay does ends the tunnel: such errors are counted.
    pub fn start(
        device: Device,
        endpoint: Endpoint,
        lost: impl FnOnce(Error) + Send + 'static,
    ) -> Result<Self, Error> {
        let address = SocketAddrV4::new(endpoint.underlay, endpoint.port);
        let socket = listen(address).map_err(|source| Error::Listen { address, source })?;
        let name = device.name().to_owned();
        let cannot = |source| Error::Start { name: name.clone(), source };
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| cannot(errno.into()))?;
        let shared = Arc::new(Shared {
            device,
            socket,
            endpoint,
            peers: ArcSwap::default(),
            counters: Arc::default(),
            stop,
            stopping: AtomicBool::new(false),
        });
        let mut tunnel = Self { shared, threads: Vec::with_capacity(2) };
        // If the second thread cannot start, dropping the tunnel stops the first.
        tunnel.spawn("udp-to-tun", Shared::udp_to_tun).map_err(cannot)?;
        let report = move |shared: &Shared| {
            if let Err(source) = shared.tun_to_udp() {
                lost(Error::Lost { name: shared.device.name().to_owned(), source });
            }
        };
        tunnel.spawn("tun-to-udp", report).map_err(cannot)?;
        Ok(tunnel)
    }

    /// Replaces the table of peers; no packet waits for it.
    pub fn set_peers(&self, blocks: Vec<(Ipv4Subnet, Ipv4Addr)>) {
        self.shared.peers.store(Arc::new(Peers::new(blocks)));
    }

    /// What became of the packets so far.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce(&Shared) + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name(name.to_owned());
        self.threads.push(thread.spawn(move || body(&shared))?);
        Ok(())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        if let Err(errno) = self.shared.stop.write(1) {
            // The counter is full only if it was written before, and then the threads know.
            tracing::debug!(%errno, "the tunnel was told to stop before");
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(device = self.shared.device.name(), "a thread of the tunnel died");
            }
        }
    }
}

impl Shared {
    /// Until told to stop, or until the device is gone.
    fn tun_to_udp(&self) -> io::Result<()> {
        let mut peers = Cache::new(&self.peers);
        let mut buffer = vec![0; LONGEST];
        while !self.stopping.load(Ordering::Relaxed) {
            match self.device.read(&mut buffer) {
                Ok(len) => self.send(peers.load(), &mut buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(&self.stop, &Ready::ToRead(&self.device))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Until told to stop: the owner does that too when the device is gone, and until then there is
    /// nobody to write to.
    fn udp_to_tun(&self) {
        let mut peers = Cache::new(&self.peers);
        let mut buffer = vec![0; LONGEST];
        while !self.stopping.load(Ordering::Relaxed) {
            let came = match self.socket.recv_from(&mut buffer) {
                Ok((len, SocketAddr::V4(sender))) => {
                    self.receive(peers.load(), (*sender.ip(), &mut buffer[..len]));
                    Ok(())
                }
                // The socket is an IPv4 one.
                Ok((_len, SocketAddr::V6(_sender))) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(&self.stop, &Ready::ToRead(&self.socket))
                }
                Err(error) => Err(error),
            };
            if let Err(error) = came {
                self.counters.add(reason(&error));
                pause(&self.stop);
            }
        }
    }

    fn send(&self, peers: &Peers, packet: &mut [u8]) {
        let peer = match path::outbound(&self.local(), peers, packet) {
            Outbound::Send(peer) => peer,
            Outbound::Drop(why) => return self.counters.add(why),
            Outbound::Answer(why, answer) => {
                self.counters.add(why);
                return self.write(answer.bytes());
            }
        };
        let address = SocketAddrV4::new(peer, self.endpoint.port);
        let mut result = self.socket.send_to(packet, address);
        while matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            && !self.stopping.load(Ordering::Relaxed)
        {
            // A full socket holds back the device's queue, which is the one that may drop.
            result = wait(&self.stop, &Ready::ToWrite(&self.socket))
                .and_then(|()| self.socket.send_to(packet, address));
        }
        match result {
            Ok(bytes) => self.counters.sent(bytes),
            Err(error) => self.counters.add(reason(&error)),
        }
    }

    fn receive(&self, peers: &Peers, (sender, packet): (Ipv4Addr, &mut [u8])) {
        match path::inbound(&self.local(), peers, (sender, packet)) {
            Ok(()) => {
                self.counters.received(packet.len());
                self.write(packet);
            }
            Err(why) => self.counters.add(why),
        }
    }

    fn write(&self, packet: &[u8]) {
        if self.device.write(packet).is_err() {
            self.counters.add(Event::DeviceRefused);
        }
    }

    fn local(&self) -> Local {
        let Endpoint { subnet, mtu, accept, .. } = self.endpoint;
        Local { subnet, mtu, accept }
    }
}

/// Is the port free that a [`Tunnel`] would listen on? Nothing is kept: another program may still be
/// faster, which [`Tunnel::start`] would tell.
pub fn check_port(underlay: Ipv4Addr, port: u16) -> Result<(), Error> {
    let address = SocketAddrV4::new(underlay, port);
    let bound = UdpSocket::bind(address);
    bound.map(drop).map_err(|source| Error::Listen { address, source })
}

fn listen(address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // A router on the way that carries less cuts them, and need not be believed, or even heard, about
    // it: of a path that says nothing no packet is lost.
    set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT)?;
    // Bursts are long and we are two threads; less than asked for costs speed, not correctness.
    if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err()
        || setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER).is_err()
    {
        tracing::debug!(%address, "the tunnel's socket keeps the kernel's usual buffers");
    }
    Ok(socket)
}

fn reason(error: &io::Error) -> Event {
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::ECONNREFUSED => Event::Refused,
        Errno::ENOBUFS | Errno::ENOMEM => Event::NoBuffers,
        Errno::EMSGSIZE => Event::UnderlayTooSmall,
        Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ENETDOWN | Errno::EPERM => {
            Event::Unreachable
        }
        _other => Event::SocketError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_underlay_has_its_reason() {
        for (errno, wanted) in [
            (Errno::ECONNREFUSED, Event::Refused),
            (Errno::ENOBUFS, Event::NoBuffers),
            (Errno::EMSGSIZE, Event::UnderlayTooSmall),
            (Errno::ENETUNREACH, Event::Unreachable),
            (Errno::EINVAL, Event::SocketError),
        ] {
            assert_eq!(reason(&errno.into()), wanted, "{errno}");
        }
    }
}
