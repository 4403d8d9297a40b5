//! Switches that are the host's, or that the kernel says nothing of.

use std::fs;
use std::path::Path;

use super::support::network::{OF_IPV6, PEER_OF_IPV6, VXLAN, give_ipv6};
use super::support::process::wait_for;
use super::support::{World, ip};

fn switch(name: &str) -> String {
    fs::read_to_string(Path::new("/proc/sys/net").join(name)).expect(name).trim().to_owned()
}

fn set(name: &str, value: &str) {
    fs::write(Path::new("/proc/sys/net").join(name), value).expect(name);
}

/// The host's own switch stays as somebody wants it: the kernel goes by the higher of the two.
#[test]
fn a_source_check_of_all_interfaces_is_countered_on_the_device() {
    let Some(world) = World::with_config(VXLAN) else { return };
    for name in ["all", "default", "u0"] {
        set(&format!("ipv4/conf/{name}/rp_filter"), "0");
    }
    let mut twilld = world.twilld(&["--resync=60"]);
    twilld.says("bootstrap done");
    assert_eq!(switch("ipv4/conf/flannel.1/rp_filter"), "0", "off is looser still");
    set("ipv4/conf/all/rp_filter", "1");
    // Long before the timer's next look.
    wait_for("a loose check", || switch("ipv4/conf/flannel.1/rp_filter") == "2");
    assert_eq!(switch("ipv4/conf/all/rp_filter"), "1");
    assert_eq!(switch("ipv4/conf/u0/rp_filter"), "0", "no packet of a container comes in by it");
    twilld.stops();
}

/// The kernel does not announce these: the timer finds them.
#[test]
fn switches_of_ipv6_that_nobody_announces_are_found_by_the_timer() {
    let Some(world) = World::with_config(OF_IPV6) else { return };
    give_ipv6();
    world.peer_of(PEER_OF_IPV6);
    set("ipv6/conf/u0/accept_ra", "1");
    let mut twilld = world.twilld(&["--resync=1"]);
    twilld.says("bootstrap done");
    // Where the host passes packets on, only this one believes a router.
    assert_eq!(switch("ipv6/conf/u0/accept_ra"), "2");
    let route = || ip("-6 route show fd00:88:0:9::/64");
    wait_for("the route", || route().contains("flannel-v6.1"));
    let whole = ip("-6 -o addr show dev flannel-v6.1 scope global");
    for (name, spoilt, wanted) in [
        ("ipv6/conf/u0/accept_ra", "1", "2"),
        ("ipv6/conf/flannel-v6.1/accept_ra", "1", "0"),
        ("ipv6/conf/flannel-v6.1/disable_ipv6", "1", "0"),
    ] {
        set(name, spoilt);
        wait_for(name, || switch(name) == wanted);
    }
    wait_for("the route that went with it", || route().contains("flannel-v6.1"));
    let number = |text: &str| text.split(" valid_lft").next().map(str::to_owned);
    let again = || ip("-6 -o addr show dev flannel-v6.1 scope global");
    wait_for("its address", || number(&again()) == number(&whole));
    twilld.stops();
}
