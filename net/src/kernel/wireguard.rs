//! `WireGuard` devices and their peers, by the kernel's generic netlink.
//!
//! The kernel tells nobody when a peer or a key of a device changes: whoever wants to know looks.

mod message;
mod talk;

use std::collections::BTreeMap;
use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use netlink_packet_wireguard::WireguardAttribute as Attribute;
use nix::libc;
use rtnetlink::LinkWireguard;
use twill_core::device::{IfIndex, Keyed, Wireguard};
use twill_core::plan::{Change, Wire};
use twill_core::wireguard::PublicKey;

use super::link::{Kind, Link};
use super::{Kernel, reason};
use crate::{Error, sysctl};
use message::told;

pub(super) use talk::Talk;

/// A device as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Device {
    /// Its port and who it is.
    pub keyed: Keyed,
    /// A mark on its packets, which none of ours has.
    pub(super) mark: u32,
    /// Its peers.
    pub peers: BTreeMap<PublicKey, Met>,
}

/// A peer as the device knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Met {
    /// What is written of it.
    pub wire: Wire,
    /// When the two last agreed on keys.
    pub handshake: Option<SystemTime>,
}

impl Met {
    /// How long ago they did; a clock that went back since makes that nothing.
    #[must_use]
    pub fn ago(&self) -> Option<Duration> {
        let handshake = self.handshake?;
        Some(SystemTime::now().duration_since(handshake).unwrap_or_default())
    }
}

impl Kernel {
    /// Refuses a kernel without `WireGuard`. Asked for it, one that has it as a module loads that.
    pub async fn need_wireguard(&self) -> Result<(), Error> {
        let known = self.talk(|talk| talk.family().map(drop)).await;
        known.map_err(|source| {
            let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
            let release = release.unwrap_or_default().trim().to_owned();
            Error::NoWireguard { release, source }
        })
    }

    /// The device of that number; `None` if it is none of `WireGuard`, or gone.
    pub async fn wireguard(&self, IfIndex(index): IfIndex) -> Result<Option<Device>, Error> {
        let asked = Attribute::IfIndex(index);
        match self.talk(move |talk| talk.list(&asked)).await {
            Ok(parts) => Ok(Some(told(parts))),
            // None of its kind, gone, or no such devices at all.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EOPNOTSUPP | libc::ENODEV | libc::ENOENT)
                ) =>
            {
                Ok(None)
            }
            Err(source) => Err(Error::List { table: "peers of WireGuard", source }),
        }
    }

    pub(super) async fn ensure_wireguard(&self, spec: &Wireguard) -> Result<Link, Error> {
        let link = match self.link(&spec.name).await? {
            Some(link) if link.kind == Kind::Wireguard => link,
            Some(link) => {
                self.delete(&link).await?;
                self.create_wireguard(spec).await?
            }
            None => match self.wireguard_elsewhere(spec).await? {
                Some(link) => self.rename(link, &spec.name).await?,
                None => self.create_wireguard(spec).await?,
            },
        };
        let is = self.wireguard(link.index).await?.unwrap_or_default();
        let mut change = Vec::new();
        let wanted = Keyed { port: spec.port, key: Some(spec.key.public()) };
        if is.keyed.key != wanted.key {
            change.push(Attribute::PrivateKey(spec.key.bytes()));
        }
        if is.keyed.port != wanted.port {
            change.push(Attribute::ListenPort(spec.port));
        }
        if is.mark != 0 {
            change.push(Attribute::Fwmark(0));
        }
        if !change.is_empty() {
            self.mended.devices.fetch_add(1, Relaxed);
            change.insert(0, Attribute::IfIndex(link.index.0));
            let set = self.talk(move |talk| talk.set(&change)).await;
            set.map_err(|source| Error::SetInterface {
                name: link.name.clone(),
                property: "key or port",
                source,
            })?;
        }
        if spec.address.0.is_ipv6() && sysctl::ensure_ipv6(&spec.name)? {
            self.mended.devices.fetch_add(1, Relaxed);
        }
        Ok(link)
    }

    /// Our device, if somebody renamed it: it has the port, so that a second one could not.
    async fn wireguard_elsewhere(&self, spec: &Wireguard) -> Result<Option<Link>, Error> {
        let wanted = Keyed { port: spec.port, key: Some(spec.key.public()) };
        let links = self.links().await?.into_iter();
        for link in links.filter(|link| link.kind == Kind::Wireguard) {
            let device = self.wireguard(link.index).await?;
            if device.is_some_and(|device| device.keyed == wanted) {
                return Ok(Some(link));
            }
        }
        Ok(None)
    }

    async fn create_wireguard(&self, spec: &Wireguard) -> Result<Link, Error> {
        self.mended.devices.fetch_add(1, Relaxed);
        let message = LinkWireguard::new(&spec.name).mtu(spec.mtu.bytes()).build();
        let created = self.handle.link().add(message).execute().await;
        created.map_err(|error| Error::CreateInterface {
            name: spec.name.clone(),
            source: reason(error),
        })?;
        let link = self.link(&spec.name).await?;
        link.ok_or_else(|| Error::NoInterface { name: spec.name.clone() })
    }

    /// Tells devices of peers, in this order. What the kernel refused, and in which words, but for what it
    /// says is so already.
    pub(super) async fn write_wires(
        &self,
        changes: Vec<Change>,
    ) -> Result<Vec<(Change, io::Error)>, Error> {
        let written = self.talk(move |talk| {
            let mut refused = Vec::new();
            for change in changes {
                let Some(request) = message::request(change) else { continue };
                match talk.set(&request) {
                    // A peer goes with its device.
                    Err(error) if matches!(change, Change::DropWire(..)) && is_gone(&error) => {}
                    Err(error) => refused.push((change, error)),
                    Ok(()) => {}
                }
            }
            Ok(refused)
        });
        written.await.map_err(|source| Error::WriteRows { source })
    }

    async fn talk<T: Send + 'static>(
        &self,
        talk: impl FnOnce(&mut Talk) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let wires = std::sync::Arc::clone(&self.wires);
        let talk = tokio::task::spawn_blocking(move || {
            talk(&mut wires.lock().unwrap_or_else(PoisonError::into_inner))
        });
        talk.await.unwrap_or_else(|died| Err(io::Error::other(died)))
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EOPNOTSUPP))
}
