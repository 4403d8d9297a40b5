//! VXLAN devices: what one is made of, and how to get there from what there is.

use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

use netlink_packet_route::link::{InfoVxlan, VxlanDf};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVxlan};
use twill_core::device::Vxlan;

use super::super::link::{Kind, Link, Shape};
use super::super::{Kernel, reason};
use super::LINUX_PORT;
use crate::{Error, sysctl};

impl Kernel {
    pub(super) async fn ensure_vxlan(&self, spec: &Vxlan) -> Result<Link, Error> {
        let link = match self.link(&spec.name).await? {
            Some(link) if link.kind == Kind::Vxlan(wanted(spec)) => link,
            Some(link) => self.mend(spec, link).await?,
            None => match self.under_another_name(spec).await? {
                Some(link) => self.rename(link, &spec.name).await?,
                None => self.create(spec).await?,
            },
        };
        if link.mac != Some(spec.mac) {
            self.mended.devices.fetch_add(1, Relaxed);
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
        if spec.address.0.is_ipv6() && sysctl::ensure_ipv6(&spec.name)? {
            self.mended.devices.fetch_add(1, Relaxed);
        }
        Ok(link)
    }

    /// A device that is there and wrong: changed in place, or made anew.
    async fn mend(&self, spec: &Vxlan, link: Link) -> Result<Link, Error> {
        self.mended.devices.fetch_add(1, Relaxed);
        if let Kind::Vxlan(shape) = &link.kind {
            // The kernel keeps the way to a peer, with our address, for each row: they are written anew
            // behind the change. Should that not come about, rows are missing, which is seen.
            let moves = shape.local != Some(spec.local.0);
            let rows = if moves { self.take_forwarding(link.index).await? } else { Vec::new() };
            let change = attributes(spec, LinkVxlan::new(&spec.name, spec.vni.number()));
            // What the kernel refuses to change, a new device gets.
            let changed = self.handle.link().change(change.index(link.index.0).build());
            if changed.execute().await.is_ok()
                && let Some(link) = self.link(&spec.name).await?
                && link.kind == Kind::Vxlan(wanted(spec))
            {
                self.put_forwarding(&rows).await?;
                return Ok(link);
            }
        }
        self.delete(&link).await?;
        self.create(spec).await
    }

    /// Our device, if somebody renamed it: the kernel has no room for a second one like it.
    async fn under_another_name(&self, spec: &Vxlan) -> Result<Option<Link>, Error> {
        let ours =
            |link: &Link| link.kind == Kind::Vxlan(wanted(spec)) && link.mac == Some(spec.mac);
        Ok(self.links().await?.into_iter().find(ours))
    }

    async fn create(&self, spec: &Vxlan) -> Result<Link, Error> {
        self.mended.devices.fetch_add(1, Relaxed);
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

    // Peers send to the address in our lease. Others (udev, for one) are known to change it as
    // soon as a device appears.
    pub(super) async fn check_mac(&self, spec: &Vxlan) -> Result<(), Error> {
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
        df: VxlanDf::Unset.into(),
        ..Shape::default()
    }
}

/// What can be said to the kernel both of a new device and of one that is there. A port is not
/// among it, not even the one that the device has.
fn attributes(
    spec: &Vxlan,
    message: LinkMessageBuilder<LinkVxlan>,
) -> LinkMessageBuilder<LinkVxlan> {
    // A way that carries less than the uplink must not swallow them.
    let may_be_cut = InfoVxlan::Df(VxlanDf::Unset);
    let message = message.dev(spec.uplink.0).learning(spec.learning);
    let message = match spec.local.0 {
        IpAddr::V4(local) => message.local(local),
        IpAddr::V6(local) => message.local6(local),
    };
    message.append_info_data(may_be_cut)
}
