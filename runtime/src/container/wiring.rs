//! What a user asks of a container's place on the network, besides how it is reached.

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use twill_core::ids::Mac;

use super::links::{self, Link};
use super::record::Network;
use super::store::Store;
use crate::error::{Error, Result};

/// What `--network` takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mode {
    /// One of its own, or the host's.
    Own(Network),
    /// That of the container of this name.
    Container(String),
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Ok(match text {
            "bridge" | "default" => Self::Own(Network::Bridge),
            "host" => Self::Own(Network::Host),
            "none" => Self::Own(Network::None),
            _ => match text.strip_prefix("container:") {
                Some("") => return Err(format!("invalid container format {text}<name|id>")),
                Some(name) => Self::Container(name.to_owned()),
                None => return Err(format!("network {text} not found")),
            },
        })
    }
}

/// A name for the hosts file: `--add-host NAME:IP`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Its address; the host's, as containers see it, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

impl FromStr for ExtraHost {
    type Err = String;

    /// Docker's messages.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts = text.split_once('=').or_else(|| text.split_once(':'));
        let (name, address) = parts
            .filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace))
            .ok_or_else(|| format!("bad format for add-host: {text:?}"))?;
        let name = name.to_owned();
        if address == GATEWAY {
            return Ok(Self { name, address: None });
        }
        let bare = address.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(address);
        match bare.parse() {
            Ok(address) => Ok(Self { name, address: Some(address) }),
            Err(_unparsed) => Err(format!("invalid IP address in add-host: {address:?}")),
        }
    }
}

/// Stands for the host's own address.
const GATEWAY: &str = "host-gateway";

impl ExtraHost {
    /// As it was given.
    #[must_use]
    pub fn text(&self) -> String {
        let address = self.address.map_or_else(|| GATEWAY.to_owned(), |it| it.to_string());
        format!("{}:{address}", self.name)
    }
}

/// What is written down of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Wiring {
    /// The container whose network it shares, by its id.
    pub shares: Option<String>,
    /// Addresses that it has to get, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// The hardware address that it has to get.
    pub mac: Option<String>,
    /// Names for its hosts file.
    pub hosts: Vec<ExtraHost>,
    /// Nameservers in place of the host's.
    pub dns: Vec<IpAddr>,
    /// Search domains in place of the host's.
    pub dns_search: Vec<String>,
    /// Options of the resolver in place of the host's.
    pub dns_options: Vec<String>,
    /// Containers that it knows by names of its own.
    pub links: Vec<Link>,
    /// What others on this host may call it besides its name.
    pub aliases: Vec<String>,
}

/// What the user says.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// Of `--network`.
    pub mode: Mode,
    /// Of `--ip` and `--ip6`.
    pub addresses: Vec<IpAddr>,
    /// Of `--mac-address`.
    pub mac: Option<Mac>,
    /// Of `--add-host`.
    pub hosts: Vec<ExtraHost>,
    /// Of `--dns`.
    pub dns: Vec<IpAddr>,
    /// Of `--dns-search`.
    pub dns_search: Vec<String>,
    /// Of `--dns-option`.
    pub dns_options: Vec<String>,
    /// Of `--link`.
    pub links: Vec<links::Wish>,
    /// Of `--network-alias`.
    pub aliases: Vec<String>,
    /// Did he name a host name?
    pub hostname: bool,
    /// Is a port to be published?
    pub publishes: bool,
    /// Is a port to be exposed?
    pub exposes: bool,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            mode: Mode::Own(Network::Bridge),
            addresses: Vec::new(),
            mac: None,
            hosts: Vec::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            links: Vec::new(),
            aliases: Vec::new(),
            hostname: false,
            publishes: false,
            exposes: false,
        }
    }
}

impl Wishes {
    /// How the container meets the network, what is written down, and the host name that it shares with
    /// another one.
    pub fn settle(&self, store: &Store<'_>) -> Result<(Network, Wiring, Option<String>)> {
        self.check().map_err(|text| Error::Usage(text.into()))?;
        let wiring = Wiring {
            shares: None,
            addresses: self.addresses.clone(),
            mac: self.mac.map(|mac| mac.to_string()),
            hosts: self.hosts.clone(),
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_options.clone(),
            links: self.links(store)?,
            aliases: self.aliases.clone(),
        };
        match &self.mode {
            Mode::Own(network) => Ok((*network, wiring, None)),
            Mode::Container(name) => {
                let target = store.find(name)?.record;
                // One that shares a network itself has none of its own to give.
                let owner = target.wiring.shares.unwrap_or(target.id);
                let wiring = Wiring { shares: Some(owner), ..wiring };
                Ok((Network::Container, wiring, Some(target.hostname)))
            }
        }
    }

    fn links(&self, store: &Store<'_>) -> Result<Vec<Link>> {
        let link = |wish: &links::Wish| {
            let id = store.find(&wish.container)?.record.id;
            Ok(Link { id, alias: wish.alias.clone() })
        };
        self.links.iter().map(link).collect()
    }

    /// Docker's refusals.
    fn check(&self) -> std::result::Result<(), &'static str> {
        let placed = !self.addresses.is_empty();
        let own = |network| self.mode == Mode::Own(network);
        let linked = !self.links.is_empty();
        let shares = matches!(self.mode, Mode::Container(_));
        for (conflict, text) in [
            (shares && self.hostname, "conflicting options: hostname and the network mode"),
            (shares && !self.dns.is_empty(), "conflicting options: dns and the network mode"),
            (
                shares && !self.hosts.is_empty(),
                "conflicting options: custom host-to-IP mapping and the network mode",
            ),
            (
                (shares || own(Network::Host)) && self.mac.is_some(),
                "conflicting options: mac-address and the network mode",
            ),
            (
                shares && self.publishes,
                "conflicting options: port publishing and the container type network mode",
            ),
            (
                shares && self.exposes,
                "conflicting options: port exposing and the container type network mode",
            ),
            (
                linked && own(Network::Host),
                "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
            ),
            (
                shares && linked,
                "conflicting options: container type network can't be used with links. This would result in undefined behavior",
            ),
            (
                linked && own(Network::None),
                "conflicting options: without a network there are no links",
            ),
            (
                !self.aliases.is_empty() && !own(Network::Bridge),
                "network-scoped aliases are supported on the network bridge only",
            ),
            (
                placed && !own(Network::Bridge),
                "user specified IP address is supported on the network bridge only",
            ),
        ] {
            if conflict {
                return Err(text);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, want) in [
            ("bridge", Ok(Mode::Own(Network::Bridge))),
            ("default", Ok(Mode::Own(Network::Bridge))),
            ("container:web", Ok(Mode::Container("web".into()))),
            ("container:", Err("invalid container format container:<name|id>")),
            ("foo", Err("network foo not found")),
        ] {
            assert_eq!(text.parse::<Mode>(), want.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn extra_hosts() {
        for (text, want) in [
            ("db:10.0.0.1", Ok("db:10.0.0.1")),
            ("db=10.0.0.1", Ok("db:10.0.0.1")),
            ("db:fd00::1", Ok("db:fd00::1")),
            ("db:[fd00::1]", Ok("db:fd00::1")),
            ("db:host-gateway", Ok("db:host-gateway")),
            ("db", Err("bad format for add-host: \"db\"")),
            (":10.0.0.1", Err("bad format for add-host: \":10.0.0.1\"")),
            ("a\nb:10.0.0.1", Err("bad format for add-host: \"a\\nb:10.0.0.1\"")),
            ("db:x", Err("invalid IP address in add-host: \"x\"")),
        ] {
            let got = text.parse::<ExtraHost>().map(|it| it.text());
            assert_eq!(got.as_deref().map_err(String::as_str), want, "{text}");
        }
    }

    #[test]
    fn what_does_not_go_together() {
        let shares = || Wishes { mode: Mode::Container("web".into()), ..Wishes::default() };
        let address = "10.5.2.9".parse().unwrap();
        for (name, wishes, want) in [
            ("nothing else", shares(), None),
            ("a host name", Wishes { hostname: true, ..shares() }, Some("hostname and")),
            ("servers", Wishes { dns: vec![address], ..shares() }, Some("dns and")),
            ("ports", Wishes { publishes: true, ..shares() }, Some("port publishing")),
            ("exposed ports", Wishes { exposes: true, ..shares() }, Some("port exposing")),
            ("an address", Wishes { addresses: vec![address], ..shares() }, Some("IP address")),
            (
                "all of it on the bridge",
                Wishes { hostname: true, addresses: vec![address], ..Wishes::default() },
                None,
            ),
        ] {
            let got = wishes.check().err();
            assert_eq!(got.is_some(), want.is_some(), "{name}: {got:?}");
            assert!(want.is_none_or(|want| got.unwrap().contains(want)), "{name}: {got:?}");
        }
    }
}
