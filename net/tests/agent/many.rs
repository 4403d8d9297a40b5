//! Many rows in one go: in order, each for itself, and never more than the socket holds.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::host::{apply, device, dump, gateway, host, mac, named, on_a_host, run, subnet};
use tokio::time::timeout;
use twill_core::device::IfIndex;
use twill_core::ids::{Gateway, Mac, Subnet, Underlay};
use twill_core::plan::{Change, Hop, Tables, plan};
use twill_net::kernel::{Event, Ground};
use twill_net::{Error, Kernel};

/// More than some batches, and not a multiple of one.
const PEERS: u16 = 1_000;

#[test]
fn a_thousand_peers_come_and_go() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        for wanted in [tables(index, 0..PEERS), tables(index, 500..700), Tables::default()] {
            let actual = every_row(&kernel, index).await;
            assert_eq!(kernel.apply(&plan(&wanted, &actual)).await.unwrap().len(), 0);
            assert_eq!(every_row(&kernel, index).await, wanted);
        }
    });
}

#[test]
fn rows_that_cannot_be_written_keep_no_others_away() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        let uplink = kernel.uplink(&named("eth0")).await.unwrap().index;
        let wanted = tables(index, 0..PEERS);
        let mut changes = plan(&wanted, &Tables::default());
        let mut bad = BTreeSet::new();
        for n in (0..PEERS).step_by(7) {
            let nowhere = Change::PutRoute(block(n + PEERS), Hop::Via(uplink, far(n)).into());
            bad.insert(nowhere);
            // Among the good ones.
            changes.insert(usize::from(n) * 3, nowhere);
        }
        // Two routes of others.
        for n in [3, 900] {
            run(&format!("ip route add {} via 192.168.140.1 dev eth0", block(n)));
            bad.insert(Change::PutRoute(block(n), hop(index, n).into()));
        }
        let refused = kernel.apply(&changes).await.unwrap();
        assert_eq!(refused.keys().copied().collect::<BTreeSet<_>>(), bad);
        let foreign = |error: &&Error| matches!(error, Error::ForeignRoute { .. });
        assert_eq!(refused.values().filter(foreign).count(), 2);
        let mut written = wanted;
        written.routes.retain(|(subnet, hop)| !bad.contains(&Change::PutRoute(*subnet, *hop)));
        assert_eq!(every_row(&kernel, index).await, written);
    });
}

/// Each failure is a datagram, and all of them have to wait in our socket's buffer.
#[test]
fn all_of_them_may_fail() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        run("ip link del flannel.1");
        let changes = plan(&tables(index, 0..PEERS), &Tables::default());
        let refused = kernel.apply(&changes).await.unwrap();
        assert_eq!(refused.len(), changes.len());
        assert_eq!(dump(&kernel, index).await.unwrap(), Tables::default());
    });
}

#[test]
fn all_routes_may_be_there_already() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        let before = tables(index, 0..PEERS);
        apply(&kernel, plan(&before, &Tables::default())).await.unwrap();
        // Whoever listed them before they came wants to add them.
        let mut after = before.clone();
        after.routes = (0..PEERS).map(|n| (block(n), Hop::Device(index).into())).collect();
        apply(&kernel, plan(&after, &Tables::default())).await.unwrap();
        assert_eq!(every_row(&kernel, index).await, after);
    });
}

/// The route of a peer moves to the uplink: it must have moved before anything goes that it pointed at.
#[test]
fn nothing_goes_before_what_takes_its_place() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        let uplink = kernel.uplink(&named("eth0")).await.unwrap().index;
        let peer = [
            Change::PutForwarding(index, mac(2), host(2)),
            Change::PutNeighbour(index, gateway(2), mac(2)),
            Change::PutRoute(subnet(2), Hop::Onlink(index, gateway(2)).into()),
        ];
        apply(&kernel, peer).await.unwrap();
        let mut events = Kernel::events().unwrap();
        let moved = [
            Change::PutRoute(subnet(2), Hop::Via(uplink, host(2)).into()),
            Change::DropNeighbour(index, gateway(2)),
            Change::DropForwarding(index, mac(2), host(2)),
        ];
        apply(&kernel, moved).await.unwrap();
        let mut heard = Vec::new();
        while heard.len() < 2 {
            let event = timeout(Duration::from_secs(5), events.next()).await.unwrap().unwrap();
            // Of a neighbour that goes the kernel tells more than once, and links come up when they like.
            let row = matches!(event, Event::Route(_) | Event::Neighbour(_));
            if row && heard.last() != Some(&event) {
                heard.push(event);
            }
        }
        assert_eq!(heard, [Event::Route(uplink), Event::Neighbour(index)]);
    });
}

fn tables(index: IfIndex, peers: impl Iterator<Item = u16>) -> Tables {
    let mut tables = Tables::default();
    for n in peers {
        let [high, low] = n.to_be_bytes();
        let mac = Mac([2, 0, 0, 1, high, low]);
        let host = Underlay(IpAddr::from([203, 0, high, low]));
        tables.forwarding.insert((index, mac, host));
        tables.neighbours.insert((index, block(n).gateway()), mac);
        tables.routes.insert((block(n), hop(index, n).into()));
    }
    tables
}

fn block(n: u16) -> Subnet {
    let [high, low] = n.to_be_bytes();
    Subnet::new(IpAddr::from([10, 64 + high, low, 0]), 24).unwrap()
}

fn hop(index: IfIndex, n: u16) -> Hop {
    Hop::Onlink(index, block(n).gateway())
}

/// An address that is on no link.
fn far(n: u16) -> Underlay {
    let Gateway(address) = block(n).gateway();
    Underlay(address)
}

async fn every_row(kernel: &Kernel, index: IfIndex) -> Tables {
    let uplink = kernel.uplink(&named("eth0")).await.unwrap().index;
    kernel
        .dump(Ground { devices: &[index], keyed: &[], uplink, networks: &[] })
        .await
        .unwrap()
        .tables
}
