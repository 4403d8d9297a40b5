//! Whatever somebody else does to our rows wakes the loop.

use std::time::Duration;

use crate::host::{apply, device, gateway, host, mac, named, on_a_host, run, subnet};
use tokio::time::timeout;
use twill_core::device::IfIndex;
use twill_core::plan::{Change, Hop};
use twill_net::Kernel;
use twill_net::kernel::{Event, Events};

type OfDevice = fn(IfIndex) -> Event;

/// What is done, and what has to be heard of it, the number of the device left open.
const DEEDS: [(&str, OfDevice); 10] = [
    ("ip route del 10.5.2.0/24", Event::Route),
    ("ip neigh del 10.5.2.0 dev flannel.1", Event::Neighbour),
    ("bridge fdb del 02:00:00:00:01:02 dev flannel.1 dst 192.168.140.23 self", Event::Neighbour),
    ("ip address del 10.5.1.0/32 dev flannel.1", Event::Address),
    ("ip link set flannel.1 mtu 1300", Event::Link),
    ("ip link set flannel.1 address 02:00:00:00:00:0f", Event::Link),
    ("sysctl -q net/ipv4/conf/flannel.1/forwarding=1", |index| Event::Setting(Some(index))),
    ("sysctl -q net/ipv4/conf/flannel.1/rp_filter=1", |index| Event::Setting(Some(index))),
    ("ip link set flannel.1 down", Event::Link),
    ("ip link del flannel.1", Event::Link),
];

#[test]
fn each_loss_is_heard_of_within_a_second() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        let mut events = Kernel::events().unwrap();
        for (deed, event) in DEEDS {
            if !deed.starts_with("ip link del") {
                device(&kernel).await;
                plant(&kernel, index).await;
            }
            drain(&mut events).await;
            run(deed);
            hear(&mut events, deed, |heard| heard == event(index)).await;
        }
    });
}

#[test]
fn a_policy_of_ipsec_is_heard_of() {
    on_a_host(async |_scratch| {
        let mut events = Kernel::events().unwrap();
        let policy = "src 198.51.100.0/24 dst 203.0.113.0/24 dir out";
        for deed in ["add", "update", "delete"] {
            let action = if deed == "delete" { "" } else { " action block" };
            drain(&mut events).await;
            run(&format!("ip xfrm policy {deed} {policy}{action}"));
            hear(&mut events, deed, |heard| heard == Event::Policy).await;
        }
    });
}

#[test]
fn a_change_of_the_uplink_is_heard_of() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        let uplink = kernel.uplink(&named("eth0")).await.unwrap().index;
        let mut events = Kernel::events().unwrap();
        for deed in [
            "ip link set eth0 mtu 1400",
            "ip address add 192.168.140.5/24 dev eth0",
            "sysctl -q net/ipv4/conf/eth0/rp_filter=1",
            "sysctl -q net/ipv4/ip_forward=1",
        ] {
            drain(&mut events).await;
            run(deed);
            hear(&mut events, deed, |heard| heard.concerns(&[index], uplink)).await;
        }
    });
}

#[test]
fn what_is_not_ours_does_not_concern_us() {
    let (device, uplink, other) = (IfIndex(7), IfIndex(2), IfIndex(9));
    let cases = [
        ("our device", Event::Link(device), true),
        ("the uplink's address", Event::Address(uplink), true),
        ("a neighbour of ours", Event::Neighbour(device), true),
        ("a neighbour of the uplink, all day long", Event::Neighbour(uplink), false),
        ("a route of the uplink, perhaps to a peer", Event::Route(uplink), true),
        ("a container's link", Event::Link(other), false),
        ("a switch of a container's link", Event::Setting(Some(other)), false),
        ("a switch of the uplink", Event::Setting(Some(uplink)), true),
        ("a switch of the whole host", Event::Setting(None), true),
        ("a policy of IPsec", Event::Policy, true),
        ("who knows", Event::Missed, true),
    ];
    for (name, event, concerns) in cases {
        assert_eq!(event.concerns(&[device], uplink), concerns, "{name}");
    }
}

#[test]
fn a_slow_listener_is_told_that_it_missed_something() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        let mut events = Kernel::events().unwrap();
        // Far more than a socket buffer of a few hundred kilobytes holds.
        for _round in 0..40 {
            let hop = |n| Hop::Onlink(index, gateway(n));
            let put = (2..60).map(|n| Change::PutRoute(subnet(n), hop(n).into()));
            let drop = (2..60).map(|n| Change::DropRoute(subnet(n), hop(n).into()));
            apply(&kernel, put.chain(drop)).await.unwrap();
        }
        hear(&mut events, "the flood", |heard| heard == Event::Missed).await;
        // And it goes on listening.
        drain(&mut events).await;
        run("ip link del flannel.1");
        hear(&mut events, "after the flood", |heard| heard == Event::Link(index)).await;
    });
}

async fn plant(kernel: &Kernel, index: IfIndex) {
    let peer = [
        Change::PutForwarding(index, mac(2), host(23)),
        Change::PutNeighbour(index, gateway(2), mac(2)),
        Change::PutRoute(subnet(2), Hop::Onlink(index, gateway(2)).into()),
    ];
    apply(kernel, peer).await.unwrap();
}

/// Reads what is there already. The kernel queues an event before the call that causes it returns.
async fn drain(events: &mut Events) {
    while timeout(Duration::from_millis(50), events.next()).await.is_ok() {}
}

async fn hear(events: &mut Events, deed: &str, wanted: impl Fn(Event) -> bool) {
    let heard =
        timeout(Duration::from_secs(1), async { while !wanted(events.next().await.unwrap()) {} });
    assert!(heard.await.is_ok(), "`{deed}` was not heard of");
}
