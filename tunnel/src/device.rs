//! The TUN device.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::Error;

/// An open TUN device without queueing, offloads or packet information: one call, one packet.
///
/// Persistent: it outlives the process with its address and its routes, so that a killed agent
/// leaves packets waiting for the next one instead of sending them along the default route.
/// Address, MTU and up are not set here.
pub struct Device {
    inner: SyncDevice,
    name: String,
}

impl Device {
    /// Makes the device, or takes over the one that an earlier process left.
    pub fn open(name: &str) -> Result<Self, Error> {
        let inner = DeviceBuilder::new()
            .name(name)
            .layer(Layer::L3)
            .inherit_enable_state()
            .build_sync()
            .map_err(|source| match Errno::from_raw(source.raw_os_error().unwrap_or(0)) {
                Errno::EBUSY => Error::Held { name: name.to_owned() },
                _other => Error::Open { name: name.to_owned(), source },
            })?;
        inner.persist().map_err(|source| Error::Persist { name: name.to_owned(), source })?;
        inner
            .set_nonblocking(true)
            .map_err(|source| Error::Open { name: name.to_owned(), source })?;
        Ok(Self { inner, name: name.to_owned() })
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.recv(buffer)
    }

    pub(crate) fn write(&self, packet: &[u8]) -> io::Result<usize> {
        self.inner.send(packet)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("name", &self.name).finish_non_exhaustive()
    }
}
