//! Leases: which host owns which subnet, as the keys and values of `<prefix>/subnets/`.
//!
//! Key and value are flannel's, byte for byte, with one member of ours at the end of the value, so
//! that flanneld and `twilld` read each other's leases.

mod value;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::ids::{Family, LeaseId, Revision, Subnet};

pub use value::{Beside, LeaseBackend, LeaseValue, TunnelEnd, ValueError, Vtep};

/// One subnet with its owner, as etcd holds it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lease {
    /// The key, without the prefix.
    pub key: Key,
    /// What the owner says about itself.
    pub value: LeaseValue,
    /// When the key was last written.
    pub revision: Revision,
    /// The etcd lease that the key ends with; `None` makes it a reservation, which never ends.
    pub lease_id: Option<LeaseId>,
}

impl Lease {
    /// The block of addresses that is owned, of IPv4 if there are two.
    #[must_use]
    pub fn subnet(&self) -> Subnet {
        self.key.subnet
    }

    /// What it says about addresses of one family, as a lease of that family alone; `None` if it has none.
    #[must_use]
    pub fn half(&self, family: Family) -> Option<Self> {
        let key = self.key.of(family)?.into();
        Some(Self { key, value: self.value.half(family), ..self.clone() })
    }
}

/// The last part of a lease's key: `10.5.52.0-24`, with both families `10.5.52.0-24&fd00:1::-64`, and
/// with IPv6 alone `0.0.0.0-0&fd00:1::-64`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// The IPv4 block, or that of IPv6 if there is no other.
    pub subnet: Subnet,
    /// The IPv6 block of a host with both families.
    pub ipv6: Option<Subnet>,
}

impl From<Subnet> for Key {
    fn from(subnet: Subnet) -> Self {
        Self { subnet, ipv6: None }
    }
}

/// Why the last part of a key names no lease.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// It has another form.
    #[error("`{text}` does not have the form 10.5.52.0-24")]
    Form {
        /// The text.
        text: String,
    },
    /// The block is not one that a host can own.
    #[error(
        "`{text}` is no block of addresses: the length must be 1 to 31, or 1 to 127 with IPv6, and \
         the host bits zero"
    )]
    Block {
        /// The text.
        text: String,
    },
}

/// A key or value under `subnets/` that is no lease. It removes nobody, but it is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Malformed {
    /// The key, without the prefix.
    pub key: String,
    /// The lease that it would be, when only the value is at fault: its subnet is not free.
    pub lease: Option<Key>,
    /// What is wrong.
    pub why: String,
    /// When the key was last written.
    pub revision: Revision,
}

/// Everything under `subnets/` at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listing {
    /// The leases.
    pub leases: Vec<Lease>,
    /// What is no lease.
    pub malformed: Vec<Malformed>,
    /// The moment: a watch from the revision after it misses nothing.
    pub revision: Revision,
}

/// What happened to one key under `subnets/`, or to all of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A lease was written.
    Put(Lease),
    /// A lease was deleted or ran out.
    Gone(Key, Revision),
    /// Something was written that is no lease.
    Malformed(Malformed),
    /// A key that names no lease was deleted.
    GoneMalformed(String, Revision),
    /// All that is there now, in place of all that was known.
    Snapshot(Listing),
}

impl Event {
    /// The revision that it brings us to.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(lease) => lease.revision,
            Self::Malformed(malformed) => malformed.revision,
            Self::Gone(_, revision) | Self::GoneMalformed(_, revision) => *revision,
            Self::Snapshot(listing) => listing.revision,
        }
    }
}

/// What flannel writes in place of the IPv4 block that a host has not.
const NO_IPV4: &str = "0.0.0.0-0&";

// === impl Key ===

impl Key {
    /// All blocks that it takes: one of each family.
    pub fn blocks(&self) -> impl Iterator<Item = Subnet> + use<> {
        [Some(self.subnet), self.ipv6].into_iter().flatten()
    }

    /// Its block of that family, if it has one.
    #[must_use]
    pub fn of(&self, family: Family) -> Option<Subnet> {
        self.blocks().find(|block| block.family() == family)
    }

    /// Do the two share an address of either family?
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.blocks().any(|block| other.blocks().any(|theirs| theirs.overlaps(block)))
    }

    /// For people: the block, or the two with a comma.
    #[must_use]
    pub fn words(&self) -> String {
        self.blocks().map(|block| block.to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subnet.family() == Family::V6 {
            f.write_str(NO_IPV4)?;
        }
        write!(f, "{}-{}", self.subnet.base(), self.subnet.len())?;
        if let Some(ipv6) = self.ipv6 {
            write!(f, "&{}-{}", ipv6.base(), ipv6.len())?;
        }
        Ok(())
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let form = || KeyError::Form { text: text.to_owned() };
        let block = || KeyError::Block { text: text.to_owned() };
        let (v4, v6) = text.split_once('&').map_or((text, None), |(v4, v6)| (v4, Some(v6)));
        let v6 = match v6.map(|v6| split::<Ipv6Addr>(v6).ok_or_else(form)).transpose()? {
            Some((base, len)) => Some(owned(base.into(), len).ok_or_else(block)?),
            None => None,
        };
        if let (Some(subnet), true) = (v6, text.starts_with(NO_IPV4)) {
            return Ok(subnet.into());
        }
        let (base, len) = split::<Ipv4Addr>(v4).ok_or_else(form)?;
        Ok(Self { subnet: owned(base.into(), len).ok_or_else(block)?, ipv6: v6 })
    }
}

/// A block that a host can own: more than one address, and not all of them.
fn owned(base: IpAddr, len: u8) -> Option<Subnet> {
    Subnet::new(base, len).filter(|block| (1..block.family().bits()).contains(&block.len()))
}

fn split<Address: FromStr>(text: &str) -> Option<(Address, u8)> {
    let (base, len) = text.rsplit_once('-')?;
    let digits = !len.is_empty() && len.bytes().all(|digit| digit.is_ascii_digit());
    Some((base.parse().ok()?, digits.then(|| len.parse().ok()).flatten()?))
}

#[cfg(test)]
mod tests;
