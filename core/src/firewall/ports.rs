//! Published ports: what comes to a port of the host goes to a container.
//!
//! A rule belongs to a port that is published now, so all rules follow from the whole list, and whoever
//! writes them writes all of them: a port that is gone from the list is gone from the kernel with the
//! next writing, whatever happened in between.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::nftables::header;
use crate::ids::{Family, Subnet};

/// A protocol that has ports.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
    /// Associations.
    Sctp,
}

impl Protocol {
    /// As in `80/tcp`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`Protocol`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is neither tcp nor udp nor sctp")]
pub struct UnknownProtocol(String);

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        let all = [Self::Tcp, Self::Udp, Self::Sctp];
        let found = all.into_iter().find(|it| it.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownProtocol(text.to_owned()))
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One port of the host, and the container's port behind it; both ends are of one family.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Publication {
    /// Of both ports.
    pub protocol: Protocol,
    /// The address of the host; every one if not given.
    pub at: Option<IpAddr>,
    /// The host's port.
    pub port: u16,
    /// The container.
    pub to: SocketAddr,
    /// The bridge that leads to it.
    pub bridge: String,
    /// The block that it shares with the other containers on the bridge.
    pub subnet: Subnet,
}

impl Publication {
    /// Of both ends.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.to.ip())
    }
}

/// Sorts them as rules have to come, so that the same ports always make the same rules: a rule for one
/// address before one for all.
pub fn sort(publications: &mut [Publication]) {
    publications.sort_by_key(|it| (it.at.is_none(), it.protocol, it.port, it.at, it.to));
}

/// Bridges and the blocks on them, each once.
#[must_use]
pub fn bridges(publications: &[Publication]) -> BTreeSet<(&str, Subnet)> {
    publications.iter().map(|it| (it.bridge.as_str(), it.subnet)).collect()
}

/// The table of published ports in nftables, of the family `inet`. The agent's own table is written by the
/// agent alone, and this one by whoever publishes.
pub const TABLE: &str = "twill-ports";

/// Any host knows its own addresses: `RTN_LOCAL`, as a number because nft would print a name as one.
const LOCAL: &str = "fib daddr type 2";
/// `IPS_DST_NAT`: its destination has been changed, here or in the other direction.
const TURNED: &str = "ct status & 0x20 == 0x20";

/// That table in the words that `nft -s -n list table` prints; empty if there is to be none. It is written without that
/// program, and this is the proof.
///
/// As in [`super::nftables`] nothing is accepted: an accept in one table opens nothing in another.
#[must_use]
pub fn table(publications: &[Publication]) -> String {
    if publications.is_empty() {
        return String::new();
    }
    let turn: Vec<String> = publications.iter().map(turn).collect();
    let hairpin: Vec<String> = bridges(publications)
        .into_iter()
        .flat_map(|(bridge, subnet)| {
            let ip = header(subnet.family());
            sources(subnet).map(move |from| {
                format!("{ip} saddr {from} oifname \"{bridge}\" {TURNED} masquerade")
            })
        })
        .collect();
    let outside =
        ["saddr", "daddr"].map(|end| format!("iifname != \"lo\" ip {end} 127.0.0.0/8 drop"));
    let chains = [
        chain("arriving", "nat hook prerouting priority -100", &turn),
        chain("leaving", "nat hook output priority -100", &turn),
        chain("hairpin", "nat hook postrouting priority 100", &hairpin),
        chain("no-loopback", "filter hook prerouting priority -300", &outside),
    ];
    format!("table inet {TABLE} {{\n{}}}\n", chains.join("\n"))
}

fn turn(publication: &Publication) -> String {
    let Publication { protocol, at, port, to, .. } = publication;
    let ip = header(publication.family());
    let number = match publication.family() {
        Family::V4 => 2,
        Family::V6 => 10,
    };
    let place = match at {
        Some(address) => format!("{ip} daddr {address}"),
        None => format!("meta nfproto {number} {LOCAL}"),
    };
    format!("{place} {protocol} dport {port} dnat {ip} to {to}")
}

/// Whose packets to a container must come back through the host: those of the host's loopback, which a
/// container cannot answer, and those of its neighbours, which it would answer past the host.
pub(super) fn sources(subnet: Subnet) -> impl Iterator<Item = String> {
    let own = (subnet.family() == Family::V4).then(loopback);
    own.into_iter().chain([subnet]).map(|block| block.to_string())
}

/// What every host is to itself.
#[must_use]
pub fn loopback() -> Subnet {
    // Aligned, so that there is one.
    let block = Subnet::containing(Ipv4Addr::LOCALHOST.into(), 8);
    block.unwrap_or_else(|| unreachable!("127.0.0.0/8 is a block"))
}

fn chain(name: &str, kind: &str, rules: &[String]) -> String {
    let rules = rules.join("\n\t\t");
    format!("\tchain {name} {{\n\t\ttype {kind}; policy accept;\n\t\t{rules}\n\t}}\n")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::firewall) fn publication(at: &str, port: u16, to: &str) -> Publication {
        let to: SocketAddr = to.parse().unwrap();
        let subnet = if to.is_ipv4() { "10.5.1.0/24" } else { "fd00:5:1::/64" };
        Publication {
            protocol: Protocol::Tcp,
            at: at.parse().ok(),
            port,
            to,
            bridge: "twill0".to_owned(),
            subnet: subnet.parse().unwrap(),
        }
    }

    #[test]
    fn the_table_of_two_families() {
        let mut all = [
            publication("", 8080, "10.5.1.2:80"),
            publication("192.0.2.1", 8080, "10.5.1.3:80"),
            publication("", 8080, "[fd00:5:1::2]:80"),
        ];
        sort(&mut all);
        assert_eq!(
            table(&all),
            r#"table inet twill-ports {
	chain arriving {
		type nat hook prerouting priority -100; policy accept;
		ip daddr 192.0.2.1 tcp dport 8080 dnat ip to 10.5.1.3:80
		meta nfproto 2 fib daddr type 2 tcp dport 8080 dnat ip to 10.5.1.2:80
		meta nfproto 10 fib daddr type 2 tcp dport 8080 dnat ip6 to [fd00:5:1::2]:80
	}

	chain leaving {
		type nat hook output priority -100; policy accept;
		ip daddr 192.0.2.1 tcp dport 8080 dnat ip to 10.5.1.3:80
		meta nfproto 2 fib daddr type 2 tcp dport 8080 dnat ip to 10.5.1.2:80
		meta nfproto 10 fib daddr type 2 tcp dport 8080 dnat ip6 to [fd00:5:1::2]:80
	}

	chain hairpin {
		type nat hook postrouting priority 100; policy accept;
		ip saddr 127.0.0.0/8 oifname "twill0" ct status & 0x20 == 0x20 masquerade
		ip saddr 10.5.1.0/24 oifname "twill0" ct status & 0x20 == 0x20 masquerade
		ip6 saddr fd00:5:1::/64 oifname "twill0" ct status & 0x20 == 0x20 masquerade
	}

	chain no-loopback {
		type filter hook prerouting priority -300; policy accept;
		iifname != "lo" ip saddr 127.0.0.0/8 drop
		iifname != "lo" ip daddr 127.0.0.0/8 drop
	}
}
"#
        );
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn protocols() {
        for (text, want) in [("tcp", Some(Protocol::Tcp)), ("UDP", Some(Protocol::Udp))] {
            assert_eq!(text.parse().ok(), want);
        }
        assert_eq!("sctp".parse(), Ok(Protocol::Sctp));
        assert!("icmp".parse::<Protocol>().is_err() && "".parse::<Protocol>().is_err());
    }
}
