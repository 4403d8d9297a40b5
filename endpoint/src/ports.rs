//! Published ports: what belongs to containers is in the records of the pools, and the host's rules follow.
//!
//! The record comes before the rules, and goes before them. Beside the pools lies a note of what rules
//! were written: it says that they are about to change before they do, so that whoever comes after a
//! crash sees that there is something left to do, and without one nobody has to look. The rules
//! are always made from all records of all pools of the host, under a lock: the last writer has seen the newest.

mod hold;
mod note;
mod occupant;
mod published;
mod rules;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use twill_core::firewall::ports::Protocol;
use twill_core::ids::Family;

pub use hold::Hold;
pub use occupant::occupant;
pub(crate) use published::are_one;

/// A port of a container that the host passes on.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The container's port.
    pub container_port: u16,
    /// Of both.
    pub protocol: Protocol,
    /// The host's address; all of them if not given, in each family that the container has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
}

impl Port {
    /// Can only one of the two be there?
    #[must_use]
    pub fn clashes(&self, other: &Self) -> bool {
        let met = |family: Family| {
            let [one, other] = [self, other].map(|port| port.at(family));
            let everywhere = |at: Option<IpAddr>| at.is_some_and(|ip| ip.is_unspecified());
            one.is_some()
                && other.is_some()
                && (everywhere(one) || everywhere(other) || one == other)
        };
        (self.protocol, self.host_port) == (other.protocol, other.host_port)
            && [Family::V4, Family::V6].into_iter().any(met)
    }

    /// Its address of that family, if it has one: `0.0.0.0` is all of IPv4, and none given all of both.
    fn at(&self, family: Family) -> Option<IpAddr> {
        let everywhere = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Some(self.host_ip.unwrap_or(everywhere)).filter(|ip| Family::of(*ip) == family)
    }

    /// Where it is reached, in Docker's words: `0.0.0.0:80`.
    #[must_use]
    pub fn place(&self) -> String {
        let ip = self.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        std::net::SocketAddr::new(ip, self.host_port).to_string()
    }
}

/// How the agent left the rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kept {
    /// There was nothing to do.
    Right,
    /// Containers had come or gone.
    Followed,
    /// Somebody else had changed them.
    Healed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clashes() {
        let port = |protocol: &str, ip: &str, host_port| Port {
            container_port: 80,
            protocol: protocol.parse().unwrap(),
            host_ip: ip.parse().ok(),
            host_port,
        };
        let wide = port("tcp", "", 80);
        for (name, other, want) in [
            ("itself", wide.clone(), true),
            ("another protocol", port("udp", "", 80), false),
            ("another port", port("tcp", "", 81), false),
            ("one address of all", port("tcp", "192.0.2.1", 80), true),
            ("all, spelt out", port("tcp", "0.0.0.0", 80), true),
            ("all of IPv6", port("tcp", "::", 80), true),
            ("one of IPv6", port("tcp", "2001:db8::1", 80), true),
        ] {
            assert_eq!(wide.clashes(&other), want, "{name}");
            assert_eq!(other.clashes(&wide), want, "{name}, the other way round");
        }
        for (one, other, want) in [
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("0.0.0.0", "192.0.2.1", true),
            ("0.0.0.0", "2001:db8::1", false),
            ("0.0.0.0", "::", false),
            ("::", "192.0.2.1", false),
            ("::", "2001:db8::1", true),
        ] {
            let [a, b] = [one, other].map(|ip| port("tcp", ip, 80));
            assert_eq!((a.clashes(&b), b.clashes(&a)), (want, want), "{one} and {other}");
        }
        assert_eq!(wide.place(), "0.0.0.0:80");
        assert_eq!(port("tcp", "::1", 80).place(), "[::1]:80");
    }
}
