//! The threads, and the handle that their owner keeps.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::{io, thread};

use arc_swap::ArcSwap;
use nix::sys::eventfd::{EfdFlags, EventFd};
use twill_core::ids::{Mtu, Subnet};

use crate::blocks::Blocks;
use crate::counters::Counters;
use crate::marks::Marks;
use crate::path::Local;
use crate::shortcut::{Claim, Ground, Numbers, Refused, Shortcut};
use crate::socket::Socket;
use crate::{Device, Error, Peers, carrier};

/// This host's end of the tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Our address on the network that joins the hosts.
    pub underlay: IpAddr,
    /// The UDP port of every host.
    pub port: u16,
    /// The blocks that this host owns.
    pub subnet: Blocks,
    /// The longest packet the tunnel carries: the device's MTU.
    pub mtu: Mtu,
    /// Whose packets it takes.
    pub accept: Accept,
    /// What the underlay may know about a packet.
    pub marks: Marks,
}

/// Whose packets a tunnel takes. What is inside must be for this host in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accept {
    /// Those of peers, with sources that are theirs.
    Peers,
    /// And with sources outside of this network: of clients that a peer forwards for.
    PeersAndOutside(Blocks),
    /// Everybody's, with any source.
    Anyone,
}

/// A running tunnel, a thread for each queue of its device. Dropping it stops them; the device stays, see
/// [`Device`], and so does the shortcut.
#[derive(Debug)]
pub struct Tunnel {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    beside: Mutex<Beside>,
}

/// What carries packets beside the threads, and what it is to know.
#[derive(Debug, Default)]
struct Beside {
    shortcut: Option<Shortcut>,
    /// Before there is one.
    claim: Option<Claim>,
    blocks: Vec<(Subnet, IpAddr)>,
    able: BTreeSet<IpAddr>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) device: Device,
    /// As many as the device has queues.
    pub(crate) sockets: Vec<Socket>,
    pub(crate) endpoint: Endpoint,
    pub(crate) peers: ArcSwap<Peers>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stop: EventFd,
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
        let address = SocketAddr::new(endpoint.underlay, endpoint.port);
        let sockets = Socket::bind(address, device.queues())
            .map_err(|source| Error::Listen { address, source })?;
        let name = device.name().to_owned();
        let cannot = |source| Error::Start { name: name.clone(), source };
        let shared = Arc::new(Shared::new(device, sockets, endpoint).map_err(cannot)?);
        let queues = shared.device.queues();
        let threads = Vec::with_capacity(queues);
        let mut tunnel = Self { shared, threads, beside: Mutex::default() };
        let lost = Arc::new(Mutex::new(Some(lost)));
        // If a thread cannot start, dropping the tunnel stops those before it.
        for queue in 0..queues {
            tunnel.start_queue(queue, &lost).map_err(cannot)?;
        }
        Ok(tunnel)
    }

    /// Replaces the table of peers; no packet waits for it.
    pub fn set_peers(&self, blocks: Vec<(Subnet, IpAddr)>) {
        self.set_peers_with(blocks, BTreeSet::new());
    }

    /// The same, and says which of the hosts are `able` to take packets by the shortcut: where the underlay is
    /// made by the same kernel, checksums and cuts are left to whoever receives them.
    pub fn set_peers_with(&self, blocks: Vec<(Subnet, IpAddr)>, able: BTreeSet<IpAddr>) {
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        let peers = Arc::new(Peers::new(blocks.clone()));
        (beside.blocks, beside.able) = (blocks, able);
        let swap = || self.shared.peers.store(peers);
        let Beside { shortcut, blocks, able, .. } = &mut *beside;
        let Some(shortcut) = shortcut else { return swap() };
        if let Err(error) = shortcut.follow(blocks, able, swap) {
            // What it knows may be wrong.
            tracing::warn!(device = self.shared.device.name(), %error, "packets take no shortcut");
            self.leave(&mut beside);
        }
    }

    /// Lets the kernel carry what is ordinary between these interfaces, and mends what somebody took away;
    /// tells whether there was anything to do. To be said again and again: see [`LEAD`](crate::shortcut::LEAD).
    ///
    /// After an error there is no shortcut of this tunnel, but programs of an earlier process may be
    /// there, and the lift is.
    pub fn ensure_shortcut(&self, ground: &Ground) -> Result<bool, Refused> {
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        let led = self.lead(&mut beside, ground);
        if led.is_err() {
            self.leave(&mut beside);
        }
        led
    }

    fn lead(&self, beside: &mut Beside, ground: &Ground) -> Result<bool, Refused> {
        if let Some(shortcut) = &mut beside.shortcut
            && shortcut.ground == *ground
        {
            return shortcut.lead();
        }
        let Shared { endpoint, counters, .. } = &*self.shared;
        let port = endpoint.port;
        let claim = match beside.claim.take() {
            Some(claim) => claim,
            None => Claim::take(port)
                .map_err(|source| Refused::Claim { port, source })?
                .ok_or(Refused::Taken { port })?,
        };
        let numbers = Numbers::kept_in(&beside.claim.insert(claim).numbers())
            .map_err(|source| Refused::Keep { port, source })?;
        let mut shortcut = Shortcut::load(endpoint, ground.clone(), numbers)?;
        shortcut.follow(&beside.blocks, &beside.able, || {})?;
        if let Err(error) = shortcut.lead() {
            shortcut.unhook();
            return Err(error);
        }
        if let Some(before) = &beside.shortcut {
            before.give_way_to(&shortcut);
        }
        counters.beside(Some(shortcut.tally()));
        beside.shortcut = Some(shortcut);
        Ok(true)
    }

    /// The lift is up, and its port the lift's alone: from now on super-packets come in by it. Until this is said, and
    /// after each change of the ground, none do.
    pub fn open_lift(&self) {
        self.lift(Shortcut::open_lift);
    }

    /// The lift may be down, and its port a stranger's.
    pub fn shut_lift(&self) {
        self.lift(Shortcut::shut_lift);
    }

    fn lift(&self, change: impl FnOnce(&mut Shortcut) -> Result<(), Refused>) {
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        let told = beside.shortcut.as_mut().map_or(Ok(()), change);
        if let Err(error) = told {
            tracing::warn!(device = self.shared.device.name(), %error, "packets take no shortcut");
            self.leave(&mut beside);
        }
    }

    /// Has the threads carry all packets again.
    pub fn drop_shortcut(&self) {
        self.leave(&mut self.beside.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn leave(&self, beside: &mut Beside) {
        if let Some(shortcut) = beside.shortcut.take() {
            shortcut.unhook();
            self.shared.counters.beside(None);
        }
        beside.claim = None;
    }

    /// What became of the packets so far.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    fn start_queue(
        &mut self,
        queue: usize,
        lost: &Arc<Mutex<Option<impl FnOnce(Error) + Send + 'static>>>,
    ) -> io::Result<()> {
        let lost = Arc::clone(lost);
        self.spawn(format!("tunnel-{queue}"), move |shared| {
            let Err(source) = carrier::run(shared, queue) else { return };
            // The first queue that finds out tells it.
            let lost = lost.lock().ok().and_then(|mut lost| lost.take());
            if let Some(lost) = lost {
                lost(Error::Lost { name: shared.device.name().to_owned(), source });
            }
        })
    }

    fn spawn(
        &mut self,
        name: String,
        body: impl FnOnce(&Shared) + Send + 'static,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name(name);
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
    pub(crate) fn new(
        device: Device,
        sockets: Vec<Socket>,
        endpoint: Endpoint,
    ) -> io::Result<Self> {
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let (peers, counters, stopping) =
            (ArcSwap::default(), Arc::default(), AtomicBool::default());
        Ok(Self { device, sockets, endpoint, peers, counters, stop, stopping })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn local(&self) -> Local {
        let Endpoint { subnet, mtu, accept, marks, .. } = self.endpoint;
        Local { own: subnet, mtu, accept, marks }
    }
}

/// Is the port free that a [`Tunnel`] would listen on? Nothing is kept: another program may still be
/// faster, which [`Tunnel::start`] would tell.
pub fn check_port(underlay: IpAddr, port: u16) -> Result<(), Error> {
    let address = SocketAddr::new(underlay, port);
    let bound = UdpSocket::bind(address);
    bound.map(drop).map_err(|source| Error::Listen { address, source })
}
