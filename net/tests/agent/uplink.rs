//! The interface that reaches the other hosts, chosen as flannel chooses it.

use crate::host::{on_a_host, run};
use regex::Regex;
use twill_core::ids::Family;
use twill_net::Kernel;
use twill_net::kernel::Choice;

/// What is asked for, and the interface and address that are taken, or the words of the refusal.
#[test]
fn choices() {
    on_a_host(async |_scratch| {
        wire_up();
        let kernel = Kernel::open().unwrap();
        for (name, choice, want) in cases() {
            let found = match kernel.uplink(&choice).await {
                Ok(uplink) => format!("{} {} {}", uplink.name, uplink.address, uplink.mtu),
                Err(error) => error.to_string(),
            };
            assert!(found.starts_with(want), "{name}: {found}");
        }
    });
}

fn cases() -> Vec<(&'static str, Choice, &'static str)> {
    let none = || Choice::any(Family::V4);
    let by = |names: &[&str]| {
        let interfaces = names.iter().map(|name| (*name).to_owned()).collect();
        Choice { interfaces, ..none() }
    };
    let like = |pattern| Choice { patterns: vec![Regex::new(pattern).unwrap()], ..none() };
    let reach = |address: &str| Choice { can_reach: address.parse().ok(), ..none() };
    let public = |address: &str| Choice { public_ip: address.parse().ok(), ..none() };
    vec![
        ("nothing said: the default route", none(), "eth0 192.168.140.22 1500"),
        ("a name", by(&["eth1"]), "eth1 192.168.141.22 1400"),
        ("the first name that exists", by(&["eth7", "eth1", "eth0"]), "eth1 192.168.141.22"),
        ("an address", by(&["192.168.141.23"]), "eth1 192.168.141.23"),
        ("an address that nobody has", by(&["192.168.9.9"]), "no interface matches `192.168.9.9`;"),
        ("global before link-local", by(&["eth2"]), "eth2 10.1.0.2"),
        ("link-local if that is all", by(&["eth3"]), "eth3 169.254.0.3"),
        ("no address at all", by(&["eth4"]), "interface eth4 has no usable IPv4 address"),
        ("loopback, as large as IPv4 goes", by(&["lo"]), "lo 127.0.0.1 65535"),
        ("a pattern for an address", like(r"^10\.1\."), "eth2 10.1.0.2"),
        ("a pattern for a name", like("^eth[13]$"), "eth1 192.168.141.22"),
        ("a pattern that fits nothing", like("^wlan"), "no interface matches /^wlan/;"),
        (
            "names before patterns",
            Choice { patterns: like("eth1").patterns, ..by(&["eth0"]) },
            "eth0",
        ),
        (
            "a pattern when no name fits",
            Choice { patterns: like("eth1").patterns, ..by(&["x"]) },
            "eth1",
        ),
        ("what reaches a neighbour", reach("192.168.141.1"), "eth1 192.168.141.22"),
        ("what reaches the world", reach("192.0.2.1"), "eth0 192.168.140.22"),
        ("the public address is ours", public("192.168.141.23"), "eth1 192.168.141.23"),
        (
            "the public address is not ours",
            public("203.0.113.9"),
            "no interface has the address 203.0.113.9; this host has lo (127.0.0.1), ",
        ),
    ]
}

#[test]
fn without_a_default_route_the_error_says_what_there_is() {
    on_a_host(async |_scratch| {
        let error = Kernel::open().unwrap().uplink(&Choice::any(Family::V4)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "no interface has the default route; this host has lo (127.0.0.1), far0, \
             eth0 (192.168.140.22)"
        );
        assert!(error.hint().unwrap().contains("--iface"));
    });
}

#[test]
fn an_address_without_a_route_is_not_reached() {
    on_a_host(async |_scratch| {
        let choice = Choice { can_reach: "192.0.2.1".parse().ok(), ..Choice::any(Family::V4) };
        let error = Kernel::open().unwrap().uplink(&choice).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot find the route to 192.0.2.1");
    });
}

#[test]
fn local_routes_tell_what_a_network_would_clash_with() {
    on_a_host(async |_scratch| {
        wire_up();
        run("ip address add 10.5.3.4/32 dev lo");
        run("ip route add blackhole 10.5.9.0/24");
        run("ip route add 10.77.0.0/16 via 192.168.140.1 table 99");
        let routes = Kernel::open().unwrap().local_routes(Family::V4).await.unwrap();
        let found: Vec<String> =
            routes.iter().map(|route| format!("{} {}", route.block, route.name)).collect();
        for wanted in ["192.168.140.0/24 eth0", "10.5.3.4/32 lo", "10.5.9.0/24 -", "127.0.0.0/8 lo"]
        {
            assert!(found.iter().any(|route| route == wanted), "`{wanted}` is not in {found:?}");
        }
        assert!(!found.iter().any(|route| route.starts_with("0.0.0.0/0")), "{found:?}");
        assert!(!found.iter().any(|route| route.starts_with("10.77.")), "{found:?}");
    });
}

fn wire_up() {
    for n in 1..=4 {
        run(&format!("ip link add eth{n} type veth peer name far{n}"));
        run(&format!("ip link set far{n} up"));
        run(&format!("ip link set eth{n} up"));
    }
    run("ip link set eth1 mtu 1400");
    for (address, device) in [
        ("192.168.141.22/24", "eth1"),
        ("192.168.141.23/24", "eth1"),
        ("169.254.0.2/16", "eth2"),
        ("10.1.0.2/24", "eth2"),
        ("169.254.0.3/16", "eth3"),
    ] {
        run(&format!("ip address add {address} dev {device}"));
    }
    run("ip route add default via 192.168.141.1 dev eth1 metric 200");
    run("ip route add default via 192.168.140.1 dev eth0 metric 100");
}

#[test]
fn an_address_that_moved_is_told_to_the_link() {
    on_a_host(async |_scratch| {
        run("ip -6 address add fd00:140::1/64 dev eth0 nodad");
        run("ip link set eth0 address 02:00:00:00:00:31");
        run("ip -6 neigh add fd00:140::1 lladdr 02:00:00:00:00:30 dev far0 nud reachable");
        let kernel = Kernel::open().unwrap();
        let choice = Choice { interfaces: vec!["eth0".to_owned()], ..Choice::any(Family::V6) };
        let uplink = kernel.uplink(&choice).await.unwrap();
        kernel.announce(&uplink).await.unwrap();
        let known = || run("ip -6 neigh show fd00:140::1 dev far0");
        let start = std::time::Instant::now();
        while !known().contains("02:00:00:00:00:31") {
            assert!(start.elapsed() < std::time::Duration::from_secs(10), "{}", known());
        }
    });
}
