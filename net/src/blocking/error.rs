//! Why the kernel's network is not as asked, in words.

use std::fmt;
use std::io;

use nix::libc;
use twill_core::device::IfIndex;
use twill_core::ids::Mac;

use super::{Address, Route};
use crate::netns;

/// Why the kernel's network is not as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket of the routing family.
    #[error("cannot open a netlink socket")]
    Open {
        /// What the kernel says.
        source: io::Error,
    },
    /// The namespace to work in cannot be entered.
    #[error("cannot reach the network namespace")]
    Netns {
        /// What stands in the way.
        #[from]
        source: netns::Error,
    },
    /// The conversation broke, or the kernel said no.
    #[error("cannot {operation}")]
    Refused {
        /// What was asked.
        operation: Operation,
        /// What the kernel says.
        source: io::Error,
    },
}

impl Error {
    /// The kernel's error number, if it was the kernel that said no.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            Self::Open { .. } | Self::Netns { .. } => None,
        }
    }

    /// Was something with this name there already?
    pub fn is_already_there(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }
}

/// What was asked of the kernel, for words about it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the variants read as sentences")]
pub enum Operation {
    FindLink(String),
    FindLinkAt(IfIndex),
    ListLinks,
    ListAddresses,
    ListRoutes,
    AddBridge(String),
    AddVeth { host: String, peer: String },
    ChangeLink(IfIndex),
    SetHairpin(IfIndex),
    DropLink(IfIndex),
    AddAddress(Address),
    DropAddress(Address),
    PutRoute(Route),
    DropRoute(Route),
    Raise(IfIndex),
    GuardSources(IfIndex),
    ListRefused,
    HoldMac(Mac, IfIndex),
    ReleaseMac(Mac, IfIndex),
    LimitRate(IfIndex),
    ListLimits,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FindLink(name) => write!(f, "look for interface {name}"),
            Self::FindLinkAt(index) => write!(f, "look for interface {}", index.0),
            Self::ListLinks => f.write_str("list the interfaces"),
            Self::ListAddresses => f.write_str("list the addresses"),
            Self::ListRoutes => f.write_str("list the routes"),
            Self::AddBridge(name) => write!(f, "make bridge {name}"),
            Self::AddVeth { host, peer } => write!(f, "make the veth pair {host} and {peer}"),
            Self::ChangeLink(index) => write!(f, "change interface {}", index.0),
            Self::SetHairpin(index) => write!(f, "set the hairpin mode of interface {}", index.0),
            Self::DropLink(index) => write!(f, "remove interface {}", index.0),
            Self::AddAddress(address) => write!(f, "add address {address}"),
            Self::DropAddress(address) => write!(f, "remove address {address}"),
            Self::PutRoute(route) => write!(f, "add route {route}"),
            Self::DropRoute(route) => write!(f, "remove route {route}"),
            Self::Raise(index) => write!(f, "bring up interface {}", index.0),
            Self::ListRefused => f.write_str("list what ports have refused"),
            Self::GuardSources(index) => {
                write!(f, "filter the sources that come in at interface {}", index.0)
            }
            Self::HoldMac(mac, index) => write!(f, "hold {mac} at port {} of its bridge", index.0),
            Self::LimitRate(index) => write!(f, "limit what interface {} sends", index.0),
            Self::ListLimits => f.write_str("list what limits interfaces"),
            Self::ReleaseMac(mac, index) => {
                write!(f, "release {mac} at port {} of its bridge", index.0)
            }
        }
    }
}
