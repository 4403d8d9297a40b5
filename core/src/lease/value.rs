//! The JSON of a lease's value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;

use crate::ids::{Family, Mac, NodeId, Underlay, Vni};
use crate::json::Members;
use crate::wireguard::{self, PublicKey};

/// What an owner says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeaseValue {
    /// Where its end of the tunnel listens; `0.0.0.0` when it did not say. Of IPv6 if it has no other.
    pub public_ip: Underlay,
    /// How to send to it.
    pub backend: LeaseBackend,
    /// The same for packets of IPv6, beside those of IPv4.
    pub ipv6: Option<Beside>,
    /// Which host it is. Only Twill writes it: a lease of flannel has none.
    pub node: Option<NodeId>,
}

/// What an owner with both families says about IPv6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Beside {
    /// Where its end of the tunnel listens.
    pub public_ip: Ipv6Addr,
    /// The device that carries IPv6; backends without one have nothing to say.
    pub end: Option<TunnelEnd>,
}

/// One tunnel device of an owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TunnelEnd {
    /// Of `vxlan`.
    Vxlan(Vtep),
    /// Of `wireguard`.
    Wireguard(wireguard::End),
}

/// One VXLAN device of an owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Vtep {
    /// The network identifier; leases of old flannels lack it.
    #[serde(rename = "VNI", skip_serializing_if = "Option::is_none")]
    pub vni: Option<Vni>,
    /// Its hardware address.
    #[serde(rename = "VtepMAC")]
    pub mac: Mac,
}

/// The backend of an owner, with what peers need to know for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LeaseBackend {
    /// No name: flannel's `udp` and `alloc` write none.
    Unnamed,
    /// `vxlan`, by that device.
    Vxlan(Vtep),
    /// `wireguard`, by that key and port.
    Wireguard(wireguard::End),
    /// `host-gw`: by a plain route to its public address.
    HostGw,
    /// `extension`: by commands, which get what the owner says.
    Extension {
        /// What the owner's own first command said.
        data: Option<String>,
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

/// The order of these is the order of the text.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Written<'a> {
    #[serde(rename = "PublicIP")]
    public_ip: Ipv4Addr,
    #[serde(rename = "PublicIPv6")]
    public_ipv6: Option<Ipv6Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend_data: Option<Data<'a>>,
    #[serde(rename = "BackendV6Data", skip_serializing_if = "Option::is_none")]
    backend_v6_data: Option<Data<'a>>,
    #[serde(rename = "TwillNodeID", skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Vxlan(Vtep),
    Wireguard(wireguard::End),
    Text(&'a str),
}

impl From<TunnelEnd> for Data<'_> {
    fn from(end: TunnelEnd) -> Self {
        match end {
            TunnelEnd::Vxlan(vtep) => Self::Vxlan(vtep),
            TunnelEnd::Wireguard(end) => Self::Wireguard(end),
        }
    }
}

impl LeaseValue {
    /// The text of the value: compact JSON in flannel's order, our own member last.
    #[must_use]
    pub fn to_json(&self) -> String {
        let (backend_type, backend_data) = match &self.backend {
            LeaseBackend::Unnamed => (None, None),
            LeaseBackend::Vxlan(vtep) => (Some("vxlan"), Some(Data::Vxlan(*vtep))),
            LeaseBackend::Wireguard(end) => (Some("wireguard"), Some(Data::Wireguard(*end))),
            LeaseBackend::HostGw => (Some("host-gw"), None),
            LeaseBackend::Extension { data } => {
                (Some("extension"), data.as_deref().map(Data::Text))
            }
            LeaseBackend::Other { name } => (Some(name.as_str()), None),
        };
        let (public_ip, public_ipv6, backend_data, backend_v6_data) =
            match (self.public_ip.0, self.ipv6) {
                (IpAddr::V6(alone), _) => (Ipv4Addr::UNSPECIFIED, Some(alone), None, backend_data),
                (IpAddr::V4(public_ip), None) => (public_ip, None, backend_data, None),
                (IpAddr::V4(public_ip), Some(Beside { public_ip: beside, end })) => {
                    (public_ip, Some(beside), backend_data, end.map(Data::from))
                }
            };
        let node = self.node;
        let written =
            Written { public_ip, public_ipv6, backend_type, backend_data, backend_v6_data, node };
        // Strings, numbers and addresses always have a JSON form.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// Reads what any flannel since etcd v3, or a Twill, wrote.
    pub fn parse(text: &[u8]) -> Result<Self, ValueError> {
        let members: Members = serde_json::from_slice(text)
            .map_err(|error| ValueError::NotAnObject { reason: error.to_string() })?;
        let public_ip = match members.last("PublicIP") {
            None => Ipv4Addr::UNSPECIFIED,
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
        let alone = public_ipv6.filter(|_| public_ip.is_unspecified());
        if let Some(alone) = alone {
            let backend = LeaseBackend::read(&members, "BackendV6Data")?;
            let public_ip = Underlay(IpAddr::V6(alone));
            return Ok(Self { public_ip, backend, ipv6: None, node });
        }
        let backend = LeaseBackend::read(&members, "BackendData")?;
        let beside = |public_ip| {
            // Who spoils that half of it is still there for IPv4.
            let end = match LeaseBackend::read(&members, "BackendV6Data") {
                Ok(LeaseBackend::Vxlan(vtep)) => Some(TunnelEnd::Vxlan(vtep)),
                Ok(LeaseBackend::Wireguard(end)) => Some(TunnelEnd::Wireguard(end)),
                Ok(_) | Err(_) => None,
            };
            Beside { public_ip, end }
        };
        let public_ip = Underlay(IpAddr::V4(public_ip));
        Ok(Self { public_ip, backend, ipv6: public_ipv6.map(beside), node })
    }

    /// What it says to those who send packets of that family.
    pub(super) fn half(&self, family: Family) -> Self {
        match (family, self.ipv6) {
            (Family::V6, Some(Beside { public_ip, end })) => {
                let backend = match (&self.backend, end) {
                    (LeaseBackend::Vxlan(_), Some(TunnelEnd::Vxlan(vtep))) => {
                        LeaseBackend::Vxlan(vtep)
                    }
                    (LeaseBackend::Wireguard(_), Some(TunnelEnd::Wireguard(end))) => {
                        LeaseBackend::Wireguard(end)
                    }
                    (LeaseBackend::Vxlan(_) | LeaseBackend::Wireguard(_), _) => {
                        let name = format!("{} for IPv4 alone", self.backend.name());
                        LeaseBackend::Other { name }
                    }
                    (same, _) => same.clone(),
                };
                let public_ip = Underlay(public_ip.into());
                Self { public_ip, backend, ipv6: None, node: self.node }
            }
            _its_own => Self { ipv6: None, ..self.clone() },
        }
    }
}

impl LeaseBackend {
    /// The name in the lease; empty for a backend that writes none.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Unnamed => "",
            Self::Vxlan(_) => "vxlan",
            Self::Wireguard(_) => "wireguard",
            Self::HostGw => "host-gw",
            Self::Extension { .. } => "extension",
            Self::Other { name } => name,
        }
    }

    /// What peers need to know is in `data`.
    fn read(members: &Members, data: &'static str) -> Result<Self, ValueError> {
        let name: String = match plain(members, "BackendType") {
            None => String::new(),
            Some(found) => text_of(found, "BackendType", "a name")?,
        };
        match name.as_str() {
            "" => Ok(Self::Unnamed),
            "host-gw" => Ok(Self::HostGw),
            "extension" => match plain(members, data) {
                None => Ok(Self::Extension { data: None }),
                Some(Value::String(text)) => Ok(Self::Extension { data: Some(text.clone()) }),
                Some(other) => Err(mismatch(other, data, "a text")),
            },
            "wireguard" => {
                let found = members.last(data).unwrap_or(&Value::Null);
                let object = found.as_object();
                let wanted = "an object with PublicKey and Port";
                let object = object.ok_or_else(|| mismatch(found, data, wanted))?;
                let object = Members::from(object);
                let key = object.last("PublicKey").unwrap_or(&Value::Null);
                let key: PublicKey = text_of(key, "PublicKey", "a key in base64")?;
                Ok(Self::Wireguard(wireguard::End { key, port: port(&object)? }))
            }
            "vxlan" => {
                let found = members.last(data).unwrap_or(&Value::Null);
                let wanted = "an object with VNI and VtepMAC";
                let object = found.as_object().ok_or_else(|| mismatch(found, data, wanted))?;
                let object = Members::from(object);
                let mac = object.last("VtepMAC").unwrap_or(&Value::Null);
                let mac = text_of(mac, "VtepMAC", "a hardware address")?;
                Ok(Self::Vxlan(Vtep { vni: vni(&object)?, mac }))
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

/// Zero and absent mean the same here as well.
fn port(members: &Members) -> Result<Option<u16>, ValueError> {
    let Some(found) = plain(members, "Port") else { return Ok(None) };
    let port = found.as_u64().and_then(|number| u16::try_from(number).ok());
    let port = port.ok_or_else(|| mismatch(found, "Port", "a number up to 65535"))?;
    Ok(Some(port).filter(|port| *port != 0))
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
