//! What somebody may do to a host's kernel behind the agent's back, as commands, and how to see whether
//! it is as it was.
//!
//! Tests of the agent and of its firewall take in this file by its path: as a dependency this crate would
//! be a circle to them. Words in capitals are other ones on each host; [`fill`] puts them in:
//!
//! | word | is |
//! |---|---|
//! | `DEVICE`, `UPLINK` | the tunnel device; the interface to the other hosts |
//! | `NETWORK`, `OWN` | the overlay network; the tunnel device's own address |
//! | `PEER`, `MAC`, `HOST` | a peer's block without its length, its device's hardware address, its own address |
//! | `STRANGER`, `ROUTER` | an address on the link that nobody has; the default route's gateway |
//! | `SELF`, `ALIAS` | this host's address on the link, and one that is free there |
//!
//! Lines are about IPv4; [`ipv6::in_ipv6`] says the same of IPv6.

// By its path in either case: a file that is taken in by one has its modules beside it otherwise.
#[path = "deeds/ipv6.rs"]
pub(crate) mod ipv6;
#[path = "deeds/rows.rs"]
pub(crate) mod rows;

/// What somebody does, in words and as commands, and the counter that tells that it was undone.
#[derive(Debug)]
pub(crate) struct Deed {
    pub(crate) says: &'static str,
    pub(crate) types: &'static [&'static str],
    /// Empty if nothing has to be undone, or if joining again does it.
    pub(crate) kind: &'static str,
    /// The interface with which other people's rows go as well.
    pub(crate) destroys: &'static str,
    pub(crate) hurts: Hurts,
}

/// Whose packets may be lost until it is undone. A deed that hurts nobody has to be undone without a loss.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hurts {
    Nobody,
    /// Those to the peer.
    Peer,
    /// All from and to the host.
    Everybody,
}

const fn deed(says: &'static str, kind: &'static str, types: &'static [&'static str]) -> Deed {
    Deed { says, types, kind, destroys: "", hurts: Hurts::Nobody }
}

const fn fatal(says: &'static str, types: &'static [&'static str]) -> Deed {
    Deed { says, types, kind: "device", destroys: "DEVICE", hurts: Hurts::Everybody }
}

impl Deed {
    const fn hurting(self, hurts: Hurts) -> Self {
        Self { hurts, ..self }
    }
}

pub(crate) const ON_VXLAN: [Deed; 23] = [
    deed("deletes a route", "route", &["ip route del PEER/24"]).hurting(Hurts::Peer),
    deed(
        "sends a route to another gateway",
        "route",
        &["ip route change PEER/24 via 10.88.11.0 dev DEVICE onlink"],
    )
    .hurting(Hurts::Peer),
    deed(
        "puts a second route in front of one",
        "route",
        &["ip route prepend PEER/24 via STRANGER dev UPLINK proto 84"],
    )
    .hurting(Hurts::Peer),
    deed(
        "puts a second route behind one, as flanneld would",
        "route",
        &["ip route append PEER/24 via 10.88.12.0 dev DEVICE onlink"],
    ),
    deed(
        "adds a route to a peer that there is not",
        "route",
        &["ip route add 10.88.77.0/24 via 10.88.77.0 dev DEVICE onlink"],
    ),
    deed("deletes a neighbour", "neighbour", &["ip neigh del PEER dev DEVICE"])
        .hurting(Hurts::Peer),
    deed(
        "gives a neighbour another hardware address",
        "neighbour",
        &["ip neigh replace PEER lladdr 02:00:00:00:00:0b dev DEVICE nud permanent"],
    )
    .hurting(Hurts::Peer),
    deed(
        "lets a neighbour age",
        "neighbour",
        &["ip neigh replace PEER lladdr MAC dev DEVICE nud reachable"],
    ),
    deed(
        "adds a neighbour that there is not",
        "neighbour",
        &["ip neigh add 10.88.77.0 lladdr 02:00:00:00:00:4d dev DEVICE nud permanent"],
    ),
    deed("deletes a forwarding entry", "fdb", &["bridge fdb del MAC dev DEVICE dst HOST self"])
        .hurting(Hurts::Peer),
    deed(
        "sends a forwarding entry to another host",
        "fdb",
        &["bridge fdb replace MAC dev DEVICE dst STRANGER self permanent"],
    )
    .hurting(Hurts::Peer),
    deed(
        "adds a forwarding entry for nobody",
        "fdb",
        &["bridge fdb add 02:00:00:00:00:4d dev DEVICE dst 192.0.2.77 self permanent"],
    ),
    deed("deletes every address", "address", &["ip addr del OWN dev DEVICE"]),
    deed("adds an address", "address", &["ip addr add 10.88.77.0/32 dev DEVICE"]),
    deed("changes the MTU", "device", &["ip link set DEVICE mtu 1300"]),
    deed("switches learning on", "device", &["ip link set DEVICE type vxlan learning"]),
    CLOSED,
    deed("checks sources", "sysctl", &["sysctl -q net/ipv4/conf/DEVICE/rp_filter=1"]),
    deed("closes the host", "sysctl", &["sysctl -q net/ipv4/ip_forward=0"])
        .hurting(Hurts::Everybody),
    DOWN,
    fatal(
        "gives the device another hardware address",
        &["ip link set DEVICE address 02:00:00:00:00:aa"],
    ),
    RENAMED,
    DELETED,
];

const CLOSED: Deed =
    deed("closes the device", "sysctl", &["sysctl -q net/ipv4/conf/DEVICE/forwarding=0"])
        .hurting(Hurts::Everybody);
const DOWN: Deed = fatal("takes the device down", &["ip link set DEVICE down"]);
const RENAMED: Deed = fatal("gives the device another name", &["ip link set DEVICE name other"]);
const DELETED: Deed = fatal("deletes the device", &["ip link del DEVICE"]);

/// The kernel drops everybody's routes over it.
pub(crate) const FLAP: Deed = Deed {
    says: "takes the uplink down and up",
    types: &[
        "ip link set UPLINK down",
        "ip link set UPLINK up",
        "ip route replace default via ROUTER",
    ],
    kind: "",
    destroys: "UPLINK",
    hurts: Hurts::Everybody,
};

/// With `host-gw`, or `DirectRouting`.
pub(crate) const ON_THE_UPLINK: [Deed; 5] = [
    deed("deletes a route to a peer on the link", "route", &["ip route del PEER/24"])
        .hurting(Hurts::Peer),
    deed(
        "sends it to another host on the link",
        "route",
        &["ip route change PEER/24 via STRANGER dev UPLINK proto 84"],
    )
    .hurting(Hurts::Peer),
    deed(
        "adds one to a peer that there is not",
        "route",
        &["ip route add 10.88.77.0/24 via STRANGER dev UPLINK proto 84"],
    ),
    deed("closes the uplink", "sysctl", &["sysctl -q net/ipv4/conf/UPLINK/forwarding=0"])
        .hurting(Hurts::Everybody),
    deed("checks sources on the uplink", "sysctl", &["sysctl -q net/ipv4/conf/UPLINK/rp_filter=1"]),
];

pub(crate) const ON_TUN: [Deed; 9] = [
    deed("deletes the route", "route", &["ip route del NETWORK"]).hurting(Hurts::Everybody),
    deed(
        "puts a second route in front of it",
        "route",
        &["ip route prepend NETWORK via STRANGER dev UPLINK proto 84"],
    )
    .hurting(Hurts::Everybody),
    deed("adds a longer one", "route", &["ip route add 10.88.77.0/24 dev DEVICE"]),
    deed("deletes the address", "address", &["ip addr del OWN dev DEVICE"]),
    deed("changes the MTU", "device", &["ip link set DEVICE mtu 1300"]),
    CLOSED,
    DOWN,
    RENAMED,
    DELETED,
];

/// To the table of peers.
pub(crate) const ON_THE_GATE: [Deed; 4] = [
    deed("deletes the table of peers", "rule", &["nft delete table ip twill-peers"]),
    deed("empties a set of the table of peers", "rule", &["nft flush set ip twill-peers peers"])
        .hurting(Hurts::Everybody),
    deed(
        "adds a host to the table of peers",
        "rule",
        &["nft add element ip twill-peers hosts { 192.0.2.66 }"],
    ),
    deed(
        "accepts everything in the table of peers",
        "rule",
        &["nft insert rule ip twill-peers prerouting accept"],
    ),
];

/// To rules of iptables, where others have some in `raw`, and ours come first in `FORWARD`.
pub(crate) const ON_THE_RULES: [Deed; 8] = [
    deed("flushes a chain", "rule", &["iptables -t nat -F FLANNEL-POSTRTG"]),
    deed("deletes a jump", "rule", &["iptables -D FORWARD 1"]),
    deed(
        "deletes a chain",
        "rule",
        &["iptables -D FORWARD 1", "iptables -F TWILL-FWD", "iptables -X TWILL-FWD"],
    ),
    deed("adds a rule", "rule", &["iptables -A FLANNEL-FWD -j DROP"]),
    deed("deletes a rule in raw", "rule", &["iptables -t raw -D TWILL-RAW 1"])
        .hurting(Hurts::Everybody),
    deed("deletes a rule in mangle", "rule", &["iptables -t mangle -D TWILL-MSS 1"]),
    deed(
        "puts rules into another order",
        "rule",
        &["iptables -D FLANNEL-FWD 1", "iptables -A FLANNEL-FWD -s NETWORK -j ACCEPT"],
    ),
    deed(
        "flushes all chains",
        "rule",
        &[
            "iptables -F FLANNEL-FWD",
            "iptables -F TWILL-FWD",
            "iptables -t nat -F FLANNEL-POSTRTG",
            "iptables -t raw -F TWILL-RAW",
            "iptables -t mangle -F TWILL-MSS",
        ],
    )
    .hurting(Hurts::Everybody),
];

/// Once more what is there already, in the words of a shell.
pub(crate) const DOUBLED_RULES: [Deed; 4] = [
    deed(
        "doubles a rule",
        "rule",
        &[
            r#"iptables -A FLANNEL-FWD -s NETWORK -m comment --comment "flanneld forward" -j ACCEPT"#,
        ],
    ),
    deed(
        "doubles a jump",
        "rule",
        &[r#"iptables -A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD"#],
    ),
    deed(
        "doubles a jump in nat",
        "rule",
        &[
            r#"iptables -t nat -A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG"#,
        ],
    ),
    deed(
        "doubles a jump in raw",
        "rule",
        &[
            r#"iptables -t raw -A PREROUTING -m comment --comment "twill between hosts" -j TWILL-RAW"#,
        ],
    ),
];

/// The same of nftables.
pub(crate) const DOUBLED_IN_TABLES: [Deed; 2] = [
    deed(
        "doubles a rule of nftables",
        "rule",
        &["nft add rule inet twill postrouting meta mark & 0x00004000 == 0x00004000 return"],
    ),
    DOUBLED_AT_THE_GATE,
];

pub(crate) const DOUBLED_AT_THE_GATE: Deed = deed(
    "doubles a rule of the table of peers",
    "rule",
    &["nft add rule ip twill-peers encapsulated counter name refused_inner drop"],
);

/// To our table of nftables.
pub(crate) const ON_THE_TABLE: [Deed; 6] = [
    deed("deletes the table of nftables", "rule", &["nft delete table inet twill"]),
    deed("flushes a chain of nftables", "rule", &["nft flush chain inet twill postrouting"]),
    deed("deletes a chain of nftables", "rule", &["nft delete chain inet twill clamp"]),
    deed(
        "accepts everything in a chain of nftables",
        "rule",
        &["nft insert rule inet twill postrouting accept"],
    ),
    deed(
        "adds a chain to nftables that drops",
        "rule",
        &["nft add chain inet twill x { type filter hook forward priority 0; policy drop; }"],
    )
    .hurting(Hurts::Everybody),
    deed(
        "switches the table of nftables off",
        "rule",
        &["nft add table inet twill { flags dormant; }"],
    ),
];

/// Rows that are not ours, of each sort, as near to ours as can be.
pub(crate) const FOREIGN_ON_VXLAN: [&str; 8] = [
    "ip route add 10.99.1.0/24 dev DEVICE proto static",
    "ip route add PEER/24 dev DEVICE metric 7",
    "ip route add PEER/24 via STRANGER dev UPLINK table 99",
    "ip addr add 172.31.0.1/24 dev DEVICE",
    "bridge fdb append 00:00:00:00:00:00 dev DEVICE dst 192.0.2.95 self permanent",
    "bridge fdb add 02:00:00:00:00:60 dev DEVICE dst 192.0.2.96 port 4789 self permanent",
    "ip route add 10.99.2.0/24 via STRANGER dev UPLINK proto 84",
    "ip neigh replace STRANGER lladdr 02:00:00:00:00:62 dev UPLINK nud permanent",
];
pub(crate) const FOREIGN_ON_TUN: [&str; 4] = [
    "ip route add 10.99.1.0/24 dev DEVICE proto static",
    "ip route add PEER/24 dev DEVICE metric 7",
    "ip addr add 172.31.0.1/24 dev DEVICE",
    "ip route add 10.99.2.0/24 via STRANGER dev UPLINK proto 84",
];
/// Without a tunnel: its block is no place for routes of others on the link, which a host that joins refuses.
pub(crate) const FOREIGN_ON_THE_UPLINK: [&str; 4] = [
    "ip route add 10.99.1.0/24 dev UPLINK proto static",
    "ip route add PEER/24 via STRANGER dev UPLINK table 99",
    "ip route add 10.99.2.0/24 via STRANGER dev UPLINK proto 84",
    "ip neigh replace STRANGER lladdr 02:00:00:00:00:62 dev UPLINK nud permanent",
];
/// What looks like ours on a host without us, and is not.
pub(crate) const FOREIGN: [&str; 7] = [
    "ip link add twx type veth peer name twy",
    "ip link add flannel.9 type vxlan id 9 dstport 4790",
    "ip route add 10.99.0.0/16 via STRANGER proto 83",
    "iptables -A FORWARD -s NETWORK -j ACCEPT",
    "iptables -t nat -A POSTROUTING -s NETWORK -j RETURN",
    "iptables -t mangle -A FORWARD -s NETWORK -j RETURN",
    "nft add table ip twill",
];

/// The line with the words of this host.
pub(crate) fn fill(line: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(line.to_owned(), |line, (word, is)| line.replace(word, is))
}
