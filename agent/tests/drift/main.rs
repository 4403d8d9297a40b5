//! Whatever somebody else does to what is ours in the kernel is undone within a second of the kernel's
//! word of it, and what is not ours stays as it is. The timer has no part in it: it is set to a minute.
//!
//! With `HEALING_ROUNDS` everything is done so many times, for `make healing`.

#[path = "../../../integration/src/deeds.rs"]
#[expect(dead_code, reason = "each test file uses its part of the deeds")]
mod deeds;
mod found;
mod host;
mod setting;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use deeds::{
    Deed, FLAP, Hurts, ON_THE_GATE, ON_THE_RULES, ON_THE_TABLE, ON_THE_UPLINK, ON_TUN, ON_VXLAN,
};
use host::Host;
use setting::{DIRECT, HOST_GW, Setting, UDP, VXLAN};
use support::ip;

/// On a vxlan device, and to the uplink.
const TO_THE_UPLINK: [Deed; 2] = [
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
const BESIDE_A_TUNNEL: [Deed; 2] = [
    Deed {
        says: "sends a route to a peer on the link into the tunnel",
        types: &["ip route change PEER/24 via PEER dev DEVICE onlink"],
        kind: "route",
        destroys: "",
        hurts: Hurts::Peer,
    },
    Deed { kind: "route", ..FLAP },
];

/// To the uplink, which loses its addresses of IPv6 with it.
const TO_THE_UPLINK_OF_IPV6: [Deed; 2] = [
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

#[test]
fn on_a_vxlan_device() {
    endures(VXLAN, ON_VXLAN.iter().chain(&TO_THE_UPLINK));
}

#[test]
fn on_a_vxlan_device_of_ipv6() {
    endures(VXLAN.of_ipv6(), ON_VXLAN.iter().chain(&TO_THE_UPLINK_OF_IPV6));
}

#[test]
fn on_the_link_of_the_uplink() {
    let Some(mut host) = Host::new(DIRECT) else { return };
    assert!(ip("route show 10.88.9.0/24 proto 84").contains("via 192.0.2.9 dev u0"));
    host.endures(ON_THE_UPLINK.iter().chain(&BESIDE_A_TUNNEL));
}

#[test]
fn on_the_link_of_the_uplink_of_ipv6() {
    let Some(mut host) = Host::new(DIRECT.of_ipv6()) else { return };
    assert!(ip("-6 route show fd00:88:0:9::/64 proto 84").contains("via 2001:db8::9 dev u0"));
    host.endures(&ON_THE_UPLINK);
}

#[test]
fn on_the_uplink_alone() {
    endures(HOST_GW, &ON_THE_UPLINK);
}

#[test]
fn on_the_uplink_alone_of_ipv6() {
    endures(HOST_GW.of_ipv6(), &ON_THE_UPLINK);
}

#[test]
fn on_a_tun_device() {
    endures(UDP, &ON_TUN);
}

#[test]
fn on_a_tun_device_of_ipv6() {
    endures(UDP.of_ipv6(), &ON_TUN);
}

#[test]
fn on_the_rules_of_iptables() {
    endures(VXLAN.with("iptables"), ON_THE_GATE.iter().chain(&ON_THE_RULES));
}

#[test]
fn on_the_rules_of_iptables_of_ipv6() {
    endures(VXLAN.of_ipv6().with("iptables"), ON_THE_GATE.iter().chain(&ON_THE_RULES));
}

#[test]
fn on_the_rules_of_nftables() {
    endures(VXLAN.with("nftables"), ON_THE_GATE.iter().chain(&ON_THE_TABLE));
}

#[test]
fn on_the_rules_of_nftables_of_ipv6() {
    endures(VXLAN.of_ipv6().with("nftables"), ON_THE_GATE.iter().chain(&ON_THE_TABLE));
}

#[test]
fn each_deed_on_a_vxlan_device_is_named_while_the_agent_hangs() {
    names(VXLAN, ON_VXLAN.iter().chain(&TO_THE_UPLINK));
}

#[test]
fn each_deed_on_a_vxlan_device_of_ipv6_is_named_while_the_agent_hangs() {
    names(VXLAN.of_ipv6(), ON_VXLAN.iter().chain(&TO_THE_UPLINK_OF_IPV6));
}

#[test]
fn each_deed_on_the_link_of_the_uplink_is_named_while_the_agent_hangs() {
    names(DIRECT, ON_THE_UPLINK.iter().chain(&BESIDE_A_TUNNEL));
}

#[test]
fn each_deed_on_a_tun_device_is_named_while_the_agent_hangs() {
    names(UDP, &ON_TUN);
}

#[test]
fn each_deed_on_a_tun_device_of_ipv6_is_named_while_the_agent_hangs() {
    names(UDP.of_ipv6(), &ON_TUN);
}

fn endures(setting: Setting, deeds: impl IntoIterator<Item = &'static Deed>) {
    if let Some(mut host) = Host::new(setting) {
        host.endures(deeds);
    }
}

fn names(setting: Setting, deeds: impl IntoIterator<Item = &'static Deed>) {
    if let Some(mut host) = Host::new(setting) {
        host.names(deeds);
    }
}
