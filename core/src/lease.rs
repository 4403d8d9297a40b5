//! Leases: which host owns which subnet, as the keys and values of `<prefix>/subnets/`.
//!
//! Key and value are flannel's, byte for byte, with one member of ours at the end of the value, so
//! that flanneld and `twilld` read each other's leases.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::Ipv6Network;
use serde::Serialize;
use serde_json::Value;

use crate::ids::{LeaseId, Mac, NodeId, Revision, Subnet, Underlay, Vni};
use crate::json::Members;

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
    /// The block of addresses that is owned.
    #[must_use]
    pub fn subnet(&self) -> Subnet {
        self.key.subnet
    }
}

/// The last part of a lease's key: `10.5.52.0-24`, or with IPv6 `10.5.52.0-24&fd00:1::-64`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// The IPv4 block.
    pub subnet: Subnet,
    /// The IPv6 block of a host with both families. We read it and make no use of it.
    pub ipv6: Option<Ipv6Network>,
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
    #[error("`{text}` is no block of addresses: the length must be 1 to 31 and the host bits zero")]
    Block {
        /// The text.
        text: String,
    },
    /// It is the lease of a host without IPv4.
    #[error("`{text}` has no IPv4 part, and IPv6 alone is not built into this version")]
    Ipv6Only {
        /// The text.
        text: String,
    },
}

/// What an owner says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeaseValue {
    /// Where its end of the tunnel listens; `0.0.0.0` when it did not say.
    pub public_ip: Underlay,
    /// The same for IPv6. We read it and make no use of it.
    pub public_ipv6: Option<Ipv6Addr>,
    /// How to send to it.
    pub backend: LeaseBackend,
    /// Which host it is. Only Twill writes it: a lease of flannel has none.
    pub node: Option<NodeId>,
}

/// The backend of an owner, with what peers need to know for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LeaseBackend {
    /// No name: flannel's `udp` and `alloc` write none.
    Unnamed,
    /// `vxlan`.
    Vxlan {
        /// The network identifier; leases of old flannels lack it.
        vni: Option<Vni>,
        /// The hardware address of the owner's tunnel device.
        mac: Mac,
    },
    /// One that this version cannot send to.
    Other {
        /// Its name.
        name: String,
    },
}

/// Why a value says nothing about an owner.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// It is not a JSON object.
    #[error("the value is not a JSON object: {reason}")]
    NotAnObject {
        /// What the JSON parser met.
        reason: String,
    },
    /// A member holds something else than it should.
    #[error("{member} is {found}, which is not {wanted}")]
    Member {
        /// The member.
        member: &'static str,
        /// What it holds.
        found: String,
        /// What it should hold.
        wanted: &'static str,
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

// === impl Key ===

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.subnet.base(), self.subnet.len())?;
        if let Some(ipv6) = self.ipv6 {
            write!(f, "&{}-{}", ipv6.ip(), ipv6.prefix())?;
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
        let (base, len) = split::<Ipv4Addr>(v4).ok_or_else(form)?;
        let ipv6 = v6
            .map(|v6| {
                let (base, len) = split::<Ipv6Addr>(v6).ok_or_else(form)?;
                Ipv6Network::new(base, len).map_err(|_too_long| block())
            })
            .transpose()?;
        if len == 0 && ipv6.is_some() {
            return Err(KeyError::Ipv6Only { text: text.to_owned() });
        }
        let subnet = Subnet::new(base, len).filter(|subnet| (1..32).contains(&subnet.len()));
        Ok(Self { subnet: subnet.ok_or_else(block)?, ipv6 })
    }
}

fn split<Address: FromStr>(text: &str) -> Option<(Address, u8)> {
    let (base, len) = text.rsplit_once('-')?;
    let digits = !len.is_empty() && len.bytes().all(|digit| digit.is_ascii_digit());
    Some((base.parse().ok()?, digits.then(|| len.parse().ok()).flatten()?))
}

// === impl LeaseValue ===

/// The order of these is the order of the text.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Written<'a> {
    #[serde(rename = "PublicIP")]
    public_ip: Underlay,
    #[serde(rename = "PublicIPv6")]
    public_ipv6: Option<Ipv6Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend_data: Option<VxlanData>,
    #[serde(rename = "TwillNodeID", skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
}

#[derive(Serialize)]
struct VxlanData {
    #[serde(rename = "VNI", skip_serializing_if = "Option::is_none")]
    vni: Option<Vni>,
    #[serde(rename = "VtepMAC")]
    mac: Mac,
}

impl LeaseValue {
    /// The text of the value: compact JSON in flannel's order, our own member last.
    #[must_use]
    pub fn to_json(&self) -> String {
        let (backend_type, backend_data) = match &self.backend {
            LeaseBackend::Unnamed => (None, None),
            LeaseBackend::Vxlan { vni, mac } => {
                (Some("vxlan"), Some(VxlanData { vni: *vni, mac: *mac }))
            }
            LeaseBackend::Other { name } => (Some(name.as_str()), None),
        };
        let written = Written {
            public_ip: self.public_ip,
            public_ipv6: self.public_ipv6,
            backend_type,
            backend_data,
            node: self.node,
        };
        // Strings, numbers and addresses always have a JSON form.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// Reads what any flannel since etcd v3, or a Twill, wrote.
    pub fn parse(text: &[u8]) -> Result<Self, ValueError> {
        let members: Members = serde_json::from_slice(text)
            .map_err(|error| ValueError::NotAnObject { reason: error.to_string() })?;
        let public_ip = match members.last("PublicIP") {
            None => Underlay(Ipv4Addr::UNSPECIFIED),
            Some(found) => text_of(found, "PublicIP", "an IPv4 address")?,
        };
        let public_ipv6 = match plain(&members, "PublicIPv6") {
            None => None,
            Some(found) => Some(text_of(found, "PublicIPv6", "an IPv6 address")?),
        };
        let node = match plain(&members, "TwillNodeID") {
            None => None,
            Some(found) => Some(text_of(found, "TwillNodeID", "a node id")?),
        };
        let backend = LeaseBackend::read(&members)?;
        Ok(Self { public_ip, public_ipv6, backend, node })
    }
}

impl LeaseBackend {
    /// The name in the lease; empty for a backend that writes none.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Unnamed => "",
            Self::Vxlan { .. } => "vxlan",
            Self::Other { name } => name,
        }
    }

    fn read(members: &Members) -> Result<Self, ValueError> {
        let name: String = match plain(members, "BackendType") {
            None => String::new(),
            Some(found) => text_of(found, "BackendType", "a name")?,
        };
        match name.as_str() {
            "" => Ok(Self::Unnamed),
            "vxlan" => {
                let data = members.last("BackendData").unwrap_or(&Value::Null);
                let wanted = "an object with VNI and VtepMAC";
                let object =
                    data.as_object().ok_or_else(|| mismatch(data, "BackendData", wanted))?;
                let object = Members::from(object);
                let mac = object.last("VtepMAC").unwrap_or(&Value::Null);
                let mac = text_of(mac, "VtepMAC", "a hardware address")?;
                Ok(Self::Vxlan { vni: vni(&object)?, mac })
            }
            _ => Ok(Self::Other { name }),
        }
    }
}

/// Go leaves a number out of the object at zero, so that zero and absent mean the same.
fn vni(members: &Members) -> Result<Option<Vni>, ValueError> {
    let Some(found) = plain(members, "VNI") else { return Ok(None) };
    match found.as_u64().and_then(|number| u32::try_from(number).ok()) {
        Some(0) => Ok(None),
        Some(number) if Vni::new(number).is_some() => Ok(Vni::new(number)),
        _ => Err(mismatch(found, "VNI", "a number from 1 to 16777215")),
    }
}

fn plain<'a>(members: &'a Members, name: &'a str) -> Option<&'a Value> {
    members.all(name).rfind(|value| !value.is_null())
}

fn text_of<T: FromStr>(
    found: &Value,
    member: &'static str,
    wanted: &'static str,
) -> Result<T, ValueError> {
    let parsed = found.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| mismatch(found, member, wanted))
}

fn mismatch(found: &Value, member: &'static str, wanted: &'static str) -> ValueError {
    ValueError::Member { member, found: found.to_string(), wanted }
}
