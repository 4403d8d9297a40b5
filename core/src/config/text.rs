//! The JSON of the configuration: kinds of values and member names, no rules.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{Backend, Draft, DraftRange, Error, NetworkConfig, Range, Udp, Vxlan};
use crate::extension::{Command, Extension};
use crate::ids::{Family, Mtu, Subnet, Vni};
use crate::json::Members;

/// What flannel has and this version has not, and what would have to be there.
const NOT_BUILT: [(&str, &str); 3] = [
    ("ipip", "a device for IP in IP"),
    ("ipsec", "an IKE daemon (flannel brings strongSwan's)"),
    ("tencent-vpc", "a client of that cloud's route tables"),
];

pub(super) fn read(text: &[u8]) -> Result<Draft, Error> {
    let members: Members = serde_json::from_slice(text)
        .map_err(|error| Error::NotAnObject { reason: error.to_string() })?;
    let (first, beside) = families(&members)?;
    let (range_of_first, beside) =
        (range(&members, first)?, beside.map(|family| range(&members, family)).transpose()?);
    let found = members.last("Backend");
    let has_ipv6 = first == Family::V6 || beside.is_some();
    let nftables = flag(&members, "EnableNFTables")?.unwrap_or(false);
    super::keyed::check_mode(found, has_ipv6)?;
    let backend = found.map(backend).transpose()?.unwrap_or_default();
    Ok(Draft { range: range_of_first, ipv6: beside, backend, nftables })
}

fn range(members: &Members, family: Family) -> Result<DraftRange, Error> {
    let names = super::draft::members(family);
    let network = members.last(names.network).map(|found| network(found, family)).transpose()?;
    let network = network.filter(|network| network.len() > 0);
    let network = network.ok_or(Error::Missing { member: names.network })?;
    let subnet_len = match number(members, names.len)? {
        None | Some(0) => None,
        Some(len) => Some(u8::try_from(len).map_err(|_too_long| {
            out_of_range(names.len, len, &format!("be at most {}", names.longest))
        })?),
    };
    let subnet_min = address(members, names.min, family)?;
    let subnet_max = address(members, names.max, family)?;
    Ok(DraftRange { network, subnet_len, subnet_min, subnet_max })
}

pub(super) fn write(config: &NetworkConfig) -> String {
    let mut text = Map::new();
    let mut put = |name: &str, value: Value| drop(text.insert(name.to_owned(), value));
    for Range { network, subnet_len, subnet_min, subnet_max } in config.ranges() {
        let names = super::draft::members(network.family());
        put(names.network, json!(network));
        put(names.len, json!(subnet_len));
        put(names.min, json!(subnet_min.base()));
        put(names.max, json!(subnet_max.base()));
    }
    put("Backend", options(&config.backend));
    if config.network.family() == Family::V6 {
        put("EnableIPv4", false.into());
    }
    if config.networks().any(|network| network.family() == Family::V6) {
        put("EnableIPv6", true.into());
    }
    if config.nftables {
        put("EnableNFTables", true.into());
    }
    Value::Object(text).to_string()
}

pub(crate) fn options(backend: &Backend) -> Value {
    let mut options = Map::new();
    let mut put = |name: &str, value: Value| drop(options.insert(name.to_owned(), value));
    put("Type", backend.name().into());
    match backend {
        Backend::HostGw | Backend::Alloc => {}
        Backend::Extension(extension) => {
            for (name, command) in extension.commands() {
                if let Some(command) = command {
                    put(name, command.to_json());
                }
            }
        }
        Backend::Udp(Udp { port, direct_routing }) => {
            put("Port", (*port).into());
            if *direct_routing {
                put("DirectRouting", true.into());
            }
        }
        Backend::Wireguard(options) => super::keyed::write(options, put),
        Backend::Vxlan(Vxlan { vni, port, mtu, gbp, learning, direct_routing }) => {
            put("VNI", vni.number().into());
            if let Some(port) = port {
                put("Port", (*port).into());
            }
            if let Some(mtu) = mtu {
                put("MTU", mtu.bytes().into());
            }
            let flags = [("GBP", gbp), ("Learning", learning), ("DirectRouting", direct_routing)];
            for (name, _on) in flags.into_iter().filter(|(_name, on)| **on) {
                put(name, true.into());
            }
        }
    }
    Value::Object(options)
}

/// The first family, and the one beside it.
fn families(members: &Members) -> Result<(Family, Option<Family>), Error> {
    let ipv4 = flag(members, "EnableIPv4")?.unwrap_or(true);
    let ipv6 = flag(members, "EnableIPv6")?.unwrap_or(false);
    match (ipv4, ipv6) {
        (true, beside) => Ok((Family::V4, beside.then_some(Family::V6))),
        (false, true) => Ok((Family::V6, None)),
        (false, false) => Err(Error::Rule {
            member: "EnableIPv4",
            found: false.to_string(),
            rule: "be true, or EnableIPv6: a network needs an address family".to_owned(),
        }),
    }
}

pub(crate) fn backend(found: &Value) -> Result<Backend, Error> {
    let members = match found {
        Value::Null => return Err(Error::Missing { member: "Backend.Type" }),
        Value::Object(members) => Members::from(members),
        other => return Err(kind("Backend", other, "an object")),
    };
    let name = match members.last("Type") {
        None | Some(Value::Null) => return Err(Error::Missing { member: "Backend.Type" }),
        Some(name) => name.as_str().ok_or_else(|| kind("Backend.Type", name, "a string"))?,
    };
    match name.to_lowercase().as_str() {
        "" => Err(Error::Missing { member: "Backend.Type" }),
        "udp" => udp(&members).map(Backend::Udp),
        "vxlan" => vxlan(&members).map(Backend::Vxlan),
        "wireguard" => super::keyed::read(&members).map(Backend::Wireguard),
        "host-gw" => Ok(Backend::HostGw),
        "alloc" => Ok(Backend::Alloc),
        "extension" => extension(&members).map(|found| Backend::Extension(Box::new(found))),
        other => Err(match NOT_BUILT.iter().find(|(known, _lacks)| *known == other) {
            Some((name, lacks)) => Error::NotBuilt { name, lacks },
            None => Error::UnknownBackend { name: name.to_owned() },
        }),
    }
}

fn udp(members: &Members) -> Result<Udp, Error> {
    let port = port(members)?;
    if port == Some(0) {
        return Err(out_of_range("Backend.Port", 0, "be from 1 to 65535"));
    }
    let direct_routing = flag(members, "Backend.DirectRouting")?.unwrap_or(false);
    let port = port.unwrap_or(Udp::default().port);
    Ok(Udp { port, direct_routing })
}

fn vxlan(members: &Members) -> Result<Vxlan, Error> {
    let vni = match number(members, "Backend.VNI")? {
        None => Vni::ONE,
        Some(number) => u32::try_from(number)
            .ok()
            .and_then(Vni::new)
            .ok_or_else(|| out_of_range("Backend.VNI", number, "be from 1 to 16777215"))?,
    };
    Ok(Vxlan {
        vni,
        port: port(members)?.filter(|port| *port != 0),
        mtu: mtu(members)?,
        gbp: flag(members, "Backend.GBP")?.unwrap_or(false),
        learning: flag(members, "Backend.Learning")?.unwrap_or(false),
        direct_routing: flag(members, "Backend.DirectRouting")?.unwrap_or(false),
    })
}

/// What there is outside the tunnel.
pub(super) fn mtu(members: &Members) -> Result<Option<Mtu>, Error> {
    let member = "Backend.MTU";
    let Some(bytes) = number(members, member)?.filter(|bytes| *bytes != 0) else { return Ok(None) };
    let mtu = u32::try_from(bytes).ok().and_then(Mtu::new);
    mtu.map(Some).ok_or_else(|| out_of_range(member, bytes, "be from 68 to 65535"))
}

fn extension(members: &Members) -> Result<Extension, Error> {
    Ok(Extension {
        pre_startup: command(members, "Backend.PreStartupCommand")?,
        post_startup: command(members, "Backend.PostStartupCommand")?,
        shutdown: command(members, "Backend.ShutdownCommand")?,
        subnet_add: command(members, "Backend.SubnetAddCommand")?,
        subnet_remove: command(members, "Backend.SubnetRemoveCommand")?,
    })
}

/// A line, or a list of words of which the first is a program. Without any word there is no command.
fn command(members: &Members, member: &'static str) -> Result<Option<Command>, Error> {
    let Some(found) = members.all(own_name(member)).rfind(|found| !found.is_null()) else {
        return Ok(None);
    };
    let wanted = || kind(member, found, "a command line in quotes, or a list of words in quotes");
    match found {
        Value::String(line) if line.trim().is_empty() => Ok(None),
        Value::String(line) => Ok(Some(Command::Line(line.clone()))),
        Value::Array(words) => {
            let words: Option<Vec<String>> =
                words.iter().map(|word| word.as_str().map(str::to_owned)).collect();
            let words = words.ok_or_else(wanted)?;
            match words.first() {
                None => Ok(None),
                Some(program) if program.is_empty() => Err(wanted()),
                Some(_program) => Ok(Some(Command::Words(words))),
            }
        }
        _other => Err(wanted()),
    }
}

fn network(found: &Value, family: Family) -> Result<Subnet, Error> {
    let block = found.as_str().and_then(|text| text.split_once('/')).and_then(|(base, len)| {
        // Host bits are masked off, as flannel does.
        Subnet::containing(base.parse().ok()?, len.parse().ok()?)
    });
    let wanted = match family {
        Family::V4 => "an address range such as \"10.88.0.0/16\"",
        Family::V6 => "an address range such as \"fd00:88::/48\"",
    };
    let block = block.filter(|block| block.family() == family);
    block.ok_or_else(|| kind(super::draft::members(family).network, found, wanted))
}

/// Of no bound stands for the default, as the unspecified address does in flannel.
fn address(
    members: &Members,
    member: &'static str,
    family: Family,
) -> Result<Option<IpAddr>, Error> {
    let Some(found) = members.last(member) else { return Ok(None) };
    let parsed = found.as_str().and_then(|text| text.parse().ok());
    let parsed = parsed.filter(|address| Family::of(*address) == family);
    let wanted = match family {
        Family::V4 => "an IPv4 address in quotes",
        Family::V6 => "an IPv6 address in quotes",
    };
    let address = parsed.ok_or_else(|| kind(member, found, wanted))?;
    Ok(Some(address).filter(|address| !address.is_unspecified()))
}

fn port(members: &Members) -> Result<Option<u16>, Error> {
    let Some(number) = number(members, "Backend.Port")? else { return Ok(None) };
    let port = u16::try_from(number);
    port.map(Some).map_err(|_too_large| out_of_range("Backend.Port", number, "be at most 65535"))
}

// Every value of a member must be of its kind, not only the last one: so it is in Go.
pub(super) fn number(members: &Members, member: &'static str) -> Result<Option<u64>, Error> {
    let mut last = None;
    for found in members.all(own_name(member)).filter(|found| !found.is_null()) {
        let number = found.as_u64();
        last = Some(number.ok_or_else(|| kind(member, found, "a whole number, zero or more"))?);
    }
    Ok(last)
}

fn flag(members: &Members, member: &'static str) -> Result<Option<bool>, Error> {
    let mut last = None;
    for found in members.all(own_name(member)).filter(|found| !found.is_null()) {
        last = Some(found.as_bool().ok_or_else(|| kind(member, found, "true or false"))?);
    }
    Ok(last)
}

/// `VNI` of `Backend.VNI`: errors name the whole way, objects only the last step of it.
pub(super) fn own_name(member: &str) -> &str {
    member.rsplit_once('.').map_or(member, |(_parent, name)| name)
}

pub(super) fn kind(member: &'static str, found: &Value, wanted: &'static str) -> Error {
    Error::Kind { member, found: found.to_string(), wanted }
}

pub(super) fn out_of_range(member: &'static str, found: u64, rule: &str) -> Error {
    Error::Rule { member, found: found.to_string(), rule: rule.to_owned() }
}
