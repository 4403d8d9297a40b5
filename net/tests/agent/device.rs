//! The tunnel device is made once, kept, mended, and made anew only when there is no other way.

use std::net::IpAddr;

use crate::host::{
    OWN, apply, device, dump, feed, gateway, host, mac, named, on_a_host, run, spec, subnet,
};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use twill_core::device::{DeviceSpec, Tun, Vxlan};
use twill_core::ids::{Mac, Mtu, Subnet, Underlay, Vni};
use twill_core::plan::{Change, Hop};
use twill_net::{Error, Kernel};

#[test]
fn a_new_device_is_what_flannel_makes() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        device(&kernel).await;
        let shown = run("ip -d link show flannel.1");
        for words in [
            "vxlan id 1 local 192.168.140.22 dev eth0 srcport 0 0 dstport 8472 nolearning",
            "mtu 1450",
            "link/ether 02:00:00:00:00:01",
            "UP,LOWER_UP",
        ] {
            assert!(shown.contains(words), "`{words}` is not in\n{shown}");
        }
        let addresses = run("ip -4 -o address show dev flannel.1");
        assert!(addresses.contains("inet 10.5.1.0/32 scope global"), "{addresses}");
        let accept_ra = std::fs::read_to_string("/proc/sys/net/ipv6/conf/flannel.1/accept_ra");
        assert_eq!(accept_ra.unwrap().trim(), "0");
        assert_eq!(kernel.vxlan_mac("flannel.1").await.unwrap(), Some(OWN));
        assert_eq!(kernel.vxlan_mac("eth0").await.unwrap(), None, "not a VXLAN device");
        assert_eq!(kernel.vxlan_mac("flannel.2").await.unwrap(), None, "no such device");
    });
}

#[test]
fn the_second_time_nothing_happens() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let first = device(&kernel).await;
        plant_peer(&kernel).await;
        let before = (shown(), rows());
        let second = device(&kernel).await;
        assert_eq!(first, second);
        assert_eq!(before, (shown(), rows()));
    });
}

/// What a repair leaves standing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Left {
    DeviceAndRows,
    /// The kernel forgets the neighbours of a device whose hardware address changes.
    Device,
    Nothing,
}

/// Each way in which a device can differ.
#[test]
fn a_device_that_differs_is_mended_in_place_or_made_anew() {
    type Differ = fn(&mut Vxlan);
    let cases: [(&str, Left, Differ); 8] = [
        ("MTU", Left::DeviceAndRows, |spec| spec.mtu = Mtu::new(1300).unwrap()),
        ("learning", Left::DeviceAndRows, |spec| spec.learning = true),
        ("address", Left::DeviceAndRows, |spec| spec.address = subnet(7).gateway()),
        ("local address", Left::DeviceAndRows, |spec| spec.local = host(99)),
        ("hardware address", Left::Device, |spec| spec.mac = Mac([2, 0, 0, 0, 0, 9])),
        ("VNI", Left::Nothing, |spec| spec.vni = Vni::new(5).unwrap()),
        ("port", Left::Nothing, |spec| spec.port = Some(4789)),
        ("group policy", Left::Nothing, |spec| spec.gbp = true),
    ];
    for (name, left, differ) in cases {
        on_a_host(async |_scratch| {
            let kernel = Kernel::open().unwrap();
            let mut other = spec(&kernel).await;
            differ(&mut other);
            let first = kernel.ensure_device(&DeviceSpec::Vxlan(other)).await.unwrap();
            plant_peer(&kernel).await;
            let before = rows();
            let second = device(&kernel).await;
            let found = match (first == second, before == rows()) {
                (true, true) => Left::DeviceAndRows,
                (true, false) => Left::Device,
                (false, _rows) => Left::Nothing,
            };
            assert_eq!(found, left, "{name}");
            check_shape(name);
        });
    }
}

/// The kernel remembers the way of an earlier packet, and with it its source address, for each core.
#[test]
fn a_device_with_another_local_address_sends_from_that_one_alone() {
    on_a_host(async |_scratch| {
        let mut core = CpuSet::new();
        core.set(0).unwrap();
        sched_setaffinity(Pid::from_raw(0), &core).unwrap();
        let kernel = Kernel::open().unwrap();
        let [former, now, peer] =
            [1, 3, 2].map(|n| IpAddr::from([0xfd00, 0x140, 0, 0, 0, 0, 0, n]));
        let block: Subnet = "fd00:88:0:1::/64".parse().unwrap();
        run("ip -6 neigh add fd00:140::2 lladdr 02:00:00:00:00:22 dev eth0 nud permanent");
        run("ip -6 address add fd00:140::1/64 dev eth0 nodad");
        let with = async |local| {
            let spec = spec(&kernel).await;
            let (local, address) = (Underlay(local), block.gateway());
            DeviceSpec::Vxlan(Vxlan { local, address, mtu: Mtu::new(1430).unwrap(), ..spec })
        };
        let index = kernel.ensure_device(&with(former).await).await.unwrap();
        let there: Subnet = "fd00:88:0:2::/64".parse().unwrap();
        let rows = [
            Change::PutForwarding(index, mac(2), Underlay(peer)),
            Change::PutNeighbour(index, there.gateway(), mac(2)),
            Change::PutRoute(there, Hop::Onlink(index, there.gateway()).into()),
        ];
        apply(&kernel, rows).await.unwrap();
        feed(
            "nft -f -",
            "table ip6 seen {\n chain out {\n type filter hook output priority 0;\n \
             udp dport 8472 ip6 saddr fd00:140::1 counter\n \
             udp dport 8472 ip6 saddr fd00:140::3 counter\n }\n}\n",
        );
        let sends = || {
            let socket = std::net::UdpSocket::bind("[fd00:88:0:1::]:0").unwrap();
            socket.send_to(b"hello", "[fd00:88:0:2::2]:9").unwrap();
            let table = run("nft list table ip6 seen");
            let counts = table.split("counter packets ").skip(1);
            counts.map(|rest| rest.split(' ').next().unwrap().parse().unwrap()).collect::<Vec<u8>>()
        };
        assert_eq!(sends(), [1, 0]);
        // Before the agent hears of it a packet is on its way.
        run("ip -6 address del fd00:140::1/64 dev eth0");
        run("ip -6 address add fd00:140::3/64 dev eth0 nodad");
        run("ip -6 neigh replace fd00:140::2 lladdr 02:00:00:00:00:22 dev eth0 nud permanent");
        assert_eq!(sends(), [2, 0]);
        assert_eq!(kernel.ensure_device(&with(now).await).await.unwrap(), index);
        assert_eq!(sends(), [2, 1]);
    });
}

#[test]
fn a_device_on_another_uplink_moves() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let mut other = spec(&kernel).await;
        run("ip link add eth1 type veth peer name far1");
        run("ip address add 192.168.141.22/24 dev eth1");
        other.uplink = kernel.uplink(&named("eth1")).await.unwrap().index;
        kernel.ensure_device(&DeviceSpec::Vxlan(other)).await.unwrap();
        assert!(run("ip -d link show flannel.1").contains("dev eth1"));
        device(&kernel).await;
        check_shape("uplink");
    });
}

/// Each thing that somebody can do, and whether a device and an address are said to have been mended.
#[test]
fn what_was_mended_is_told() {
    let rows = [
        ("ip link set flannel.1 mtu 1300", true, false),
        ("ip link set flannel.1 address 02:00:00:00:00:0f", true, false),
        ("ip address del 10.5.1.0/32 dev flannel.1", false, true),
        ("ip address add 10.5.7.0/32 dev flannel.1", false, true),
        ("ip link set flannel.1 down", true, false),
        ("ip link set flannel.1 type vxlan df set", true, false),
        ("ip link set flannel.1 type vxlan df inherit", true, false),
    ];
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        for (deed, a_device, an_address) in rows {
            run(deed);
            let before = kernel.mended();
            assert_eq!(device(&kernel).await, index, "{deed}");
            check_shape(deed);
            let after = kernel.mended();
            let told = (after.devices > before.devices, after.addresses > before.addresses);
            assert_eq!(told, (a_device, an_address), "{deed}");
        }
    });
}

#[test]
fn a_device_that_was_renamed_has_its_name_back() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let index = device(&kernel).await;
        run("ip link set flannel.1 down");
        run("ip link set flannel.1 name elsewhere");
        run("ip link set elsewhere up");
        assert_eq!(device(&kernel).await, index, "the same device");
        check_shape("name");
        assert!(!run("ip -o link show").contains("elsewhere"));
    });
}

#[test]
fn what_has_our_name_and_is_no_vxlan_device_makes_way() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        run("ip link add flannel.1 type veth peer name far2");
        device(&kernel).await;
        check_shape("type");
        run("ip link del flannel.1");
        run("ip link add flannel.1 type vxlan id 1 remote 192.168.140.9 dev eth0 dstport 8472");
        device(&kernel).await;
        check_shape("default destination");
        assert!(!run("bridge fdb show dev flannel.1").contains("192.168.140.9"));
    });
}

#[test]
fn a_device_that_was_taken_down_comes_up_again() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        device(&kernel).await;
        run("ip link set flannel.1 down");
        run("ip address flush dev flannel.1");
        device(&kernel).await;
        check_shape("state");
    });
}

#[test]
fn addresses_of_an_earlier_subnet_go_and_other_peoples_stay() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        device(&kernel).await;
        run("ip address add 10.5.77.0/32 dev flannel.1");
        run("ip address add 172.31.0.1/24 dev flannel.1");
        device(&kernel).await;
        let addresses = run("ip -4 -o address show dev flannel.1");
        assert!(!addresses.contains("10.5.77.0"), "{addresses}");
        assert!(addresses.contains("172.31.0.1/24"), "{addresses}");
    });
}

#[test]
fn a_second_device_of_the_same_network_is_refused_with_advice() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        run("ip link add other type vxlan id 1 dev eth0 dstport 8472");
        run("ip link set other up");
        let spec = spec(&kernel).await;
        let error = kernel.ensure_device(&DeviceSpec::Vxlan(spec)).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot create interface flannel.1");
        assert!(error.hint().unwrap().contains("another VXLAN device"), "{error:?}");
    });
}

#[test]
fn an_mtu_that_the_uplink_cannot_carry_is_refused_with_advice() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let spec = spec(&kernel).await;
        let spec = Vxlan { mtu: Mtu::new(8950).unwrap(), ..spec };
        let error = kernel.ensure_device(&DeviceSpec::Vxlan(spec)).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot set the MTU of interface flannel.1");
        assert!(error.hint().unwrap().contains("uplink"), "{error:?}");
    });
}

#[test]
fn a_tun_device_is_configured_and_never_made() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let spec = DeviceSpec::Tun(Tun {
            name: "flannel0".to_owned(),
            mtu: Mtu::new(1472).unwrap(),
            address: subnet(1).gateway(),
        });
        let error = kernel.ensure_device(&spec).await.unwrap_err();
        assert!(matches!(error, Error::NoInterface { .. }), "{error:?}");
        run("ip link add flannel0 type veth peer name far3");
        let error = kernel.ensure_device(&spec).await.unwrap_err();
        assert!(matches!(error, Error::ForeignInterface { .. }), "{error:?}");
        run("ip link del flannel0");
        run("ip tuntap add flannel0 mode tun");
        let first = kernel.ensure_device(&spec).await.unwrap();
        assert_eq!(kernel.ensure_device(&spec).await.unwrap(), first);
        let shown = run("ip address show flannel0");
        assert!(shown.contains("mtu 1472") && shown.contains("inet 10.5.1.0/32"), "{shown}");
        // The network's one route, into the device.
        let network = subnet(1);
        apply(&kernel, [Change::PutRoute(network, Hop::Device(first).into())]).await.unwrap();
        assert!(run("ip route").contains("10.5.1.0/24 dev flannel0 proto 84"));
        let tables = dump(&kernel, first).await.unwrap();
        assert_eq!(tables.routes, [(network, Hop::Device(first).into())].into());
    });
}

/// While hosts move from one port to another, a host listens on both.
#[test]
fn two_ports_of_one_identifier_stand_side_by_side() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let first = device(&kernel).await;
        let other = Vxlan { name: "twill1.1".to_owned(), port: Some(4789), ..spec(&kernel).await };
        let second = kernel.ensure_device(&DeviceSpec::Vxlan(other.clone())).await.unwrap();
        assert_ne!(first, second);
        assert_eq!(device(&kernel).await, first, "and the first one is as it was");
        let ports = run("ss -Hlun");
        assert!(ports.contains(":8472 ") && ports.contains(":4789 "), "{ports}");
        kernel.drop_device("flannel.1").await.unwrap();
        assert_eq!(kernel.ensure_device(&DeviceSpec::Vxlan(other)).await.unwrap(), second);
    });
}

/// One socket a port, with group policy or without.
#[test]
fn two_identifiers_on_one_port_change_their_group_policy_together() {
    on_a_host(async |_scratch| {
        let kernel = Kernel::open().unwrap();
        let both = async |gbp| {
            let one = Vxlan { gbp, ..spec(&kernel).await };
            let vni = Vni::new(7).unwrap();
            let other = Vxlan { name: "flannel.7".to_owned(), vni, ..one.clone() };
            [one, other].map(DeviceSpec::Vxlan)
        };
        for gbp in [false, true, true, false] {
            let specs = both(gbp).await;
            kernel.make_room(&specs).await.unwrap();
            for spec in &specs {
                kernel.ensure_device(spec).await.unwrap();
                let shown = run(&format!("ip -d link show {}", spec.name()));
                assert_eq!(shown.contains(" gbp"), gbp, "{shown}");
            }
        }
        let before = run("ip -o link show flannel.7");
        kernel.make_room(&both(false).await).await.unwrap();
        assert_eq!(run("ip -o link show flannel.7"), before, "what is right is not touched");
    });
}

async fn plant_peer(kernel: &Kernel) {
    let index = device_index(kernel).await;
    let peer = [
        Change::PutForwarding(index, mac(2), host(23)),
        Change::PutNeighbour(index, gateway(2), mac(2)),
        Change::PutRoute(subnet(2), Hop::Onlink(index, gateway(2)).into()),
    ];
    apply(kernel, peer).await.unwrap();
}

async fn device_index(kernel: &Kernel) -> twill_core::device::IfIndex {
    let choice = twill_net::kernel::Choice {
        patterns: vec![regex::Regex::new("^flannel\\.1$").unwrap()],
        ..twill_net::kernel::Choice::any(twill_core::ids::Family::V4)
    };
    kernel.uplink(&choice).await.unwrap().index
}

/// Without IPv6, which takes its time to settle on a new device.
fn shown() -> String {
    run("ip -4 -d address show dev flannel.1")
}

fn rows() -> String {
    run("bridge fdb show dev flannel.1 dst 192.168.140.23")
        + &run("ip neigh show dev flannel.1 nud permanent")
        + &run("ip route show dev flannel.1 10.5.2.0/24")
}

#[track_caller]
fn check_shape(name: &str) {
    let shown = run("ip -d address show flannel.1");
    for words in [
        "vxlan id 1 local 192.168.140.22 dev eth0 srcport 0 0 dstport 8472 nolearning",
        "mtu 1450",
        "link/ether 02:00:00:00:00:01",
        "inet 10.5.1.0/32",
        "UP,LOWER_UP",
    ] {
        assert!(shown.contains(words), "{name}: `{words}` is not in\n{shown}");
    }
    assert!(!shown.contains("gbp"), "{name}: {shown}");
    assert_eq!(shown.matches("inet ").count(), 1, "{name}: {shown}");
}
