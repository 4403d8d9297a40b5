//! What is done to the uplink of this host alone.

use super::deeds::{Deed, FLAP, Hurts};

/// On a host with a VXLAN device, which goes with its uplink.
pub(crate) const TO_THE_UPLINK: [Deed; 2] = [
    FLAP,
    Deed {
        says: "deletes the uplink, and with it the device, and makes it again",
        types: &[
            "ip link del u0",
            "ip link add u0 type veth peer name u1",
            "ip addr add 192.0.2.1/24 dev u0",
            "ip link set u0 up",
            "ip link set u1 up",
            "ip route add default via 192.0.2.254",
        ],
        kind: "",
        destroys: "0",
        hurts: Hurts::Everybody,
    },
];

/// Where a peer on the link has a route without a tunnel, and would have one.
pub(crate) const BESIDE_A_TUNNEL: [Deed; 2] = [
    Deed {
        says: "sends a route to a peer on the link into the tunnel",
        types: &["ip route change PEER/24 via PEER dev DEVICE onlink"],
        kind: "route",
        destroys: "",
        hurts: Hurts::Peer,
    },
    OVER_THE_UPLINK,
];

/// Where peers have routes over it.
pub(crate) const OVER_THE_UPLINK: Deed = Deed { kind: "route", ..FLAP };

/// To the uplink, which loses its addresses of IPv6 with it.
pub(crate) const TO_THE_UPLINK_OF_IPV6: [Deed; 2] = [
    Deed {
        types: &[
            "ip link set u0 down",
            "ip link set u0 up",
            "ip -6 addr add 2001:db8::1/64 dev u0 nodad",
            "ip -6 route replace default via 2001:db8::fe dev u0",
        ],
        ..FLAP
    },
    Deed {
        says: "deletes the uplink, and with it the device, and makes it again",
        types: &[
            "ip link del u0",
            "ip link add u0 type veth peer name u1",
            "ip -6 addr add 2001:db8::1/64 dev u0 nodad",
            "ip link set u0 up",
            "ip link set u1 up",
            "ip -6 route add default via 2001:db8::fe dev u0",
        ],
        kind: "",
        destroys: "0",
        hurts: Hurts::Everybody,
    },
];

/// What makes the host join again, and is undone by hand: each is to be named in between.
pub(crate) const TO_WHAT_IT_IS: [Deed; 3] = [
    Deed {
        says: "gives the uplink another name",
        types: &["ip link set u0 name up0", "ip link set up0 name u0"],
        kind: "rule",
        destroys: "u0",
        hurts: Hurts::Everybody,
    },
    Deed {
        says: "gives the uplink another MTU",
        types: &["ip link set u0 mtu 1400", "ip link set u0 mtu 1500"],
        kind: "",
        destroys: "u0",
        hurts: Hurts::Everybody,
    },
    Deed {
        says: "gives the uplink another address",
        types: &[
            "ip addr del 192.0.2.1/24 dev u0",
            "ip addr add 192.0.2.77/24 dev u0",
            "ip addr del 192.0.2.77/24 dev u0",
            "ip addr add 192.0.2.1/24 dev u0",
            "ip route replace default via 192.0.2.254",
        ],
        kind: "",
        destroys: "u0",
        hurts: Hurts::Everybody,
    },
];
pub(crate) const TO_WHAT_IT_IS_IN_IPV6: [Deed; 1] = [Deed {
    types: &[
        "ip -6 addr del 2001:db8::1/64 dev u0",
        "ip -6 addr add 2001:db8::77/64 dev u0 nodad",
        "ip -6 addr del 2001:db8::77/64 dev u0",
        "ip -6 addr add 2001:db8::1/64 dev u0 nodad",
        "ip -6 route replace default via 2001:db8::fe dev u0",
    ],
    ..TO_WHAT_IT_IS[2]
}];
