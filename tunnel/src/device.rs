//! The TUN device.

use std::io::{self, IoSlice};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::thread;

use nix::errno::Errno;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::coalesce::Joins;
use crate::vnet;
use crate::{Cpus, Error};

/// How many packets, or super-packets, wait in each queue of the device for us. With 64 KiB in each a
/// longer queue only delays them, and makes a sender believe in room that is not there; a shorter one
/// loses small packets while we wait for a core.
const QUEUE: u32 = 256;
/// More queues than this only take cores from those whom they serve.
const MOST_QUEUES: usize = 8;

/// What the kernel leaves to us, and takes from us, in one piece.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Offload {
    /// Streams of TCP and datagrams of UDP.
    TcpAndUdp,
    /// Streams of TCP: kernels before 6.2.
    Tcp,
    /// Nothing: one call, one packet.
    Nothing,
}

/// An open TUN device without packet information.
///
/// Persistent: it outlives the process with its address and its routes, so that a killed agent
/// leaves packets waiting for the next one instead of sending them along the default route.
/// Address, MTU and up are not set here.
pub struct Device {
    name: String,
    offload: Offload,
    queues: Vec<Queue>,
    cpus: Option<Cpus>,
    /// Several processes may open a device of several queues: only the one that has this may.
    _held: UnixDatagram,
}

/// One queue of a device. The kernel keeps each flow on one of them.
pub(crate) struct Queue {
    inner: SyncDevice,
    /// How many bytes come before each packet, in both directions.
    header: usize,
}

/// How to open a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Mode {
    several: bool,
    offload: bool,
}

impl Device {
    /// As many queues as serve this machine well.
    #[must_use]
    pub fn queues_for_this_machine() -> NonZeroUsize {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        NonZeroUsize::new((cores / 2).min(MOST_QUEUES)).unwrap_or(NonZeroUsize::MIN)
    }

    /// Makes the device, or takes over the one that an earlier process left, with as much offload as the
    /// kernel gives, and with so many queues.
    ///
    /// A device that was made for one queue has one as long as it lives: it is not made anew, because
    /// containers are using it.
    pub fn open(name: &str, queues: NonZeroUsize) -> Result<Self, Error> {
        let cannot = |source: io::Error| {
            let name = name.to_owned();
            if is(&source, Errno::EBUSY) {
                Error::Held { name }
            } else {
                Error::Open { name, source }
            }
        };
        let held = hold(name).map_err(cannot)?;
        let (first, mode) = first_queue(name, queues.get() > 1).map_err(cannot)?;
        first.persist().map_err(|source| Error::Persist { name: name.to_owned(), source })?;
        let mut devices = vec![first];
        while mode.several && devices.len() < queues.get() {
            let another = devices[0].try_clone().map_err(cannot)?;
            another.set_nonblocking(true).map_err(cannot)?;
            devices.push(another);
        }
        let offload = match (devices[0].tcp_gso(), devices[0].udp_gso()) {
            (true, true) => Offload::TcpAndUdp,
            (true, false) => Offload::Tcp,
            (false, _) => Offload::Nothing,
        };
        if offload == Offload::Tcp {
            tracing::info!(
                device = name,
                "datagrams come one by one: the kernel joins only streams"
            );
        }
        if offload != Offload::Nothing
            && let Err(error) = devices[0].set_tx_queue_len(QUEUE)
        {
            tracing::debug!(device = name, %error, "the device keeps the length of its queues");
        }
        if devices.len() < queues.get() {
            let wanted = queues.get();
            tracing::info!(device = name, wanted, "the device was made for one queue and keeps it");
        }
        tracing::debug!(device = name, ?offload, queues = devices.len(), "the device is open");
        let header = if offload == Offload::Nothing { 0 } else { vnet::LEN };
        let queues = devices.into_iter().map(|inner| Queue { inner, header }).collect();
        Ok(Self { name: name.to_owned(), offload, queues, cpus: None, _held: held })
    }

    /// Its queues are carried on these processors, one after the other; otherwise wherever the kernel likes.
    #[must_use]
    pub fn on(self, cpus: Option<Cpus>) -> Self {
        Self { cpus, ..self }
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the kernel gives.
    #[must_use]
    pub fn offload(&self) -> Offload {
        self.offload
    }

    /// How many queues it has.
    #[must_use]
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    pub(crate) fn queue(&self, number: usize) -> &Queue {
        &self.queues[number]
    }

    pub(crate) fn cpus(&self) -> Option<Cpus> {
        self.cpus
    }

    pub(crate) fn joins(&self) -> Joins {
        Joins { tcp: self.offload != Offload::Nothing, udp: self.offload == Offload::TcpAndUdp }
    }
}

impl Queue {
    pub(crate) fn header(&self) -> usize {
        self.header
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.recv(buffer)
    }

    pub(crate) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.inner.send_vectored(slices)
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// A name that only one socket of this network namespace can have.
fn hold(name: &str) -> io::Result<UnixDatagram> {
    let address = SocketAddr::from_abstract_name(format!("twill/tun/{name}"))?;
    UnixDatagram::bind_addr(&address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Errno::EBUSY.into(),
        _other => error,
    })
}

/// The best that the kernel, and a device that is there already, let us have.
fn first_queue(name: &str, several: bool) -> io::Result<(SyncDevice, Mode)> {
    // What a device was made for, it is for as long as it lives; offload may change.
    let modes = [(several, true), (!several, true), (several, false), (!several, false)];
    let mut refused = io::Error::from(Errno::EINVAL);
    for (several, offload) in modes {
        let mode = Mode { several, offload };
        match build(name, mode) {
            Ok(device) => {
                if !offload {
                    tracing::warn!(device = name, error = %refused, "no offload: the tunnel will be slow");
                }
                return Ok((device, mode));
            }
            Err(error) if is(&error, Errno::EBUSY) => return Err(error),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn build(name: &str, mode: Mode) -> io::Result<SyncDevice> {
    let device = DeviceBuilder::new().name(name).layer(Layer::L3).inherit_enable_state();
    let device = device.multi_queue(mode.several).offload(mode.offload).build_sync()?;
    device.set_nonblocking(true)?;
    Ok(device)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("name", &self.name)
            .field("offload", &self.offload)
            .field("queues", &self.queues.len())
            .finish_non_exhaustive()
    }
}
