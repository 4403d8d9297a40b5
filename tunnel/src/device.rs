//! The TUN device.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::Error;
use crate::coalesce::Joins;
use crate::vnet;

/// How many packets, or super-packets, wait in the device for us. With 64 KiB in each a longer queue
/// only delays them, and makes a sender believe in room that is not there.
const QUEUE: u32 = 128;

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
    inner: SyncDevice,
    name: String,
    offload: Offload,
}

impl Device {
    /// Makes the device, or takes over the one that an earlier process left, with as much offload as the
    /// kernel gives.
    pub fn open(name: &str) -> Result<Self, Error> {
        let inner = match build(name, true) {
            Err(error) if !is_busy(&error) => {
                tracing::warn!(device = name, %error, "the tunnel does without offload and is slow");
                build(name, false)
            }
            built => built,
        };
        let inner = inner.map_err(|source| {
            let name = name.to_owned();
            if is_busy(&source) { Error::Held { name } } else { Error::Open { name, source } }
        })?;
        inner.persist().map_err(|source| Error::Persist { name: name.to_owned(), source })?;
        inner
            .set_nonblocking(true)
            .map_err(|source| Error::Open { name: name.to_owned(), source })?;
        let offload = match (inner.tcp_gso(), inner.udp_gso()) {
            (true, true) => Offload::TcpAndUdp,
            (true, false) => Offload::Tcp,
            (false, _) => Offload::Nothing,
        };
        if offload != Offload::Nothing
            && let Err(error) = inner.set_tx_queue_len(QUEUE)
        {
            tracing::debug!(device = name, %error, "the device keeps the length of its queue");
        }
        tracing::debug!(device = name, ?offload, "the device is open");
        Ok(Self { inner, name: name.to_owned(), offload })
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

    /// How many bytes come before each packet, in both directions.
    pub(crate) fn header(&self) -> usize {
        if self.offload == Offload::Nothing { 0 } else { vnet::LEN }
    }

    pub(crate) fn joins(&self) -> Joins {
        Joins { tcp: self.offload != Offload::Nothing, udp: self.offload == Offload::TcpAndUdp }
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.recv(buffer)
    }

    pub(crate) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.inner.send_vectored(slices)
    }
}

fn build(name: &str, offload: bool) -> io::Result<SyncDevice> {
    let device = DeviceBuilder::new().name(name).layer(Layer::L3).offload(offload);
    device.inherit_enable_state().build_sync()
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EBUSY as i32)
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("name", &self.name)
            .field("offload", &self.offload)
            .finish_non_exhaustive()
    }
}
