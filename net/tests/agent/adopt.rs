//! Routes of a flanneld without a tunnel, which get our mark where they stand.

use std::net::IpAddr;

use crate::host::{named, on_a_host, run};
use twill_core::device::IfIndex;
use twill_core::ids::{Family, Subnet, Underlay};
use twill_net::Kernel;

/// In the words of each family: the option of `ip`, a host on the link, and two blocks.
const FAMILIES: [(Family, &str, &str, [&str; 2]); 2] = [
    (Family::V4, "-4", "192.168.140.3", ["10.5.3.0/24", "10.5.4.0/24"]),
    (Family::V6, "-6", "fd00:140::3", ["fd00:5:0:3::/64", "fd00:5:0:4::/64"]),
];

#[test]
fn a_route_gets_our_mark_in_its_place_and_those_beside_it_stay() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let uplink = kernel.uplink(&named("eth0")).await.unwrap().index;
        run("ip -6 address add fd00:140::22/64 dev eth0 nodad");
        for (family, option, host, [block, beside]) in FAMILIES {
            run(&format!("ip {option} route add {block} via {host} dev eth0"));
            run(&format!("ip {option} route add {beside} via {host} dev eth0"));
            run(&format!("ip {option} route add {block} via {host} dev eth0 metric 2000"));
            let found = kernel.local_routes(family).await.unwrap();
            let like = found.iter().filter(|route| route.like_flannels).count();
            assert_eq!(like, 2, "{found:?}");
            kernel.adopt(&[row(block, uplink, host)]).await.unwrap();
            let routes = run(&format!("ip {option} route show {block}"));
            assert_eq!(routes.matches("proto 84").count(), 1, "{routes}");
            assert_eq!(routes.matches("metric 2000").count(), 1, "{routes}");
            assert_eq!(routes.lines().count(), 2, "{routes}");
            let stays = run(&format!("ip {option} route show {beside}"));
            assert!(!stays.contains("proto 84"), "{stays}");
            kernel.adopt(&[row(block, uplink, host)]).await.unwrap();
            assert_eq!(run(&format!("ip {option} route show {block}")), routes, "again");
        }
        // One beside ours, before it or behind it, goes.
        for how in ["prepend", "append"] {
            run(&format!("ip route {how} 10.5.3.0/24 via 192.168.140.3 dev eth0"));
            kernel.adopt(&[row("10.5.3.0/24", uplink, "192.168.140.3")]).await.unwrap();
            let routes = run("ip route show 10.5.3.0/24 metric 0");
            let (all, ours) = (routes.lines().count(), routes.matches("proto 84").count());
            assert_eq!((all, ours), (1, 1), "{how}: {routes}");
        }
    });
}

fn row(block: &str, uplink: IfIndex, host: &str) -> (Subnet, IfIndex, Underlay) {
    let host: IpAddr = host.parse().unwrap();
    (block.parse().unwrap(), uplink, Underlay(host))
}
