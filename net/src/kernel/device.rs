//! Makes the tunnel device, or mends the one that is there, with as little disturbance as it takes.

mod lift;
mod vxlan;

use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use nix::libc;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};
use twill_core::device::{DeviceSpec, IfIndex, Vxlan};
use twill_core::ids::{Family, Gateway, Mac, Mtu};

use super::family::address_family;
use super::link::{Kind, Link};
use super::{Kernel, reason, unless};
use crate::Error;

pub use lift::{lift_of, lifts_for};

/// The port that Linux gives a VXLAN device which asks for none. It predates the one that IANA
/// assigned, 4789, and is what flannel uses.
const LINUX_PORT: u16 = 8472;

impl Kernel {
    /// Brings the tunnel device to the state that `spec` describes, and returns its number.
    ///
    /// A device that is already right is not touched, so that the rows on it, and the flows over
    /// it, survive our restart. One that differs is changed in place where the kernel can do that
    /// and made anew where it cannot, which loses its rows: plan again afterwards.
    ///
    /// A TUN device is made by the process that reads from it; only its MTU, address and state are
    /// seen to here.
    pub async fn ensure_device(&self, spec: &DeviceSpec) -> Result<IfIndex, Error> {
        let (link, address) = match spec {
            DeviceSpec::Tun(tun) => (self.existing_tun(&tun.name).await?, tun.address),
            DeviceSpec::Vxlan(vxlan) => (self.ensure_vxlan(vxlan).await?, vxlan.address),
            DeviceSpec::Wireguard(spec) => (self.ensure_wireguard(spec).await?, spec.address),
        };
        self.ensure_mtu(&link, spec.mtu()).await?;
        self.ensure_only_address(&link, address).await?;
        self.ensure_up(&link).await?;
        if let DeviceSpec::Vxlan(vxlan) = spec {
            self.check_mac(vxlan).await?;
        }
        Ok(link.index)
    }

    /// VXLAN devices of one port share a socket, which carries group policy for all of them or for
    /// none. Takes those of `specs` away that stand and are to change in that, if there is more than
    /// one of a port: each alone would find the socket of the others in its way.
    pub async fn make_room(&self, specs: &[DeviceSpec]) -> Result<(), Error> {
        let vxlans = || {
            specs.iter().filter_map(|spec| match spec {
                DeviceSpec::Vxlan(vxlan) => Some(vxlan),
                DeviceSpec::Tun(_) | DeviceSpec::Wireguard(_) => None,
            })
        };
        for spec in vxlans() {
            let port = |spec: &Vxlan| spec.port.unwrap_or(LINUX_PORT);
            if vxlans().filter(|other| port(other) == port(spec)).count() < 2 {
                continue;
            }
            let Some(link) = self.link(&spec.name).await? else { continue };
            if matches!(&link.kind, Kind::Vxlan(shape) if shape.gbp != spec.gbp) {
                self.delete(&link).await?;
            }
        }
        Ok(())
    }

    /// The hardware address of a VXLAN device that is there; `None` if there is no such device, or
    /// if it is something else. A host that took over from flanneld goes on with this address.
    pub async fn vxlan_mac(&self, name: &str) -> Result<Option<Mac>, Error> {
        let link = self.link(name).await?;
        Ok(link.filter(|link| matches!(link.kind, Kind::Vxlan(_))).and_then(|link| link.mac))
    }

    /// Deletes an interface by name; one that is not there is a success.
    pub async fn drop_device(&self, name: &str) -> Result<(), Error> {
        match self.link(name).await? {
            Some(link) => self.delete(&link).await,
            None => Ok(()),
        }
    }

    /// Gives a TUN device its name back that somebody renamed; tells whether that was so.
    pub async fn restore_name(&self, index: IfIndex, name: &str) -> Result<bool, Error> {
        let renamed =
            |link: &Link| link.index == index && link.name != name && link.kind == Kind::Tun;
        let Some(link) = self.links().await?.into_iter().find(renamed) else { return Ok(false) };
        self.rename(link, name).await.map(|_link| true)
    }

    pub(super) async fn rename(&self, link: Link, name: &str) -> Result<Link, Error> {
        // Kernels before 6.2 rename nothing that is up.
        self.set(&link, "state", LinkMessageBuilder::down).await?;
        self.set(&link, "name", |message| message.name(name.to_owned())).await?;
        Ok(Link { name: name.to_owned(), up: false, ..link })
    }

    async fn existing_tun(&self, name: &str) -> Result<Link, Error> {
        let link = self.link(name).await?;
        let link = link.ok_or_else(|| Error::NoInterface { name: name.to_owned() })?;
        match link.kind {
            Kind::Tun => Ok(link),
            _other => Err(Error::ForeignInterface { name: link.name, wanted: "a TUN device" }),
        }
    }

    pub(super) async fn delete(&self, link: &Link) -> Result<(), Error> {
        let deleted = self.handle.link().del(link.index.0).execute().await;
        unless(deleted, &[libc::ENODEV])
            .map_err(|source| Error::DeleteInterface { name: link.name.clone(), source })
    }

    async fn ensure_mtu(&self, link: &Link, mtu: Mtu) -> Result<(), Error> {
        if link.mtu == mtu.bytes() {
            return Ok(());
        }
        self.set(link, "MTU", |link| link.mtu(mtu.bytes())).await
    }

    async fn ensure_up(&self, link: &Link) -> Result<(), Error> {
        if link.up {
            return Ok(());
        }
        self.set(link, "state", LinkMessageBuilder::up).await
    }

    async fn set(
        &self,
        link: &Link,
        property: &'static str,
        with: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), Error> {
        self.mended.devices.fetch_add(1, Relaxed);
        let message = with(LinkUnspec::new_with_index(link.index.0)).build();
        let set = self.handle.link().set(message).execute().await;
        set.map_err(|error| Error::SetInterface {
            name: link.name.clone(),
            property,
            source: reason(error),
        })
    }

    /// The address, and none of the other host addresses that an earlier subnet left behind.
    /// Longer ranges are somebody else's and stay.
    async fn ensure_only_address(&self, link: &Link, wanted: Gateway) -> Result<(), Error> {
        let family = Family::of(wanted.0);
        let all = self.addresses(family).await?;
        let (present, stale): (Vec<IpAddr>, _) = all
            .iter()
            .filter(|address| address.index == link.index && address.prefix_len == family.bits())
            .map(|address| address.local)
            .partition(|address| *address == wanted.0);
        // The new one first: with its last address a device loses its routes as well.
        if present.is_empty() {
            self.mended.addresses.fetch_add(1, Relaxed);
            let mut add = self.handle.address().add(link.index.0, wanted.0, family.bits());
            if family == Family::V6 {
                // Nobody answers on a tunnel whether another has it, so it is not to wait for that.
                let parts = &mut add.message_mut().attributes;
                parts.push(AddressAttribute::Flags(AddressFlags::Nodad));
            }
            unless(add.execute().await, &[libc::EEXIST]).map_err(|source| Error::AddAddress {
                name: link.name.clone(),
                address: wanted.0,
                source,
            })?;
        }
        for address in stale {
            self.mended.addresses.fetch_add(1, Relaxed);
            self.drop_address(link, address).await?;
        }
        Ok(())
    }

    async fn drop_address(&self, link: &Link, address: IpAddr) -> Result<(), Error> {
        let mut message = AddressMessage::default();
        let family = Family::of(address);
        message.header.family = address_family(family);
        message.header.prefix_len = family.bits();
        message.header.index = link.index.0;
        message.attributes.push(AddressAttribute::Local(address));
        let deleted = self.handle.address().del(message).execute().await;
        unless(deleted, &[libc::EADDRNOTAVAIL]).map_err(|source| Error::DeleteAddress {
            name: link.name.clone(),
            address,
            source,
        })
    }
}
