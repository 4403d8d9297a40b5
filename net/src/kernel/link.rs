//! Interfaces as the kernel describes them, reduced to what we look at.

use std::net::IpAddr;

use futures::{StreamExt, TryStreamExt};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use nix::libc;
use twill_core::device::IfIndex;
use twill_core::ids::{Family, Mac};

use super::family::address_family;
use super::{Kernel, reason};
use crate::Error;

/// One interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Link {
    pub(super) index: IfIndex,
    pub(super) name: String,
    pub(super) mtu: u32,
    pub(super) up: bool,
    pub(super) mac: Option<Mac>,
    pub(super) kind: Kind,
}

/// What sort of interface it is, as far as we care.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Vxlan(Shape),
    Tun,
    Wireguard,
    Other,
}

/// What makes one VXLAN device differ from another, apart from MTU, address and state.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the kernel has as many attributes")]
pub(super) struct Shape {
    pub(super) vni: u32,
    pub(super) link: u32,
    pub(super) local: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) learning: bool,
    pub(super) gbp: bool,
    /// Whether routers may cut its packets: 0 is yes (`IFLA_VXLAN_DF`).
    pub(super) df: u8,
    /// Anything that a tunnel device of ours never has: a default destination, misses reported to user space,
    /// metadata mode.
    pub(super) alien: bool,
    /// Metadata mode, and any protocol inside: what a lift has.
    pub(super) metadata: bool,
    pub(super) gpe: bool,
}

/// One address of an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Address {
    pub(super) index: IfIndex,
    pub(super) local: IpAddr,
    pub(super) prefix_len: u8,
    pub(super) flags: AddressFlags,
}

impl Kernel {
    /// What each interface carries, in bytes, by name.
    pub async fn sizes(&self) -> Result<Vec<(String, u32)>, Error> {
        Ok(self.links().await?.into_iter().map(|link| (link.name, link.mtu)).collect())
    }

    pub(super) async fn links(&self) -> Result<Vec<Link>, Error> {
        let links = self.list("interfaces", |handle| handle.link().get().execute()).await?;
        Ok(links.iter().map(Link::from).collect())
    }

    pub(super) async fn link(&self, name: &str) -> Result<Option<Link>, Error> {
        let mut found = self.handle.link().get().match_name(name).execute().boxed();
        match found.try_next().await.map_err(reason) {
            Ok(message) => Ok(message.as_ref().map(Link::from)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(source) => Err(Error::List { table: "interfaces", source }),
        }
    }

    /// The addresses of all interfaces, of one family, in the kernel's order.
    pub(super) async fn addresses(&self, family: Family) -> Result<Vec<Address>, Error> {
        let messages = self.list("addresses", move |handle| {
            let mut request = handle.address().get();
            request.message_mut().header.family = address_family(family);
            request.execute()
        });
        let messages = messages.await?;
        Ok(messages.iter().filter_map(address).collect())
    }
}

fn address(message: &AddressMessage) -> Option<Address> {
    // On a link with two ends the other one is `Address`, and ours `Local`. IPv6 knows no others
    // than `Address` otherwise.
    let (mut found, mut other) = (None, None);
    let mut flags = AddressFlags::empty();
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(local) => found = Some(*local),
            AddressAttribute::Address(address) => other = Some(*address),
            AddressAttribute::Flags(bits) => flags = *bits,
            _other => {}
        }
    }
    let index = IfIndex(message.header.index);
    let prefix_len = message.header.prefix_len;
    found.or(other).map(|local| Address { index, local, prefix_len, flags })
}

impl From<&LinkMessage> for Link {
    fn from(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: IfIndex(message.header.index),
            name: String::new(),
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            mac: None,
            kind: Kind::Other,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Address(bytes) => {
                    link.mac = bytes.as_slice().try_into().ok().map(Mac);
                }
                LinkAttribute::LinkInfo(infos) => link.kind = kind(infos),
                _other => {}
            }
        }
        link
    }
}

fn kind(infos: &[LinkInfo]) -> Kind {
    let mut kind = Kind::Other;
    for info in infos {
        match info {
            LinkInfo::Kind(InfoKind::Tun) => kind = Kind::Tun,
            LinkInfo::Kind(InfoKind::Wireguard) => kind = Kind::Wireguard,
            LinkInfo::Data(InfoData::Vxlan(attributes)) => kind = Kind::Vxlan(shape(attributes)),
            _other => {}
        }
    }
    kind
}

fn shape(attributes: &[InfoVxlan]) -> Shape {
    let mut shape = Shape::default();
    for attribute in attributes {
        match attribute {
            InfoVxlan::Id(vni) => shape.vni = *vni,
            InfoVxlan::Link(link) => shape.link = *link,
            InfoVxlan::Local(local) => shape.local = Some((*local).into()),
            InfoVxlan::Local6(local) => shape.local = Some((*local).into()),
            InfoVxlan::Port(port) => shape.port = *port,
            InfoVxlan::Learning(learning) => shape.learning = *learning,
            InfoVxlan::Gbp => shape.gbp = true,
            InfoVxlan::Df(mark) => shape.df = u8::from(*mark),
            InfoVxlan::Group(_)
            | InfoVxlan::Group6(_)
            | InfoVxlan::L2Miss(true)
            | InfoVxlan::L3Miss(true) => shape.alien = true,
            InfoVxlan::CollectMetadata(true) => (shape.alien, shape.metadata) = (true, true),
            InfoVxlan::Gpe => (shape.alien, shape.gpe) = (true, true),
            _other => {}
        }
    }
    shape
}
