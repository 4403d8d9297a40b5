//! Each deed is undone, and nothing else.

use super::deeds::{
    DOUBLED_AT_THE_GATE, DOUBLED_IN_TABLES, DOUBLED_RULES, Deed, FLAP, ON_THE_GATE, ON_THE_RULES,
    ON_THE_TABLE, ON_THE_UPLINK, ON_TUN, ON_VXLAN,
};
use super::host::Host;
use super::setting::{DIRECT, HOST_GW, Setting, UDP, VXLAN};
use super::support::ip;
use super::uplink::{BESIDE_A_TUNNEL, OVER_THE_UPLINK, TO_THE_UPLINK, TO_THE_UPLINK_OF_IPV6};

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
    endures(HOST_GW, ON_THE_UPLINK.iter().chain([&OVER_THE_UPLINK]));
}

#[test]
fn on_the_uplink_alone_of_ipv6() {
    let flap = [&TO_THE_UPLINK_OF_IPV6[0]];
    endures(HOST_GW.of_ipv6(), ON_THE_UPLINK.iter().chain(flap));
}

#[test]
fn on_a_tun_device() {
    endures(UDP, ON_TUN.iter().chain([&FLAP]));
}

#[test]
fn on_a_tun_device_of_ipv6() {
    endures(UDP.of_ipv6(), ON_TUN.iter().chain([&TO_THE_UPLINK_OF_IPV6[0]]));
}

#[test]
fn on_the_rules_of_iptables() {
    endures(VXLAN.with("iptables"), rules());
}

#[test]
fn on_the_rules_of_iptables_of_ipv6() {
    endures(VXLAN.of_ipv6().with("iptables"), rules());
}

#[test]
fn on_the_rules_of_nftables() {
    endures(VXLAN.with("nftables"), tables());
}

#[test]
fn on_the_rules_of_nftables_of_ipv6() {
    endures(VXLAN.of_ipv6().with("nftables"), tables());
}

/// To everything that is written with iptables, and beside it.
pub(crate) fn rules() -> impl Iterator<Item = &'static Deed> {
    ON_THE_GATE.iter().chain(&ON_THE_RULES).chain(&DOUBLED_RULES).chain([&DOUBLED_AT_THE_GATE])
}

/// To everything that is written with nftables.
pub(crate) fn tables() -> impl Iterator<Item = &'static Deed> {
    ON_THE_GATE.iter().chain(&ON_THE_TABLE).chain(&DOUBLED_IN_TABLES)
}

fn endures(setting: Setting, deeds: impl IntoIterator<Item = &'static Deed>) {
    if let Some(mut host) = Host::new(setting) {
        host.endures(deeds);
    }
}
