//! How a container is to be joined: what the administrator wrote, what the runtime was asked for.
//!
//! What we know of other plugins' settings and do not do is an error with its key, never passed over.

mod bandwidth;
mod ports;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use serde_json::{Map, Value, json};
use twill_core::ids::{Mac, Mtu, Subnet};
use twill_endpoint::{Interface, Limits, Port, StaticRoute};

use crate::document::Document;
use crate::environment::{Args, is_identifier};
use crate::error::{Code, Failure};

/// How to join a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Wish {
    pub(crate) bridge: Option<Interface>,
    pub(crate) mtu: Option<Mtu>,
    pub(crate) hairpin: bool,
    pub(crate) default_route: bool,
    pub(crate) masquerade: Masquerade,
    /// At most one of each family.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) mac: Option<Mac>,
    pub(crate) spoof_check: bool,
    /// Besides those that every container gets.
    pub(crate) routes: Vec<StaticRoute>,
    /// Ports of the host that lead to the container.
    pub(crate) ports: Vec<Port>,
    pub(crate) limits: Limits,
    /// What the agent calls the container, if names are its.
    pub(crate) aliases: Vec<String>,
    /// What the result says about name servers.
    pub(crate) dns: Map<String, Value>,
}

/// Who gives packets that leave the overlay the host's address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Masquerade {
    /// The agent, or nobody.
    AsTheAgentDoes,
    /// Somebody has to.
    Wanted,
}

/// Settings that other plugins know, on an interface that we make or for the bridge.
const UNSUPPORTED: [(&str, &str); 7] = [
    ("vlan", "leave it out: containers that must not meet belong into networks of their own"),
    ("vlanTrunk", "leave it out: containers that must not meet belong into networks of their own"),
    ("promiscMode", "leave it out: with `hairpinMode`, which is on, a container reaches itself"),
    ("portIsolation", "leave it out: containers of one bridge reach each other"),
    ("disableContainerInterface", "leave it out: an interface without addresses is not made"),
    ("enabledad", "leave it out: no address is given twice, so nobody has to be asked"),
    ("ipMasqBackend", "leave it out: the agent masquerades, with the engine that its host uses"),
];

/// The same in what a runtime sends.
const UNSUPPORTED_AT_RUN_TIME: [(&str, &str); 3] = [
    (
        "ipRanges",
        "addresses come from the subnet that the host has leased: leave the capability out",
    ),
    ("infinibandGUID", "leave the capability out: pods are joined by Ethernet"),
    ("deviceID", "leave the capability out: pods are joined by a pair of virtual interfaces"),
];

impl Wish {
    pub(crate) fn read(document: &Document<'_>, args: &Args) -> Result<Self, Failure> {
        // A configuration of flannel's plugin has the bridge's settings one level down.
        let delegate = document.object("delegate")?;
        if let Some(kind) = delegate.asked("type").filter(|kind| *kind != "bridge") {
            let hint = "leave it out: containers are joined to a bridge";
            return Err(delegate.unsupported("type", kind, hint));
        }
        for (key, hint) in UNSUPPORTED {
            for place in [document, &delegate] {
                place.refuse(key, hint)?;
            }
        }
        let runtime = Runtime::new(document)?;
        for (key, hint) in UNSUPPORTED_AT_RUN_TIME {
            runtime.0.refuse(key, hint)?;
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
            masquerade: match flag("ipMasq")? {
                Some(true) => Masquerade::Wanted,
                _nothing_asked => Masquerade::AsTheAgentDoes,
            },
            addresses: addresses(document, &runtime, args)?,
            mac: mac(document, &runtime, args)?,
            spoof_check: flag("spoofchk")?.or(flag("macspoofchk")?).unwrap_or(false),
            routes: routes(&document.object("ipam")?)?,
            ports: ports::ports(&runtime)?,
            limits: bandwidth::limits(&runtime)?,
            aliases: aliases(document, &runtime)?,
            dns: dns(document, &runtime)?,
        })
    }
}

/// What a runtime adds to the configuration. It may send what the administrator declares, and nothing
/// else; what is declared of another plugin is that one's to do. Most runtimes take the declaration
/// out; where it is left in, it counts.
struct Runtime<'a>(Document<'a>, Option<Document<'a>>);

impl<'a> Runtime<'a> {
    fn new(document: &Document<'a>) -> Result<Self, Failure> {
        let declared = document.member("capabilities").map(|_| document.object("capabilities"));
        Ok(Self(document.object("runtimeConfig")?, declared.transpose()?))
    }

    /// Is that capability ours?
    fn may(&self, capability: &str) -> Result<bool, Failure> {
        let Some(declared) = &self.1 else { return Ok(true) };
        Ok(declared.flag(capability)?.unwrap_or(false))
    }
}

/// Of host-local, which flannel's configuration names, we are what is left when it is told no addresses.
fn routes(ipam: &Document<'_>) -> Result<Vec<StaticRoute>, Failure> {
    let hint = "leave it out: addresses come from the subnet that the host has leased";
    if let Some(other) = ipam.asked("type").filter(|kind| *kind != "host-local") {
        return Err(ipam.unsupported("type", other, hint));
    }
    for key in ["subnet", "ranges", "rangeStart", "rangeEnd", "gateway", "addresses"] {
        ipam.refuse(key, hint)?;
    }
    ipam.objects("routes")?.iter().map(route).collect()
}

/// A row of routes, as configurations and results have them.
pub(crate) fn route(row: &Document<'_>) -> Result<StaticRoute, Failure> {
    for key in ["mtu", "advmss", "priority", "table", "scope"] {
        row.refuse(key, "leave it out: routes have a destination and a gateway")?;
    }
    let parse = |text: &str| {
        let (base, length) = text.split_once('/')?;
        Subnet::containing(base.parse().ok()?, length.parse().ok()?)
    };
    let destination = row.text("dst")?.and_then(parse);
    let gateway = row.text("gw")?.map(str::parse).transpose();
    Ok(StaticRoute {
        destination: destination.ok_or_else(|| row.wrong("dst", "a block of addresses"))?,
        gateway: gateway.map_err(|_other| row.wrong("gw", "an address"))?,
    })
}

/// Names as they go into a question of DNS. Podman tells those of each network under the network's name.
fn aliases(document: &Document<'_>, runtime: &Runtime<'_>) -> Result<Vec<String>, Failure> {
    let mut aliases = Vec::new();
    if !runtime.may("aliases")? {
        return Ok(aliases);
    }
    let told = match (runtime.0.member("aliases"), document.text("name")?) {
        (Some(Value::Object(_)), Some(network)) => runtime.0.object("aliases")?.texts(network)?,
        _a_list => runtime.0.texts("aliases")?,
    };
    for name in told {
        let labels_fit = name.split('.').all(|label| (1..=63).contains(&label.len()));
        if !is_identifier(name) || !labels_fit || name.len() > 253 {
            return Err(runtime.0.wrong("aliases", "a list of names that DNS could know"));
        }
        if !aliases.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            aliases.push(name.to_owned());
        }
    }
    Ok(aliases)
}

/// The runtime's words about each thing in place of the administrator's.
fn dns(document: &Document<'_>, runtime: &Runtime<'_>) -> Result<Map<String, Value>, Failure> {
    let (written, asked) = (document.object("dns")?, runtime.0.object("dns")?);
    let mut dns = Map::new();
    for (key, theirs) in
        [("nameservers", "servers"), ("search", "searches"), ("options", "options")]
    {
        let (written, asked) = (written.texts(key)?, asked.texts(theirs)?);
        let texts = if asked.is_empty() { written } else { asked };
        if !texts.is_empty() {
            dns.insert(key.to_owned(), json!(texts));
        }
    }
    if let Some(domain) = written.text("domain")? {
        dns.insert("domain".to_owned(), json!(domain));
    }
    Ok(dns)
}

/// One address of each family may be asked for, in any of the ways that there are, by any number of them.
fn addresses(
    document: &Document<'_>,
    runtime: &Runtime<'_>,
    args: &Args,
) -> Result<Vec<IpAddr>, Failure> {
    let labels = document.object("args")?.object("cni")?.texts("ips")?;
    let environment = args.ip.as_deref().into_iter().flat_map(|list| list.split(','));
    let environment = environment.filter(|text| !text.is_empty());
    let mut wanted = BTreeSet::new();
    for text in runtime.0.texts("ips")?.into_iter().chain(labels).chain(environment) {
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
fn mac(
    document: &Document<'_>,
    runtime: &Runtime<'_>,
    args: &Args,
) -> Result<Option<Mac>, Failure> {
    let labels = document.object("args")?.object("cni")?.text("mac")?;
    let environment = args.mac.as_deref().filter(|text| !text.is_empty());
    let text = runtime.0.text("mac")?.or(labels).or(environment);
    let mac: Option<Mac> = text.map(|text| parse(text, "a hardware address")).transpose()?;
    if let Some(group) = mac.filter(|mac| mac.0[0] & 1 == 1 || *mac == Mac([0; 6])) {
        let message = format!("{group} cannot be the hardware address of one interface");
        let hint = "ask for one whose first byte is even, such as 02:…, or for none";
        return Err(Failure::new(Code::InvalidConfiguration, message).hint(hint));
    }
    Ok(mac)
}

fn parse<T: FromStr>(text: &str, wanted: &str) -> Result<T, Failure> {
    text.parse().map_err(|_other| {
        let message = format!("`{text}`, which was asked for, is not {wanted}");
        Failure::new(Code::InvalidConfiguration, message).hint("ask for another one, or for none")
    })
}
