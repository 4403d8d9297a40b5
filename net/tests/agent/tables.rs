//! Rows towards peers: written, replaced, dropped, and never somebody else's.

use crate::host::{
    apply, device, dump, gateway, host, mac, named, on_a_host, on_link, run, subnet,
};
use twill_core::device::IfIndex;
use twill_core::ids::{Family, Subnet, Underlay};
use twill_core::plan::{Change, Hop, Tables, plan};
use twill_net::{Error, Kernel};

#[test]
fn a_peer_is_written_as_flannel_writes_it() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        apply(&kernel, peer(index, 2)).await.unwrap();
        let route = run("ip route show 10.5.2.0/24");
        assert_eq!(route.trim(), "10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 84 onlink");
        let neighbour = run("ip neigh show 10.5.2.0 dev flannel.1");
        assert_eq!(neighbour.trim(), "10.5.2.0 lladdr 02:00:00:00:01:02 PERMANENT");
        let forwarding = run("bridge fdb show dev flannel.1");
        assert_eq!(forwarding.trim(), "02:00:00:00:01:02 dst 192.168.140.2 self permanent");
        assert_eq!(dump(&kernel, index).await.unwrap(), tables(index, [2]));
    });
}

#[test]
fn a_put_takes_the_place_of_the_row_with_the_same_key() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        let anew = [
            Change::PutForwarding(index, mac(2), host(77)),
            Change::PutNeighbour(index, gateway(2), mac(7)),
            Change::PutRoute(subnet(2), Hop::Onlink(index, gateway(7)).into()),
            // Once more, as after a crash.
            Change::PutRoute(subnet(2), Hop::Onlink(index, gateway(7)).into()),
        ];
        apply(&kernel, peer(index, 2).into_iter().chain(anew)).await.unwrap();
        let mut wanted = Tables::default();
        wanted.forwarding.insert((index, mac(2), host(77)));
        wanted.neighbours.insert((index, gateway(2)), mac(7));
        wanted.routes.insert((subnet(2), Hop::Onlink(index, gateway(7)).into()));
        assert_eq!(dump(&kernel, index).await.unwrap(), wanted);
    });
}

#[test]
fn what_is_gone_can_be_dropped() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        let there_and_gone = peer(index, 2).into_iter().chain(gone(index, 2)).chain(gone(index, 2));
        apply(&kernel, there_and_gone).await.unwrap();
        assert_eq!(dump(&kernel, index).await.unwrap(), Tables::default());
        assert_eq!(run("bridge fdb show dev flannel.1"), "");
    });
}

#[test]
fn fifty_peers_come_change_and_go() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        // Every peer with a new hardware address, and on another host.
        let mut reborn = tables(index, 2..52);
        reborn.neighbours = (2..52).map(|n| ((index, gateway(n)), mac(n + 100))).collect();
        reborn.forwarding = (2..52).map(|n| (index, mac(n + 100), host(n + 100))).collect();
        for wanted in [
            tables(index, 2..52),
            tables(index, 20..40),
            tables(index, 2..52),
            reborn,
            Tables::default(),
        ] {
            let actual = dump(&kernel, index).await.unwrap();
            apply(&kernel, plan(&wanted, &actual)).await.unwrap();
            let actual = dump(&kernel, index).await.unwrap();
            assert_eq!(plan(&wanted, &actual), [], "one pass has to do");
            assert_eq!(actual, wanted);
        }
    });
}

#[test]
fn rows_of_flanneld_are_taken_over() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        run("bridge fdb add 02:00:00:00:01:02 dev flannel.1 dst 192.168.140.2 self permanent");
        run("ip neigh add 10.5.2.0 lladdr 02:00:00:00:01:02 dev flannel.1 nud permanent");
        run("ip route add 10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink proto boot");
        assert_eq!(dump(&kernel, index).await.unwrap(), tables(index, [2]));
        let moved = Change::PutRoute(subnet(2), Hop::Onlink(index, gateway(3)).into());
        apply(&kernel, [moved]).await.unwrap();
        assert!(run("ip route").contains("10.5.2.0/24 via 10.5.3.0 dev flannel.1 proto 84"));
        run("ip route change 10.5.2.0/24 dev flannel.1 scope link proto boot");
        apply(&kernel, [Change::DropRoute(subnet(2), Hop::Device(index).into())]).await.unwrap();
        assert!(!run("ip route").contains("10.5.2.0/24"));
    });
}

/// One foreign row of each sort, beside ours.
const FOREIGN: [&str; 10] = [
    "ip route add 10.9.1.0/24 dev flannel.1 proto static",
    "ip route add 10.9.2.0/24 dev flannel.1 proto boot metric 7",
    "ip route add 10.9.3.0/24 dev flannel.1 proto boot table 99",
    "ip route add 10.9.4.0/24 dev eth0 proto 84",
    "ip route add blackhole 10.9.5.0/24 proto 84",
    "ip neigh add 192.168.140.99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",
    "ip neigh add 10.9.1.9 lladdr 02:00:00:00:00:98 dev flannel.1 nud stale",
    "bridge fdb add 02:00:00:00:00:97 dev flannel.1 dst 192.168.140.97 self dynamic",
    "bridge fdb add 02:00:00:00:00:96 dev flannel.1 dst 192.168.140.96 port 4789 self permanent",
    "bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.168.140.95 self permanent",
];

#[test]
fn other_peoples_rows_are_neither_seen_nor_touched() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        for plant in FOREIGN {
            run(plant);
        }
        let foreign = everything();
        assert_eq!(dump(&kernel, index).await.unwrap(), Tables::default());
        apply(&kernel, [2, 3].into_iter().flat_map(|n| peer(index, n))).await.unwrap();
        assert_eq!(dump(&kernel, index).await.unwrap(), tables(index, [2, 3]));
        apply(&kernel, [2, 3].into_iter().flat_map(|n| gone(index, n))).await.unwrap();
        assert_eq!(everything(), foreign);
    });
}

/// To the kernel these are rows of one key beside ours.
#[test]
fn what_somebody_adds_under_the_key_of_a_row_is_dropped_alone() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        apply(&kernel, peer(index, 2)).await.unwrap();
        for deed in [
            "ip route append 10.5.2.0/24 via 10.5.9.0 dev flannel.1 onlink proto boot",
            "ip route prepend 10.5.2.0/24 via 10.5.8.0 dev flannel.1 onlink proto 84",
            "ip route prepend 10.5.2.0/24 via 192.168.140.7 dev eth0 proto 84",
        ] {
            run(deed);
            let actual = dump(&kernel, index).await.unwrap();
            let changes = plan(&tables(index, [2]), &actual);
            assert_eq!(changes.len(), 1, "{deed}: {changes:?}");
            apply(&kernel, [changes[0]]).await.unwrap();
            assert_eq!(dump(&kernel, index).await.unwrap(), tables(index, [2]), "{deed}");
        }
        assert_eq!(run("ip route show 10.5.2.0/24").lines().count(), 1);
        // Somebody else's in front of ours: it rules, so ours counts as missing, and it is named.
        run("ip route prepend 10.5.2.0/24 via 192.168.140.7 dev eth0 proto static");
        let changes = plan(&tables(index, [2]), &dump(&kernel, index).await.unwrap());
        assert_eq!(changes, [Change::PutRoute(subnet(2), Hop::Onlink(index, gateway(2)).into())]);
        let error = apply(&kernel, [changes[0]]).await.unwrap_err();
        assert!(error.to_string().ends_with("leads through eth0"), "{error}");
        run("ip route del 10.5.2.0/24 via 192.168.140.7 dev eth0");
        assert_eq!(dump(&kernel, index).await.unwrap(), tables(index, [2]), "ours was kept");
    });
}

#[test]
fn a_route_that_somebody_else_has_is_not_overwritten() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        let put = Change::PutRoute(subnet(2), Hop::Onlink(index, gateway(2)).into());
        for (plant, through) in [
            ("ip route add 10.5.2.0/24 via 192.168.140.1 dev eth0", "eth0"),
            ("ip route add 10.5.2.0/24 dev flannel.1 proto static", "flannel.1"),
            ("ip route add blackhole 10.5.2.0/24", "nowhere"),
        ] {
            run(plant);
            let before = run("ip route show 10.5.2.0/24");
            let error = apply(&kernel, [put]).await.unwrap_err();
            assert!(matches!(error, Error::ForeignRoute { .. }), "{plant}: {error:?}");
            assert!(error.to_string().ends_with(&format!("leads through {through}")), "{error}");
            assert_eq!(run("ip route show 10.5.2.0/24"), before);
            // Nor is it taken away in our name.
            let drop = Change::DropRoute(subnet(2), Hop::Device(index).into());
            apply(&kernel, [drop]).await.unwrap();
            assert_eq!(run("ip route show 10.5.2.0/24"), before);
            run("ip route del 10.5.2.0/24");
        }
        // What an earlier backend of ours left on another device gives way.
        run("ip route add 10.5.2.0/24 dev eth0 proto 84");
        apply(&kernel, [put]).await.unwrap();
        assert!(run("ip route").contains("10.5.2.0/24 via 10.5.2.0 dev flannel.1"));
    });
}

#[test]
fn without_its_device_a_change_is_an_error_that_names_it() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        run("ip link del flannel.1");
        assert_eq!(dump(&kernel, index).await.unwrap(), Tables::default());
        let error = apply(&kernel, [peer(index, 2)[0]]).await.unwrap_err();
        let text = "cannot send frames for 02:00:00:00:01:02 to 192.168.140.2";
        assert_eq!(error.to_string(), text);
    });
}

/// The kernel gives one listing at a time on a socket, and answers EBUSY to the second.
#[test]
fn listings_wait_for_each_other() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        let mut changes = Vec::new();
        for n in 0..=255_u8 {
            for third in 0..8_u8 {
                // Enough for a listing of many datagrams.
                let block = Subnet::new([10, n, third * 32, 0].into(), 20).unwrap();
                changes.push(Change::PutRoute(block, Hop::Device(index).into()));
            }
        }
        apply(&kernel, changes).await.unwrap();
        let listings: Vec<_> = (0..20).map(|_| dump(&kernel, index)).collect();
        for tables in futures::future::join_all(listings).await {
            assert_eq!(tables.unwrap().routes.len(), 256 * 8);
        }
        // One that nobody waits for any more is in nobody's way.
        let mut abandoned = Box::pin(kernel.local_routes(Family::V4));
        for _turn in 0..6 {
            if futures::poll!(&mut abandoned).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(abandoned);
        assert_eq!(dump(&kernel, index).await.unwrap().routes.len(), 256 * 8);
    });
}

fn peer(index: IfIndex, n: u8) -> [Change; 3] {
    [
        Change::PutForwarding(index, mac(n), host(n)),
        Change::PutNeighbour(index, gateway(n), mac(n)),
        Change::PutRoute(subnet(n), Hop::Onlink(index, gateway(n)).into()),
    ]
}

fn gone(index: IfIndex, n: u8) -> [Change; 3] {
    [
        Change::DropRoute(subnet(n), Hop::Onlink(index, gateway(n)).into()),
        Change::DropNeighbour(index, gateway(n)),
        Change::DropForwarding(index, mac(n), host(n)),
    ]
}

fn tables(index: IfIndex, peers: impl IntoIterator<Item = u8>) -> Tables {
    let mut tables = Tables::default();
    for n in peers {
        tables.forwarding.insert((index, mac(n), host(n)));
        tables.neighbours.insert((index, gateway(n)), mac(n));
        tables.routes.insert((subnet(n), Hop::Onlink(index, gateway(n)).into()));
    }
    tables
}

fn everything() -> String {
    run("ip -4 route show table all")
        + &run("ip neigh show nud permanent")
        + &run("bridge fdb show dev flannel.1")
}

#[test]
fn a_peer_on_the_link_has_a_plain_route_to_itself() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        let uplink = kernel.uplink(&named("eth0")).await.unwrap().index;
        assert!(on_link(&kernel, 2).await);
        run("ip route add 192.168.140.3/32 via 192.168.140.1 dev eth0");
        run("ip route add blackhole 192.168.140.4/32");
        assert!(!on_link(&kernel, 3).await && !on_link(&kernel, 4).await, "longer routes win");
        let via = |n| Hop::Via(uplink, host(n));
        let put = Change::PutRoute(subnet(2), via(2).into());
        apply(&kernel, [put]).await.unwrap();
        assert_eq!(
            run("ip route show 10.5.2.0/24").trim(),
            "10.5.2.0/24 via 192.168.140.2 dev eth0 proto 84"
        );
        assert_eq!(dump(&kernel, index).await.unwrap().routes, [(subnet(2), via(2).into())].into());
        let blocks = kernel.local_routes(Family::V4).await.unwrap();
        assert!(
            blocks.iter().all(|route| route.block != subnet(2)),
            "nor are they somebody's network"
        );
        // From one way to the other and back: there is a route at every moment.
        for change in peer(index, 2).into_iter().chain([put]).chain(peer(index, 2)) {
            apply(&kernel, [change]).await.unwrap();
            assert_eq!(run("ip route show 10.5.2.0/24").lines().count(), 1);
        }
        apply(&kernel, [put]).await.unwrap();
        for _twice in 0..2 {
            apply(&kernel, [Change::DropRoute(subnet(2), via(2).into())]).await.unwrap();
        }
        assert_eq!(run("ip route show 10.5.2.0/24"), "");
        let far = Underlay([203, 0, 113, 9].into());
        let error =
            apply(&kernel, [Change::PutRoute(subnet(2), Hop::Via(uplink, far).into())]).await;
        let error = error.expect_err("nobody is there");
        assert_eq!(error.to_string(), "cannot route 10.5.2.0/24 via 203.0.113.9");
    });
}

/// Beside a route of ours on the uplink, one foreign row of each sort.
const FOREIGN_ON_THE_UPLINK: [&str; 5] = [
    "ip route add 10.5.3.0/24 via 192.168.140.3 dev eth0 proto static",
    "ip route add 10.5.4.0/24 via 192.168.140.4 dev eth0 proto boot",
    "ip route add 10.5.5.0/24 via 192.168.140.5 dev eth0 proto 84 metric 7",
    "ip route add 10.5.6.0/24 via 192.168.140.6 dev eth0 proto 84 table 99",
    "ip route add 10.6.7.0/24 via 192.168.140.7 dev eth0 proto 84",
];

#[test]
fn other_peoples_routes_on_the_uplink_are_neither_seen_nor_touched() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        let uplink = kernel.uplink(&named("eth0")).await.unwrap().index;
        for plant in FOREIGN_ON_THE_UPLINK {
            run(plant);
        }
        let foreign = everything();
        assert_eq!(dump(&kernel, index).await.unwrap(), Tables::default());
        for n in [3, 4] {
            let elsewhere = Change::PutRoute(subnet(n), Hop::Via(uplink, host(9)).into());
            let error = apply(&kernel, [elsewhere]).await.unwrap_err();
            assert!(matches!(error, Error::ForeignRoute { .. }), "{error:?}");
            apply(&kernel, [Change::DropRoute(subnet(n), Hop::Via(uplink, host(n)).into())])
                .await
                .unwrap();
        }
        assert_eq!(everything(), foreign);
        // What an earlier run left on another uplink is ours.
        run("ip link add eth1 type veth peer name far1");
        run("ip link set eth1 up");
        run("ip address add 192.168.141.22/24 dev eth1");
        run("ip route add 10.5.7.0/24 via 192.168.141.7 dev eth1 proto 84");
        let left: Vec<_> = dump(&kernel, index).await.unwrap().routes.into_iter().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        apply(&kernel, [Change::DropRoute(left[0].0, left[0].1)]).await.unwrap();
        assert!(!run("ip route").contains("10.5.7.0/24"));
        // What flanneld wrote to the same host is taken over.
        apply(&kernel, [Change::PutRoute(subnet(4), Hop::Via(uplink, host(4)).into())])
            .await
            .unwrap();
        assert!(run("ip route").contains("10.5.4.0/24 via 192.168.140.4 dev eth0 proto 84"));
    });
}
