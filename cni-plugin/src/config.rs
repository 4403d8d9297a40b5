//! The network's configuration, as a runtime sends it on stdin.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use serde_json::{Map, Value};
use twill_core::ids::{Mac, Mtu};
use twill_endpoint::{Host, Interface};

use crate::document::Document;
use crate::environment::{Args, is_identifier};
use crate::error::{Code, Failure};
use crate::version::Version;

/// What we use of the configuration. Unknown keys are passed over, as the specification wants.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// In which release of the specification to answer.
    pub(crate) version: Version,
    /// The network's name.
    pub(crate) name: String,
    /// Where subnet and pool are found.
    pub(crate) host: Host,
    /// How to join a container.
    pub(crate) wish: Wish,
    /// What the plugins before us have done.
    pub(crate) previous: Option<Map<String, Value>>,
    /// What the network's administrator says about name servers; goes into the result as it is.
    pub(crate) dns: Option<Value>,
    /// Who is there, for GC; `None` if the runtime does not say.
    pub(crate) attachments: Option<BTreeSet<(String, String)>>,
}

/// How to join a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Wish {
    pub(crate) bridge: Option<Interface>,
    pub(crate) mtu: Option<Mtu>,
    pub(crate) hairpin: bool,
    pub(crate) default_route: bool,
    /// At most one of each family.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) mac: Option<Mac>,
    pub(crate) spoof_check: bool,
}

impl Config {
    /// `args` are those of the environment: the oldest of the ways in which a user's wish for an
    /// address comes.
    pub(crate) fn parse(bytes: &[u8], args: &Args) -> Result<Self, Failure> {
        let undecodable = |words: String| {
            Failure::new(Code::Decode, format!("the network configuration on stdin {words}"))
        };
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| undecodable(format!("is not JSON: {error}")))?;
        let document =
            Document::new(&value).ok_or_else(|| undecodable("is not an object".to_owned()))?;
        let version = version(&document)?;
        Self::read(&document, version, args).map_err(|failure| failure.asked_in(version))
    }

    fn read(document: &Document<'_>, version: Version, args: &Args) -> Result<Self, Failure> {
        let name = document.text("name")?.unwrap_or_default();
        if !is_identifier(name) {
            return Err(document.wrong("name", "the name of a network"));
        }
        let ipam = document.object("ipam")?;
        if let Some(other) = ipam.text("type")? {
            let message = format!("addresses cannot come from the ipam plugin `{other}`");
            return Err(Failure::new(Code::InvalidConfiguration, message).hint(
                "leave `ipam` out: addresses come from the subnet that the host has leased",
            ));
        }
        let mut host = Host::default();
        if let Some(path) = document.text("subnetFile")? {
            host.subnet_env = path.into();
        }
        if let Some(path) = document.text("stateDir")? {
            host.state = path.into();
        }
        Ok(Self {
            version,
            name: name.to_owned(),
            host,
            wish: Wish::read(document, args)?,
            previous: document.members("prevResult")?.cloned(),
            dns: document.member("dns").cloned(),
            attachments: attachments(document)?,
        })
    }
}

impl Wish {
    fn read(document: &Document<'_>, args: &Args) -> Result<Self, Failure> {
        // A configuration of flannel's plugin has the bridge's settings one level down.
        let delegate = document.object("delegate")?;
        if delegate.text("type")?.is_some_and(|other| other != "bridge") {
            return Err(delegate.wrong("type", "`bridge`, the only kind that there is"));
        }
        let flag = |key| document.flag(key).and_then(|own| Ok(own.or(delegate.flag(key)?)));
        let mtu = document.number("mtu")?.or(delegate.number("mtu")?);
        let mtu = mtu.map(|bytes| {
            let mtu = u32::try_from(bytes).ok().and_then(Mtu::new);
            mtu.ok_or_else(|| document.wrong("mtu", "a number of bytes from 68 to 65535"))
        });
        let bridge = document.text("bridge")?.or(delegate.text("bridge")?).map(|name| {
            let wanted = "the name of a network interface";
            name.parse().map_err(|_invalid| document.wrong("bridge", wanted))
        });
        Ok(Self {
            bridge: bridge.transpose()?,
            mtu: mtu.transpose()?,
            hairpin: flag("hairpinMode")?.unwrap_or(true),
            default_route: flag("isDefaultGateway")?.unwrap_or(true),
            addresses: addresses(document, args)?,
            mac: mac(document, args)?,
            spoof_check: flag("spoofchk")?.unwrap_or(false),
        })
    }
}

fn version(document: &Document<'_>) -> Result<Version, Failure> {
    // The reference implementation takes a configuration without a version for its oldest kind.
    let text = document.text("cniVersion")?.unwrap_or("0.1.0");
    Version::parse(text).ok_or_else(|| {
        let known = Version::ALL.map(Version::as_str).join(", ");
        let message =
            format!("CNI {text}, which the network configuration asks for, is not spoken");
        Failure::new(Code::IncompatibleVersion, message)
            .hint(format!("set `cniVersion` to one of {known}"))
    })
}

/// One address of each family may be asked for, in any of the ways that there are, by any number of them.
fn addresses(document: &Document<'_>, args: &Args) -> Result<Vec<IpAddr>, Failure> {
    let runtime = document.object("runtimeConfig")?.texts("ips")?;
    let labels = document.object("args")?.object("cni")?.texts("ips")?;
    let environment = args.ip.as_deref().into_iter().flat_map(|list| list.split(','));
    let mut wanted = BTreeSet::new();
    for text in runtime.into_iter().chain(labels).chain(environment) {
        let address = text.split_once('/').map_or(text, |(address, _length)| address);
        wanted.insert(parse(address.trim(), "an address")?);
    }
    let (ipv4, ipv6): (Vec<IpAddr>, Vec<IpAddr>) = wanted.into_iter().partition(IpAddr::is_ipv4);
    if let Some(several) = [&ipv4, &ipv6].into_iter().find(|of_one| of_one.len() > 1) {
        let list: Vec<String> = several.iter().map(IpAddr::to_string).collect();
        let message = format!("a container cannot have all of {}", list.join(", "));
        return Err(Failure::new(Code::InvalidConfiguration, message)
            .hint("ask for one address of the host's subnet, or for one of each family"));
    }
    Ok([ipv4, ipv6].concat())
}

/// The newest of the ways wins.
fn mac(document: &Document<'_>, args: &Args) -> Result<Option<Mac>, Failure> {
    let runtime = document.object("runtimeConfig")?.text("mac")?;
    let labels = document.object("args")?.object("cni")?.text("mac")?;
    let environment = args.mac.as_deref().filter(|text| !text.is_empty());
    let text = runtime.or(labels).or(environment);
    let mac: Option<Mac> = text.map(|text| parse(text, "a hardware address")).transpose()?;
    if let Some(group) = mac.filter(|mac| mac.0[0] & 1 == 1 || *mac == Mac([0; 6])) {
        let message = format!("{group} cannot be the hardware address of one interface");
        return Err(Failure::new(Code::InvalidConfiguration, message));
    }
    Ok(mac)
}

fn parse<T: FromStr>(text: &str, wanted: &str) -> Result<T, Failure> {
    let message = || format!("`{text}`, which was asked for, is not {wanted}");
    text.parse().map_err(|_other| Failure::new(Code::InvalidConfiguration, message()))
}

/// The specification's spelling, and the one that libcni sends besides.
fn attachments(document: &Document<'_>) -> Result<Option<BTreeSet<(String, String)>>, Failure> {
    let spelling = "cni.dev/valid-attachments";
    let found = document.member(spelling).or_else(|| document.member("cni.dev/attachments"));
    let Some(found) = found else { return Ok(None) };
    let wrong = || document.wrong(spelling, "a list of attachments");
    let mut attachments = BTreeSet::new();
    for element in found.as_array().ok_or_else(wrong)? {
        let element = Document::new(element).ok_or_else(wrong)?;
        let container = element.text("containerID")?.ok_or_else(wrong)?;
        let interface = element.text("ifname")?.ok_or_else(wrong)?;
        attachments.insert((container.to_owned(), interface.to_owned()));
    }
    Ok(Some(attachments))
}

#[cfg(test)]
mod tests;
