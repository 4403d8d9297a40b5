//! Makes the tunnel device, or mends the one that is there, with as little disturbance as it takes.

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::InfoVxlan;
use nix::libc;
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVxlan};
use twill_core::device::{DeviceSpec, IfIndex, Vxlan};
use twill_core::ids::{Gateway, Mac, Mtu};

use super::link::{Kind, Link, Shape};
use super::{Kernel, reason, unless};
use crate::{Error, sysctl};

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
        };
        self.ensure_mtu(&link, spec.mtu()).await?;
        self.ensure_only_address(&link, address).await?;
        self.ensure_up(&link).await?;
        if let DeviceSpec::Vxlan(vxlan) = spec {
            self.check_mac(vxlan).await?;
        }
        Ok(link.index)
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

    async fn existing_tun(&self, name: &str) -> Result<Link, Error> {
        let link = self.link(name).await?;
        let link = link.ok_or_else(|| Error::NoInterface { name: name.to_owned() })?;
        match link.kind {
            Kind::Tun => Ok(link),
            _other => Err(Error::ForeignInterface { name: link.name, wanted: "a TUN device" }),
        }
    }

    async fn ensure_vxlan(&self, spec: &Vxlan) -> Result<Link, Error> {
        let link = match self.link(&spec.name).await? {
            Some(link) => self.mend(spec, link).await?,
            None => self.create(spec).await?,
        };
        if link.mac != Some(spec.mac) {
            let address =
                LinkUnspec::new_with_index(link.index.0).address(spec.mac.0.to_vec()).build();
            let set = self.handle.link().set(address).execute().await;
            set.map_err(|error| Error::SetInterface {
                name: link.name.clone(),
                property: "hardware address",
                source: reason(error),
            })?;
        }
        // Before the device is up, so that no router advertisement is ever believed.
        sysctl::ensure_no_router_advertisements(&spec.name)?;
        Ok(link)
    }

    /// A device that is there and may be wrong: as it is, changed in place, or made anew.
    async fn mend(&self, spec: &Vxlan, link: Link) -> Result<Link, Error> {
        if link.kind == Kind::Vxlan(wanted(spec)) {
            return Ok(link);
        }
        if matches!(link.kind, Kind::Vxlan(_)) {
            let change = attributes(spec, LinkVxlan::new(&spec.name, spec.vni.number()));
            // What the kernel refuses to change, a new device gets.
            let changed = self.handle.link().change(change.index(link.index.0).build());
            if changed.execute().await.is_ok()
                && let Some(link) = self.link(&spec.name).await?
                && link.kind == Kind::Vxlan(wanted(spec))
            {
                return Ok(link);
            }
        }
        self.delete(&link).await?;
        self.create(spec).await
    }

    async fn create(&self, spec: &Vxlan) -> Result<Link, Error> {
        let message = attributes(spec, LinkVxlan::new(&spec.name, spec.vni.number()))
            .port(spec.port.unwrap_or(LINUX_PORT))
            .address(spec.mac.0.to_vec())
            .mtu(spec.mtu.bytes());
        let message = if spec.gbp { message.append_info_data(InfoVxlan::Gbp) } else { message };
        let created = self.handle.link().add(message.build()).execute().await;
        created.map_err(|error| Error::CreateInterface {
            name: spec.name.clone(),
            source: reason(error),
        })?;
        let link = self.link(&spec.name).await?;
        link.ok_or_else(|| Error::NoInterface { name: spec.name.clone() })
    }

    async fn delete(&self, link: &Link) -> Result<(), Error> {
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
        let all = self.addresses().await?;
        let (present, stale): (Vec<Ipv4Addr>, _) = all
            .iter()
            .filter(|address| address.index == link.index && address.prefix_len == 32)
            .map(|address| address.local)
            .partition(|address| *address == wanted.0);
        // The new one first: with its last address a device loses its routes as well.
        if present.is_empty() {
            let add = self.handle.address().add(link.index.0, IpAddr::V4(wanted.0), 32);
            unless(add.execute().await, &[libc::EEXIST]).map_err(|source| Error::AddAddress {
                name: link.name.clone(),
                address: wanted.0,
                source,
            })?;
        }
        for address in stale {
            self.drop_address(link, address).await?;
        }
        Ok(())
    }

    async fn drop_address(&self, link: &Link, address: Ipv4Addr) -> Result<(), Error> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = 32;
        message.header.index = link.index.0;
        message.attributes.push(AddressAttribute::Local(address.into()));
        let deleted = self.handle.address().del(message).execute().await;
        unless(deleted, &[libc::EADDRNOTAVAIL]).map_err(|source| Error::DeleteAddress {
            name: link.name.clone(),
            address,
            source,
        })
    }

    // Peers send to the address in our lease. Others (udev, for one) are known to change it as
    // soon as a device appears.
    async fn check_mac(&self, spec: &Vxlan) -> Result<(), Error> {
        let link = self.link(&spec.name).await?;
        let link = link.ok_or_else(|| Error::NoInterface { name: spec.name.clone() })?;
        match link.mac {
            Some(found) if found != spec.mac => {
                Err(Error::ChangedMac { name: link.name, wanted: spec.mac, found })
            }
            _right => Ok(()),
        }
    }
}

fn wanted(spec: &Vxlan) -> Shape {
    Shape {
        vni: spec.vni.number(),
        link: spec.uplink.0,
        local: Some(spec.local.0),
        port: spec.port.unwrap_or(LINUX_PORT),
        learning: spec.learning,
        gbp: spec.gbp,
        alien: false,
    }
}

/// What can be said to the kernel both of a new device and of one that is there. A port is not
/// among it, not even the one that the device has.
fn attributes(
    spec: &Vxlan,
    message: LinkMessageBuilder<LinkVxlan>,
) -> LinkMessageBuilder<LinkVxlan> {
    message.dev(spec.uplink.0).local(spec.local.0).learning(spec.learning)
}
