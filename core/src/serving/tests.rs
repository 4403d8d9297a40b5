use super::*;
use crate::config::{Udp, Vxlan};
use crate::ids::{Mac, Mtu, Underlay};
use crate::lease::{LeaseValue, Vtep};
use crate::wireguard::{End, PublicKey};

#[test]
fn a_backend_comes_beside_the_one_before_and_options_change_in_place() {
    let mut serving = Serving::new(udp(8285), Revision(10));
    serving.adopt(vxlan(None, None), Revision(20));
    serving.adopt(vxlan(None, Mtu::new(1400)), Revision(30));
    assert_eq!(devices(&serving), ["flannel0", "flannel.1"]);
    assert_eq!(serving.current().backend, vxlan(None, Mtu::new(1400)));
    assert_eq!(serving.current().since, Revision(20), "peers need to do nothing about it");
    serving.adopt(Backend::HostGw, Revision(40));
    assert_eq!(devices(&serving), ["flannel0", "flannel.1", "-"]);
    serving.retire(|since| since != Revision(20));
    assert_eq!(devices(&serving), ["flannel0", "-"]);
    serving.retire(|_since| false);
    assert_eq!(devices(&serving), ["-"], "never the current one");
}

#[test]
fn two_ports_have_two_devices_and_a_way_that_comes_back_has_its_own() {
    let mut serving = Serving::new(vxlan(None, None), Revision(10));
    serving.adopt(vxlan(Some(4789), None), Revision(20));
    assert_eq!(devices(&serving), ["flannel.1", "twill1.1"]);
    serving.adopt(vxlan(Some(8472), None), Revision(30));
    assert_eq!(devices(&serving), ["flannel.1", "twill1.1", "flannel.1"]);
    let mut serving = Serving::new(udp(8285), Revision(10));
    serving.adopt(udp(7000), Revision(20));
    serving.adopt(udp(7001), Revision(30));
    assert_eq!(devices(&serving), ["flannel0", "flannel1", "flannel2"]);
    serving.retire(|since| since == Revision(20));
    serving.adopt(udp(7002), Revision(40));
    assert_eq!(devices(&serving), ["flannel1", "flannel2", "flannel0"], "the first that is free");
}

#[test]
fn among_several_networks_a_port_is_a_name() {
    let mut serving = Serving::new(udp(8285), Revision(10));
    serving.name_by_port();
    serving.adopt(udp(7000), Revision(20));
    serving.adopt(vxlan(None, None), Revision(30));
    serving.name_by_port();
    assert_eq!(devices(&serving), ["flannel8285", "flannel7000", "flannel.1"]);
    assert!(devices(&serving).iter().all(|name| is_tunnel(name)));
    let again = Serving::parse(serving.to_json().as_bytes()).unwrap();
    assert_eq!(again, serving);
}

#[test]
fn devices_of_ipv6_have_flannels_names_where_the_kernel_takes_them() {
    let mut serving = Serving::new(vxlan(None, None), Revision(10));
    serving.adopt(vxlan(Some(4789), None), Revision(20));
    let large = Backend::Vxlan(Vxlan { vni: Vni::new(16_777_215).unwrap(), ..Vxlan::default() });
    serving.adopt(large, Revision(30));
    serving.adopt(Backend::HostGw, Revision(40));
    serving.adopt(Backend::default(), Revision(50));
    let names: Vec<_> = serving.all().map(|served| served.device_of(Family::V6)).collect();
    let wanted =
        [Some("flannel-v6.1"), Some("twv61.1"), Some("twv6.16777215"), None, Some("flannel0-v6")];
    assert_eq!(names, wanted.map(|name| name.map(str::to_owned)));
    for name in names.into_iter().flatten() {
        assert!(name.len() <= 15 && is_tunnel(&name), "{name}");
    }
    for name in ["flannel-v6", "flannel0-v7", "flannel-v6.x", "flannel-v7.1", "twv6x.1", "twv6."] {
        assert!(!is_tunnel(name), "{name}");
    }
}

#[test]
fn a_lease_is_reached_by_what_it_names() {
    let mut serving = Serving::new(udp(8285), Revision(10));
    serving.adopt(vxlan(None, None), Revision(20));
    serving.adopt(Backend::HostGw, Revision(30));
    let vtep = |vni| LeaseBackend::Vxlan(Vtep { vni: Vni::new(vni), mac: Mac([2; 6]) });
    let key = PublicKey([2; 32]);
    let wireguard = LeaseBackend::Wireguard(End { key, port: None });
    let rows = [
        ("udp has no name", LeaseBackend::Unnamed, Some(Way::Udp(8285))),
        ("vxlan", vtep(1), Some(Way::Vxlan(Vni::ONE, 8472))),
        ("an old flannel's", vtep(0), Some(Way::Vxlan(Vni::ONE, 8472))),
        ("another network's", vtep(7), None),
        ("host-gw", LeaseBackend::HostGw, Some(Way::HostGw)),
        ("wireguard, which is not served", wireguard, None),
        ("what nobody here speaks", LeaseBackend::Other { name: "ipip".to_owned() }, None),
    ];
    for (name, backend, way) in rows {
        for revision in [5, 15, 99] {
            let lease = lease(&backend, revision);
            let found = serving.behind(&lease).map(|served| served.backend.way());
            assert_eq!(found, way, "{name}, {revision}");
        }
    }
}

/// Two ports look alike in a lease: it was written under the configuration before it.
#[test]
fn where_a_lease_does_not_tell_its_age_does() {
    let mut serving = Serving::new(udp(8285), Revision(10));
    serving.adopt(udp(7000), Revision(20));
    serving.adopt(udp(8285), Revision(30));
    let since = |serving: &Serving, revision| {
        serving.behind(&lease(&LeaseBackend::Unnamed, revision)).map(|served| served.since.0)
    };
    for (revision, wanted) in [(5, 10), (11, 10), (19, 10), (21, 20), (29, 20), (31, 30)] {
        assert_eq!(since(&serving, revision), Some(wanted), "{revision}");
    }
    serving.retire(|_since| false);
    assert_eq!(since(&serving, 5), Some(30), "there is nothing to choose from");
}

#[test]
fn what_is_served_is_found_again() {
    let mut serving = Serving::new(vxlan(Some(4789), Mtu::new(9000)), Revision(10));
    serving.adopt(udp(7000), Revision(20));
    serving.adopt(Backend::HostGw, Revision(30));
    let text = serving.to_json();
    assert_eq!(Serving::parse(text.as_bytes()).expect("ours"), serving, "{text}");
    for text in [
        "",
        "[]",
        "{}",
        r#"[{"since":1}]"#,
        r#"[{"backend":{"Type":"nosuch"},"since":1,"device":null}]"#,
    ] {
        assert!(Serving::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn tunnels_are_known_by_their_names() {
    for name in
        ["flannel0", "flannel12", "flannel.1", "flannel.16777215", "flannel-v6.1", "twill1.7"]
    {
        assert!(is_tunnel(name), "{name}");
    }
    for name in
        ["flannel", "flannel.", "flannel.x", "flannel-v4.1", "twill0", "twill.1", "eth0", "tw0.x"]
    {
        assert!(!is_tunnel(name), "{name}");
    }
}

fn devices(serving: &Serving) -> Vec<&str> {
    serving.all().map(|served| served.device.as_deref().unwrap_or("-")).collect()
}

fn udp(port: u16) -> Backend {
    Backend::Udp(Udp { port, ..Udp::default() })
}

fn vxlan(port: Option<u16>, mtu: Option<Mtu>) -> Backend {
    Backend::Vxlan(Vxlan { port, mtu, ..Vxlan::default() })
}

fn lease(backend: &LeaseBackend, revision: i64) -> Lease {
    let public_ip = Underlay([192, 0, 2, 2].into());
    let (backend, node) = (backend.clone(), None);
    Lease {
        key: "10.5.2.0-24".parse().expect("a key"),
        value: LeaseValue { public_ip, ipv6: None, backend, node },
        revision: Revision(revision),
        lease_id: None,
    }
}
