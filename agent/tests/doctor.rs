//! `/doctor`: each fault that is made is found, with a way out, and a host that is well has none.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use support::network::{VXLAN, VXLAN_PEER, subnet_env};
use support::process::wait_for;
use support::{PREFIX, World, get, ip, iptables};
use twill_core::doctor::{Finding, Verdict};

fn findings() -> Vec<Finding> {
    let text = get("/doctor");
    let (_head, body) = text.split_once("\r\n\r\n").expect("a body");
    // Long answers come in chunks, a number before each.
    let document = &body[body.find('[').expect("a list")..=body.rfind(']').expect("its end")];
    serde_json::from_str(document).unwrap_or_else(|error| panic!("{error}: {document}"))
}

/// What was found of `check`, the worst first.
fn found(check: &str) -> Finding {
    let all = findings();
    let worst = all.iter().filter(|one| one.check == check).max_by_key(|one| one.verdict);
    worst.unwrap_or_else(|| panic!("nothing of {check}: {all:?}")).clone()
}

#[test]
fn every_fault_is_named_with_a_way_out() {
    let Some(world) = World::with_config(VXLAN) else { return };
    world.peer(VXLAN_PEER);
    let mut twilld = world.twilld(&["--iptables-forward-rules=false"]);
    twilld.says("bootstrap done");
    the_peer_answers();
    wait_for("readiness", || get("/readyz").contains("200 OK"));
    assert_eq!(broken(), []);
    let peer = found("peer 10.88.9.0/24");
    assert_eq!(peer.verdict, Verdict::Ok, "{peer:?}");
    assert!(peer.what.contains("192.0.2.9 answers in "), "{peer:?}");
    assert!(peer.what.contains("10.88.9.0 answers in "), "{peer:?}");

    let container = container();
    let raw = format!("-t raw -A PREROUTING -d {container}/32 ! -i docker0 -j DROP");
    let rows: [(&dyn Fn(), &str, Verdict, &str); 5] = [
        (
            &|| drop(iptables("-P FORWARD DROP")),
            "FORWARD",
            Verdict::Fail,
            "no rule lets the overlay network pass",
        ),
        (&|| drop(iptables(&raw)), "raw PREROUTING", Verdict::Fail, &container),
        (
            &|| drop(ip("link add twill0 mtu 1500 type bridge")),
            "MTU",
            Verdict::Warn,
            "bridge twill0 carries 1500 bytes, the tunnel 1450",
        ),
        (
            &|| drop(ip("addr del 10.88.9.0/32 dev lo")),
            "peer 10.88.9.0/24",
            Verdict::Fail,
            "10.88.9.0 does not answer",
        ),
        (
            &|| drop(world.etcdctl(&["put", &format!("{PREFIX}/subnets/10.88.8.0-24"), "x"])),
            "leases",
            Verdict::Warn,
            "10.88.8.0-24",
        ),
    ];
    for (fault, check, verdict, words) in rows {
        fault();
        wait_for(check, || findings().iter().any(|one| one.check == check));
        let found = found(check);
        assert_eq!(found.verdict, verdict, "{found:?}");
        assert!(found.what.contains(words) && found.hint.is_some(), "{found:?}");
    }
    twilld.stops();
}

#[test]
fn a_lossy_way_is_named() {
    let Some(world) = World::with_config(VXLAN) else { return };
    world.peer(VXLAN_PEER);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    the_peer_answers();
    wait_for("readiness", || get("/readyz").contains("200 OK"));
    let every_third = "-m statistic --mode nth --every 3 --packet 0 -j DROP";
    for from in ["10.88.9.0", "192.0.2.9"] {
        let rule = format!("INPUT -p icmp --icmp-type echo-reply -s {from} {every_third}");
        iptables(&format!("-A {rule}"));
        let peer = found("peer 10.88.9.0/24");
        assert_eq!(peer.verdict, Verdict::Warn, "{peer:?}");
        let (_before, said) = peer.what.split_once(&format!("{from} answers in ")).expect(from);
        let (_time, lost) = said.split_once(" ms").expect("a time");
        assert!(lost.starts_with(", 1 of 3 lost"), "{peer:?}");
        iptables(&format!("-D {rule}"));
    }
    twilld.stops();
}

/// It and the end of its tunnel, from here.
fn the_peer_answers() {
    ip("addr add 192.0.2.9/32 dev lo");
    ip("addr add 10.88.9.0/32 dev lo");
}

fn broken() -> Vec<Finding> {
    findings().into_iter().filter(|one| one.verdict == Verdict::Fail).collect()
}

/// An address that a container of this host may have.
fn container() -> String {
    let subnet = subnet_env();
    let own = subnet.split("FLANNEL_SUBNET=").nth(1).expect("a subnet");
    own.split(".1/").next().expect("a prefix").to_owned() + ".2"
}

#[test]
fn before_the_host_has_a_subnet_the_doctor_says_what_it_waits_for() {
    let Some(world) = World::new() else { return };
    let mut twilld = world.twilld(&[]);
    twilld.says("waiting: ");
    let agent = found("agent");
    assert_eq!(agent.verdict, Verdict::Fail, "{agent:?}");
    assert!(agent.what.contains("etcd"), "{agent:?}");
    twilld.stops();
}
