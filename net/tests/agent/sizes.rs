//! What routes say about the size of packets.

use twill_core::ids::{Mtu, Underlay};
use twill_core::plan::{Change, Hop, Route, Tables, plan};
use twill_net::Kernel;
use twill_net::kernel::Ground;

use crate::host::{apply, device, dump, gateway, host, named, on_a_host, run, subnet};

#[test]
fn a_route_keeps_its_size_whoever_changes_it() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        let route = |mtu| Route { hop: Hop::Onlink(index, gateway(2)), mtu: Mtu::new(mtu) };
        let tables = |mtu| Tables { routes: [(subnet(2), route(mtu))].into(), ..Tables::default() };
        for mtu in [1350, 1300, 0, 1350] {
            apply(&kernel, [Change::PutRoute(subnet(2), route(mtu))]).await.unwrap();
            let seen = run("ip route show 10.5.2.0/24");
            assert_eq!(seen.lines().count(), 1, "it takes the place of the one before: {seen}");
            assert_eq!(seen.contains(&format!("mtu {mtu}")), mtu > 0, "{seen}");
            assert_eq!(dump(&kernel, index).await.unwrap(), tables(mtu));
        }
        for change in ["mtu 1200", "", "mtu lock 1300"] {
            run(&format!(
                "ip route change 10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink proto 84 {change}"
            ));
            let found = dump(&kernel, index).await.unwrap();
            let changes = plan(&tables(1350), &found);
            assert_eq!(changes, [Change::PutRoute(subnet(2), route(1350))], "after {change}");
            apply(&kernel, changes).await.unwrap();
            assert_eq!(dump(&kernel, index).await.unwrap(), tables(1350), "after {change}");
        }
        // Somebody put another one beside it: that one goes, and ours stays.
        run("ip route append 10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink proto 84 mtu 1200");
        let changes = plan(&tables(1350), &dump(&kernel, index).await.unwrap());
        assert_eq!(changes, [Change::DropRoute(subnet(2), route(1200))]);
        apply(&kernel, changes).await.unwrap();
        assert_eq!(dump(&kernel, index).await.unwrap(), tables(1350));
    });
}

#[test]
fn routes_of_others_say_what_the_way_to_a_peer_carries() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let uplink = kernel.uplink(&named("eth0")).await.unwrap().index;
        run("ip route add 192.168.140.3/32 via 192.168.140.1 dev eth0 mtu 1400");
        run("ip route add 198.51.100.0/24 via 192.168.140.1 dev eth0 mtu lock 1280");
        let ground = Ground { devices: &[], keyed: &[], uplink, networks: &[] };
        let link = kernel.dump(ground).await.unwrap().link;
        let far = Underlay([198, 51, 100, 7].into());
        for (to, want) in [(host(2), None), (host(3), Mtu::new(1400)), (far, Mtu::new(1280))] {
            assert_eq!(link.carries(to), want, "{to}");
        }
    });
}
