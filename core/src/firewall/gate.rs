//! Who may speak to this host's containers, as a table of nftables.
//!
//! Encapsulated packets come in from peers alone, and from each peer only with an inner source inside
//! that peer's own subnet. Beside the tunnels, an address of the overlay is let in only where it lives:
//! so no container takes the address of another host's, and nobody on the underlay that of a container.
//! The `udp` backend judges its own packets, see the crate `twill-tunnel`.
//!
//! A host in several networks has a table for each: the address of a peer in one network says nothing about
//! who may speak in another.
//!
//! The table is written in the words in which `nft -s -n list table` prints it, so that a listing can
//! be compared; the elements of its sets apart, so that a peer who comes costs one element.

mod elements;
mod lack;
mod refused;
mod state;
mod table;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::nftables::header;
use crate::ids::{Family, Subnet, Underlay, Vni};

pub use lack::Lack;
pub use refused::{Count, Refusal, Refused};
pub use state::{State, transaction};
pub use table::{Table, is_table};

/// What the table depends on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gate {
    /// The whole overlay network.
    pub network: Subnet,
    /// This host's block.
    pub subnet: Subnet,
    /// The VXLAN segments that this host serves: UDP port and identifier.
    pub segments: BTreeSet<(u16, Vni)>,
    /// The UDP ports of all its tunnels.
    pub ports: BTreeSet<u16>,
    /// Their devices.
    pub devices: BTreeSet<String>,
    /// The interface to the other hosts.
    pub uplink: Uplink,
    /// Whose packets the tunnels take.
    pub sources: Sources,
    /// The other hosts and their blocks, however they are reached from here.
    pub peers: BTreeSet<(Underlay, Subnet)>,
}

/// The interface to the other hosts, by its name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Uplink {
    /// Packets of containers come in by tunnels alone.
    Wrapped(String),
    /// They come in as they are as well, as with `host-gw`.
    Plain(String),
}

/// Whose encapsulated packets are taken at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accept {
    /// Those of peers, with such inner sources.
    Peers(Sources),
    /// Everybody's: the administrator sees to it elsewhere.
    Anyone,
}

/// The inner sources that are taken from a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sources {
    /// Addresses of its own block.
    Own,
    /// And those outside of the overlay network: of clients that it forwards for.
    OwnAndOutside,
}

/// Offset into a UDP datagram with a VXLAN header (RFC 7348), in bits: 8 bytes of UDP, 4 of VXLAN.
const VNI: &str = "@th,96,24";

/// What is inside, by the same offsets: 8 bytes of UDP, 8 of VXLAN, 14 of Ethernet, then IP.
struct Inner {
    is_ip: &'static str,
    source: &'static str,
    destination: &'static str,
}

impl Inner {
    fn of(family: Family) -> Self {
        match family {
            Family::V4 => {
                Self { is_ip: "@th,224,16 0x800", source: "@th,336,32", destination: "@th,368,32" }
            }
            Family::V6 => Self {
                is_ip: "@th,224,16 0x86dd",
                source: "@th,304,128",
                destination: "@th,432,128",
            },
        }
    }
}

/// The route to the source leads elsewhere than where the packet came from.
const ASTRAY: &str = "fib saddr . iif oif 0";

impl Gate {
    /// Of which family its addresses are, outer ones and inner ones.
    #[must_use]
    pub fn family(&self) -> Family {
        self.network.family()
    }

    /// The table without the elements of its sets.
    fn text(&self, table: &Table, refused: &Refused) -> String {
        let ip = header(self.family());
        let mut text = format!("table {} {table} {{\n", table.family());
        for (refusal, Count { packets, bytes }) in refused.iter() {
            // Writing to a string cannot fail.
            _ = writeln!(
                text,
                "\tcounter {} {{\n\t\tpackets {packets} bytes {bytes}\n\t}}\n",
                refusal.counter()
            );
        }
        let kind = match self.family() {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        };
        _ = writeln!(text, "\tset hosts {{\n\t\ttype {kind}\n\t}}\n");
        let Inner { source, .. } = Inner::of(self.family());
        _ = writeln!(
            text,
            "\tset peers {{\n\t\ttypeof {ip} saddr . {source}\n\t\tflags interval\n\t}}\n"
        );
        // After conntrack has put fragments together, before anybody rewrites a destination.
        let prerouting = "type filter hook prerouting priority -150; policy accept;";
        chain(&mut text, "prerouting", Some(prerouting), &self.beside_the_tunnels());
        if !self.segments.is_empty() {
            // Before other people's rules of the same hook, which may accept and count.
            let input = "type filter hook input priority -10; policy accept;";
            chain(&mut text, "input", Some(input), &self.at_the_tunnels());
            chain(&mut text, "encapsulated", None, &self.encapsulated());
        }
        text.truncate(text.len() - 1);
        text + "}\n"
    }

    fn beside_the_tunnels(&self) -> Vec<String> {
        let Self { network, subnet, devices, ports, uplink, .. } = self;
        let ip = header(self.family());
        let refuse = |refusal: Refusal| format!("counter name \"{}\" drop", refusal.counter());
        // What comes out of a tunnel has been judged, by its outer source too.
        let mut rules: Vec<String> =
            devices.iter().map(|device| format!("iifname \"{device}\" return")).collect();
        let (uplink, forged) = match uplink {
            // A packet to the host itself may have any source: nobody need masquerade.
            Uplink::Wrapped(uplink) => (uplink, format!("{ip} daddr {network} {ASTRAY}")),
            // Hosts may differ in who is on the link, so that nothing is said of peers' addresses.
            Uplink::Plain(uplink) => (uplink, format!("{ip} saddr {subnet}")),
        };
        // Almost everything, so it comes first: what is encapsulated too.
        rules.push(format!("iifname \"{uplink}\" {ip} saddr != {network} return"));
        let underlay = refuse(Refusal::Underlay);
        rules.push(format!("iifname \"{uplink}\" {forged} {underlay}"));
        let container = refuse(Refusal::Container);
        rules.push(format!("iifname \"{uplink}\" return"));
        rules.push(format!("{ip} saddr {subnet} return"));
        rules.push(format!("{ip} saddr {network} {ASTRAY} {container}"));
        // To here or to any other host: a peer's outer source opens the tunnels.
        rules.extend(
            ports
                .iter()
                .map(|port| format!("udp dport {port} {ip} saddr @hosts {ASTRAY} {container}")),
        );
        rules
    }

    /// Segments of others on the same port are none of our business.
    fn at_the_tunnels(&self) -> Vec<String> {
        let rule = |(port, vni): &(u16, Vni)| {
            let number = vni.number();
            format!("udp dport {port} {VNI} {number:#x} jump encapsulated")
        };
        self.segments.iter().map(rule).collect()
    }

    /// What is good is let through by one look, and only what is not is asked why. Neighbours are
    /// permanent rows, so that nothing but IP is ever sent through a tunnel.
    fn encapsulated(&self) -> Vec<String> {
        let (stranger, inner) = (Refusal::Stranger.counter(), Refusal::Inner.counter());
        let ip = header(self.family());
        let Inner { is_ip, source, destination } = Inner::of(self.family());
        let to_us = format!("{destination} {}", elements::range(self.subnet));
        let mut rules = vec![format!("{is_ip} {to_us} {ip} saddr . {source} @peers return")];
        if self.sources == Sources::OwnAndOutside {
            let outside = format!("{source} != {}", elements::range(self.network));
            rules.push(format!("{is_ip} {to_us} {outside} {ip} saddr @hosts return"));
        }
        rules.push(format!("{ip} saddr != @hosts counter name \"{stranger}\" drop"));
        rules.push(format!("counter name \"{inner}\" drop"));
        rules
    }
}

fn chain(text: &mut String, name: &str, hook: Option<&str>, rules: &[String]) {
    _ = writeln!(text, "\tchain {name} {{");
    for line in hook.into_iter().chain(rules.iter().map(String::as_str)) {
        _ = writeln!(text, "\t\t{line}");
    }
    text.push_str("\t}\n\n");
}

#[cfg(test)]
mod tests;
