//! From this host to the other one: who that is, and what leads there.

use std::net::IpAddr;

use super::{MENDS, Stage, Step};
use crate::device::{IfIndex, Uplink};
use crate::ids::{Gateway, Mac, Subnet, Underlay};
use crate::plan::{Hop, Route, Tables, Wire};
use crate::wireguard::PublicKey;

/// Who has the other address, by what this host knows of etcd.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Owner {
    /// This very host.
    Here,
    /// Another one.
    Peer {
        /// Its block.
        subnet: Subnet,
        /// Where it listens.
        underlay: Underlay,
        /// How it is reached.
        by: String,
    },
    /// One whose lease this host makes no use of.
    Ignored {
        /// The lease's key.
        key: String,
        /// Why.
        why: String,
    },
    /// Nobody.
    Nobody,
}

/// Does the other address belong to a host that this one sends to?
#[must_use]
pub fn lease(to: IpAddr, owner: &Owner) -> Step {
    let stage = Stage::Lease;
    match owner {
        Owner::Here => Step::passes(stage, format!("{to} is in this host's own subnet")),
        Owner::Peer { subnet, underlay, by } => {
            Step::passes(stage, format!("{to} is in {subnet} of {underlay}, by {by}"))
        }
        Owner::Ignored { key, why } => {
            let what = format!("the lease {key} that covers {to} is not used: {why}");
            Step::breaks(
                stage,
                what,
                "`twillctl lease show`; put right what that host says of itself",
            )
        }
        Owner::Nobody => Step::breaks(
            stage,
            format!("no host has a lease for {to}"),
            "`twillctl lease list`: did that host's lease end? Is its agent up, and does it use the \
             same etcd and prefix?",
        ),
    }
}

/// The rows that lead to one address, as they should be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rows {
    /// The route, by its block.
    pub route: Option<(Subnet, Route)>,
    /// The neighbour on the tunnel device.
    pub neighbour: Option<(IfIndex, Gateway, Mac)>,
    /// Where frames for that hardware address go.
    pub forwarding: Option<(IfIndex, Mac, Underlay)>,
    /// The peer on a `WireGuard` device.
    pub wire: Option<(IfIndex, PublicKey, Wire)>,
}

impl Rows {
    /// What `tables` have for that address.
    #[must_use]
    pub fn towards(tables: &Tables, peer: Subnet) -> Self {
        let covers = |(block, _route): &&(Subnet, Route)| block.holds(peer);
        let route = tables.routes.iter().filter(covers).max_by_key(|(block, _route)| block.len());
        let gateway = peer.gateway();
        let neighbour = tables.neighbours.iter().find(|((_device, found), _mac)| *found == gateway);
        let neighbour = neighbour.map(|((device, gateway), mac)| (*device, *gateway, *mac));
        let forwarding = neighbour.and_then(|(on, _gateway, mac)| {
            tables.forwarding.iter().find(|(device, found, _)| (*device, *found) == (on, mac))
        });
        let wire = tables.wires.iter().find(|(_peer, wire)| wire.allowed == Some(peer));
        let wire = wire.map(|((device, key), wire)| (*device, *key, *wire));
        Self { route: route.copied(), neighbour, forwarding: forwarding.copied(), wire }
    }
}

/// What the kernel answers when it is asked where it would send a packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lookup {
    /// Out of that interface, by name, to that gateway.
    Sends {
        /// Its number.
        index: IfIndex,
        /// Its name.
        interface: String,
        /// The next hop; none if the destination is on the link.
        gateway: Option<IpAddr>,
    },
    /// To this host itself.
    Local,
    /// Nowhere, and why.
    Refuses(String),
}

impl Lookup {
    fn follows(&self, hop: Hop) -> bool {
        let (index, via): (IfIndex, Option<IpAddr>) = match hop {
            Hop::Device(index) => (index, None),
            Hop::Onlink(index, Gateway(gateway)) => (index, Some(gateway)),
            Hop::Via(index, Underlay(host)) => (index, Some(host)),
        };
        matches!(self, Self::Sends { index: found, gateway, .. } if (*found, *gateway) == (index, via))
    }
}

impl std::fmt::Display for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sends { interface, gateway: None, .. } => write!(f, "into {interface}"),
            Self::Sends { interface, gateway: Some(gateway), .. } => {
                write!(f, "via {gateway} on {interface}")
            }
            Self::Local => f.write_str("to this host itself"),
            Self::Refuses(why) => write!(f, "nowhere: {why}"),
        }
    }
}

/// Does the kernel send it the way that the plan has it? `there`: is the row among the kernel's?
#[must_use]
pub fn route(to: IpAddr, wanted: Option<(Subnet, Route)>, (found, there): (&Lookup, bool)) -> Step {
    let stage = Stage::Route;
    let Some((block, route)) = wanted else {
        let what = format!("this host has no way to send to {to}; the kernel sends it {found}");
        return Step::breaks(
            stage,
            what,
            "`twillctl peers`, `twillctl status`: why is that host left out?",
        );
    };
    if found.follows(route.hop) {
        return Step::passes(stage, format!("{to} goes {found}"));
    }
    if !there {
        let what = format!("the route {block} {route} is missing; the kernel sends {to} {found}");
        return Step::breaks(stage, what, MENDS);
    }
    let what = format!("the route {block} {route} is there, and yet the kernel sends {to} {found}");
    Step::breaks(
        stage,
        what,
        "another route or rule comes first: `ip route show table all`, `ip rule`",
    )
}

/// Is the other end of the tunnel a permanent neighbour?
#[must_use]
pub fn neighbour(wanted: (IfIndex, Gateway, Mac), actual: &Tables) -> Step {
    let (device, gateway, mac) = wanted;
    let stage = Stage::Neighbour;
    match actual.neighbours.get(&(device, gateway)) {
        Some(found) if *found == mac => Step::passes(stage, format!("{gateway} is at {mac}")),
        Some(found) => {
            let what = format!("the neighbour {gateway} is at {found}, its lease says {mac}");
            Step::breaks(stage, what, MENDS)
        }
        None => {
            let what = format!("the permanent neighbour {gateway} at {mac} is missing");
            Step::breaks(stage, what, MENDS)
        }
    }
}

/// Do frames for the other end go to its host?
#[must_use]
pub fn fdb(wanted: (IfIndex, Mac, Underlay), actual: &Tables) -> Step {
    let (device, mac, host) = wanted;
    let stage = Stage::Fdb;
    let rows = actual.forwarding.iter().filter(|(on, found, _)| (*on, *found) == (device, mac));
    let hosts: Vec<Underlay> = rows.map(|(_, _, host)| *host).collect();
    if hosts == [host] {
        return Step::passes(stage, format!("frames for {mac} go to {host}"));
    }
    if hosts.is_empty() {
        let what = format!("nobody says that frames for {mac} go to {host}");
        return Step::breaks(stage, what, MENDS);
    }
    let found: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let what = format!("frames for {mac} go to {}, its lease says {host}", found.join(" and "));
    Step::breaks(stage, what, MENDS)
}

/// Does the tunnel device know the other end, and have the two agreed on keys? `ago`: how many seconds before
/// now they last did.
#[must_use]
pub fn handshake(wanted: (IfIndex, PublicKey, Wire), actual: &Tables, ago: Option<u64>) -> Step {
    let (device, key, wire) = wanted;
    let stage = Stage::Handshake;
    let Some(found) = actual.wires.get(&(device, key)) else {
        return Step::breaks(stage, format!("the peer {key} is missing"), MENDS);
    };
    if (found.allowed, found.psk.is_some()) != (wire.allowed, wire.psk.is_some()) {
        return Step::breaks(stage, format!("{key} is a peer {found}, not {wire}"), MENDS);
    }
    let seen = found.endpoint.map_or_else(|| "nowhere".to_owned(), |it| it.to_string());
    match ago {
        Some(seconds) if seconds <= SESSION => {
            Step::passes(stage, format!("{key} at {seen}, last handshake {seconds} s ago"))
        }
        Some(seconds) => Step::doubtful(
            stage,
            format!("{key} at {seen}, last handshake {seconds} s ago: that session has ended"),
            UNREACHED,
        ),
        None => Step::doubtful(stage, format!("{key} at {seen}, no handshake yet"), UNREACHED),
    }
}

/// A session of `WireGuard` ends after so many seconds (`REJECT_AFTER_TIME`).
pub const SESSION: u64 = 180;

const UNREACHED: &str = "without packets there is none; if the echoes below fail, look whether its UDP port \
                         can be reached, and whether both hosts have the same PSK";

/// The tunnel device, and in what it is not as it should be.
#[must_use]
pub fn device(name: &str, differences: &[String]) -> Step {
    match differences {
        [] => Step::passes(Stage::Device, format!("{name} is as it should be")),
        differences => Step::breaks(Stage::Device, differences.join("; "), MENDS),
    }
}

/// The interface to the other hosts, as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UplinkSeen {
    /// Is it up?
    pub up: bool,
    /// Is there anybody at the other end of its wire?
    pub carrier: bool,
    /// Has it the address that peers know?
    pub address: bool,
    /// What it carries, in bytes.
    pub mtu: u32,
}

/// Is it as peers know it?
#[must_use]
pub fn uplink(wanted: &Uplink, seen: Option<UplinkSeen>) -> Step {
    let Uplink { name, address, mtu, .. } = wanted;
    let stage = Stage::Uplink;
    let again =
        "bring it back as it was; with another address or MTU the agent joins again by itself";
    let breaks = |what: String| Step::breaks(stage, what, again);
    match seen {
        None => breaks(format!("there is no uplink {name}, where peers send to {address}")),
        Some(UplinkSeen { up: false, .. }) => breaks(format!("the uplink {name} is down")),
        Some(UplinkSeen { carrier: false, .. }) => {
            Step::breaks(stage, format!("the uplink {name} has no carrier"), "look at the cable")
        }
        Some(UplinkSeen { address: false, .. }) => {
            breaks(format!("the uplink {name} has lost its address {address}"))
        }
        Some(seen) if seen.mtu != mtu.bytes() => {
            let what = format!("the uplink {name} carries {} bytes, not {mtu} as before", seen.mtu);
            Step::doubtful(stage, what, again)
        }
        Some(seen) => {
            let what = format!("{name} is up with {address}, {} bytes", seen.mtu);
            Step::passes(stage, what)
        }
    }
}
