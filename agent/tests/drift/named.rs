//! Each deed is named by the agent's program while the agent cannot undo it.

use super::deeds::{Deed, ON_THE_UPLINK, ON_TUN, ON_VXLAN};
use super::endured::{rules, tables};
use super::host::Host;
use super::setting::{DIRECT, HOST_GW, Setting, UDP, VXLAN};
use super::uplink::{
    BESIDE_A_TUNNEL, TO_THE_UPLINK, TO_THE_UPLINK_OF_IPV6, TO_WHAT_IT_IS, TO_WHAT_IT_IS_IN_IPV6,
};

#[test]
fn each_deed_on_a_vxlan_device_is_named_while_the_agent_hangs() {
    names(VXLAN, ON_VXLAN.iter().chain(&TO_THE_UPLINK));
}

#[test]
fn what_is_done_to_the_uplink_itself_is_named_while_the_agent_hangs() {
    names(VXLAN.with("nftables"), &TO_WHAT_IT_IS);
}

#[test]
fn what_is_done_to_the_uplink_itself_is_named_in_ipv6_while_the_agent_hangs() {
    let same = TO_WHAT_IT_IS[..2].iter();
    names(VXLAN.of_ipv6().with("nftables"), same.chain(&TO_WHAT_IT_IS_IN_IPV6));
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
fn each_deed_on_the_link_of_the_uplink_of_ipv6_is_named_while_the_agent_hangs() {
    names(DIRECT.of_ipv6(), &ON_THE_UPLINK);
}

#[test]
fn each_deed_on_the_uplink_alone_is_named_while_the_agent_hangs() {
    names(HOST_GW, &ON_THE_UPLINK);
}

#[test]
fn each_deed_on_the_uplink_alone_of_ipv6_is_named_while_the_agent_hangs() {
    names(HOST_GW.of_ipv6(), &ON_THE_UPLINK);
}

#[test]
fn each_deed_on_the_rules_of_iptables_is_named_while_the_agent_hangs() {
    names(VXLAN.with("iptables"), rules());
}

#[test]
fn each_deed_on_the_rules_of_iptables_of_ipv6_is_named_while_the_agent_hangs() {
    names(VXLAN.of_ipv6().with("iptables"), rules());
}

#[test]
fn each_deed_on_the_rules_of_nftables_is_named_while_the_agent_hangs() {
    names(VXLAN.with("nftables"), tables());
}

#[test]
fn each_deed_on_the_rules_of_nftables_of_ipv6_is_named_while_the_agent_hangs() {
    names(VXLAN.of_ipv6().with("nftables"), tables());
}

#[test]
fn each_deed_on_a_tun_device_is_named_while_the_agent_hangs() {
    names(UDP, &ON_TUN);
}

#[test]
fn each_deed_on_a_tun_device_of_ipv6_is_named_while_the_agent_hangs() {
    names(UDP.of_ipv6(), &ON_TUN);
}

fn names(setting: Setting, deeds: impl IntoIterator<Item = &'static Deed>) {
    if let Some(mut host) = Host::new(setting) {
        host.names(deeds);
    }
}
