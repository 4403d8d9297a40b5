//! Rows towards peers: written, replaced, dropped, and never somebody else's.

use crate::host::{device, gateway, host, mac, on_a_host, run, subnet};
use twill_core::ids::Subnet;
use twill_core::plan::{Change, Hop, Tables, plan};
use twill_net::{Error, Kernel};

#[test]
fn a_peer_is_written_as_flannel_writes_it() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        for change in peer(2) {
            kernel.apply(index, change).await.unwrap();
        }
        let route = run("ip route show 10.5.2.0/24");
        assert_eq!(route.trim(), "10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 84 onlink");
        let neighbour = run("ip neigh show 10.5.2.0 dev flannel.1");
        assert_eq!(neighbour.trim(), "10.5.2.0 lladdr 02:00:00:00:01:02 PERMANENT");
        let forwarding = run("bridge fdb show dev flannel.1");
        assert_eq!(forwarding.trim(), "02:00:00:00:01:02 dst 192.168.140.2 self permanent");
        assert_eq!(kernel.dump_tables(index).await.unwrap(), tables([2]));
    });
}

#[test]
fn a_put_takes_the_place_of_the_row_with_the_same_key() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        for change in peer(2).into_iter().chain([
            Change::PutForwarding(mac(2), host(77)),
            Change::PutNeighbour(gateway(2), mac(7)),
            Change::PutRoute(subnet(2), Hop::Onlink(gateway(7))),
            // Once more, as after a crash.
            Change::PutRoute(subnet(2), Hop::Onlink(gateway(7))),
        ]) {
            kernel.apply(index, change).await.unwrap();
        }
        let mut wanted = Tables::default();
        wanted.forwarding.insert(mac(2), host(77));
        wanted.neighbours.insert(gateway(2), mac(7));
        wanted.routes.insert(subnet(2), Hop::Onlink(gateway(7)));
        assert_eq!(kernel.dump_tables(index).await.unwrap(), wanted);
    });
}

#[test]
fn what_is_gone_can_be_dropped() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        for change in peer(2).into_iter().chain(gone(2)).chain(gone(2)) {
            kernel.apply(index, change).await.unwrap();
        }
        assert_eq!(kernel.dump_tables(index).await.unwrap(), Tables::default());
        assert_eq!(run("bridge fdb show dev flannel.1"), "");
    });
}

#[test]
fn fifty_peers_come_change_and_go() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        // Every peer with a new hardware address, and on another host.
        let mut reborn = tables(2..52);
        reborn.neighbours = (2..52).map(|n| (gateway(n), mac(n + 100))).collect();
        reborn.forwarding = (2..52).map(|n| (mac(n + 100), host(n + 100))).collect();
        for wanted in [tables(2..52), tables(20..40), tables(2..52), reborn, Tables::default()] {
            let actual = kernel.dump_tables(index).await.unwrap();
            for change in plan(&wanted, &actual) {
                kernel.apply(index, change).await.unwrap();
            }
            let actual = kernel.dump_tables(index).await.unwrap();
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
        assert_eq!(kernel.dump_tables(index).await.unwrap(), tables([2]));
        let moved = Change::PutRoute(subnet(2), Hop::Onlink(gateway(3)));
        kernel.apply(index, moved).await.unwrap();
        assert!(run("ip route").contains("10.5.2.0/24 via 10.5.3.0 dev flannel.1 proto 84"));
        run("ip route change 10.5.2.0/24 dev flannel.1 scope link proto boot");
        kernel.apply(index, Change::DropRoute(subnet(2), Hop::Device)).await.unwrap();
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
        assert_eq!(kernel.dump_tables(index).await.unwrap(), Tables::default());
        for change in [2, 3].into_iter().flat_map(peer) {
            kernel.apply(index, change).await.unwrap();
        }
        assert_eq!(kernel.dump_tables(index).await.unwrap(), tables([2, 3]));
        for change in [2, 3].into_iter().flat_map(gone) {
            kernel.apply(index, change).await.unwrap();
        }
        assert_eq!(everything(), foreign);
    });
}

#[test]
fn a_route_that_somebody_else_has_is_not_overwritten() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        let put = Change::PutRoute(subnet(2), Hop::Onlink(gateway(2)));
        for (plant, through) in [
            ("ip route add 10.5.2.0/24 via 192.168.140.1 dev eth0", "eth0"),
            ("ip route add 10.5.2.0/24 dev flannel.1 proto static", "flannel.1"),
            ("ip route add blackhole 10.5.2.0/24", "nowhere"),
        ] {
            run(plant);
            let before = run("ip route show 10.5.2.0/24");
            let error = kernel.apply(index, put).await.unwrap_err();
            assert!(matches!(error, Error::ForeignRoute { .. }), "{plant}: {error:?}");
            assert!(error.to_string().ends_with(&format!("leads through {through}")), "{error}");
            assert_eq!(run("ip route show 10.5.2.0/24"), before);
            // Nor is it taken away in our name.
            let drop = Change::DropRoute(subnet(2), Hop::Device);
            kernel.apply(index, drop).await.unwrap();
            assert_eq!(run("ip route show 10.5.2.0/24"), before);
            run("ip route del 10.5.2.0/24");
        }
        // What an earlier backend of ours left on another device gives way.
        run("ip route add 10.5.2.0/24 dev eth0 proto 84");
        kernel.apply(index, put).await.unwrap();
        assert!(run("ip route").contains("10.5.2.0/24 via 10.5.2.0 dev flannel.1"));
    });
}

#[test]
fn without_its_device_a_change_is_an_error_that_names_it() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        run("ip link del flannel.1");
        assert_eq!(kernel.dump_tables(index).await.unwrap(), Tables::default());
        let error = kernel.apply(index, peer(2)[0]).await.unwrap_err();
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
        for n in 0..=255_u8 {
            for third in 0..8_u8 {
                // Enough for a listing of many datagrams.
                let block = Subnet::new([10, n, third * 32, 0].into(), 20).unwrap();
                kernel.apply(index, Change::PutRoute(block, Hop::Device)).await.unwrap();
            }
        }
        let listings: Vec<_> = (0..20).map(|_| kernel.dump_tables(index)).collect();
        for tables in futures::future::join_all(listings).await {
            assert_eq!(tables.unwrap().routes.len(), 256 * 8);
        }
        // One that nobody waits for any more is in nobody's way.
        let mut abandoned = Box::pin(kernel.local_routes());
        for _turn in 0..6 {
            drop(futures::poll!(&mut abandoned));
            tokio::task::yield_now().await;
        }
        drop(abandoned);
        assert_eq!(kernel.dump_tables(index).await.unwrap().routes.len(), 256 * 8);
    });
}

fn peer(n: u8) -> [Change; 3] {
    [
        Change::PutForwarding(mac(n), host(n)),
        Change::PutNeighbour(gateway(n), mac(n)),
        Change::PutRoute(subnet(n), Hop::Onlink(gateway(n))),
    ]
}

fn gone(n: u8) -> [Change; 3] {
    [
        Change::DropRoute(subnet(n), Hop::Onlink(gateway(n))),
        Change::DropNeighbour(gateway(n)),
        Change::DropForwarding(mac(n)),
    ]
}

fn tables(peers: impl IntoIterator<Item = u8>) -> Tables {
    let mut tables = Tables::default();
    for n in peers {
        tables.forwarding.insert(mac(n), host(n));
        tables.neighbours.insert(gateway(n), mac(n));
        tables.routes.insert(subnet(n), Hop::Onlink(gateway(n)));
    }
    tables
}

fn everything() -> String {
    run("ip -4 route show table all")
        + &run("ip neigh show nud permanent")
        + &run("bridge fdb show dev flannel.1")
}
