//! What the kernel's tables hold, and what can be asked of them, as values.

use std::fmt;
use std::net::IpAddr;

use twill_core::device::IfIndex;
use twill_core::ids::{Mac, Mtu, Subnet};

/// An interface as the kernel shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// Its number.
    pub index: IfIndex,
    /// Its name.
    pub name: String,
    /// What kind of virtual device it is, in the kernel's word (`veth`, `bridge`, …).
    pub kind: Option<String>,
    /// Its hardware address, if it has one of Ethernet's length.
    pub mac: Option<Mac>,
    /// What it carries, in bytes. Loopback has more than any [`Mtu`] can say.
    pub mtu: u32,
    /// Is it administratively up?
    pub up: bool,
    /// The bridge that it is a port of.
    pub bridge: Option<IfIndex>,
}

/// A bridge to make: up, without VLANs, with a hardware address that stays.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: Mac,
    /// What it carries.
    pub mtu: Mtu,
}

/// Two interfaces to make, each the other's far end. The end in this namespace is up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VethPair<'a> {
    /// The end in this namespace.
    pub host: VethEnd<'a>,
    /// The end in the other namespace.
    pub peer: VethEnd<'a>,
    /// The bridge that the end in this namespace becomes a port of.
    pub bridge: Option<IfIndex>,
}

/// One end of a pair.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VethEnd<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it carries.
    pub mtu: Mtu,
    /// Its hardware address; the kernel draws one if not given.
    pub mac: Option<Mac>,
}

/// What to change on an interface; what is left out stays.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LinkChange {
    /// Bring it up.
    pub up: bool,
    /// What it carries.
    pub mtu: Option<Mtu>,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// The bridge that it becomes a port of.
    pub bridge: Option<IfIndex>,
}

/// An address on an interface. One of IPv6 is used at once, without asking whether others have it
/// (RFC 4862, 5.4): whoever gives addresses away here knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Address {
    /// The interface.
    pub link: IfIndex,
    /// The address.
    pub address: IpAddr,
    /// The length of the prefix that is on the link.
    pub prefix_length: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} on interface {}", self.address, self.prefix_length, self.link.0)
    }
}

/// A unicast route of the main table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Route {
    /// Where it leads; `0.0.0.0/0` and `::/0` are the default routes.
    pub destination: Subnet,
    /// The next hop; none if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The interface; the kernel finds it by the gateway if not given.
    pub link: Option<IfIndex>,
    /// Who made it: a number of `/etc/iproute2/rt_protos`.
    pub protocol: u8,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.destination.fmt(f)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        Ok(())
    }
}
