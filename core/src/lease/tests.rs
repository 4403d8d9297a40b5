use super::*;
use crate::golden;
use crate::ids::{Mac, NodeId, Underlay, Vni};
use crate::wireguard;

const NODE: &str = "000102030405060708090a0b0c0d0e0f";

fn key(text: &str) -> Result<Key, KeyError> {
    text.parse()
}

fn vxlan(vni: Option<u32>) -> LeaseBackend {
    let mac = "c6:d2:32:6f:8f:44".parse().expect("a mac");
    LeaseBackend::Vxlan(Vtep { vni: vni.and_then(Vni::new), mac })
}

fn value(backend: LeaseBackend) -> LeaseValue {
    let public_ip = Underlay([192, 168, 64, 3].into());
    LeaseValue { public_ip, ipv6: None, backend, node: None }
}

fn ipv6(backend: LeaseBackend) -> LeaseValue {
    LeaseValue {
        public_ip: Underlay("fd00:140::23".parse().expect("an address")),
        ..value(backend)
    }
}

#[test]
fn keys_are_flannels() {
    for text in
        ["10.5.52.0-24", "10.88.4.128-26", "10.5.0.0-16", "10.42.3.0-24&2001:cafe:42:3::-64"]
    {
        assert_eq!(key(text).expect(text).to_string(), text);
    }
    let both = key("10.42.3.0-24&2001:cafe:42:3::-64").expect("both families");
    assert_eq!(both.subnet, "10.42.3.0/24".parse().expect("a subnet"));
    assert!(both.ipv6.is_some());
    assert_eq!(both.blocks().count(), 2);
    let alone = key("0.0.0.0-0&fd00:88:0:a::-64").expect("IPv6 alone");
    assert_eq!((alone.subnet, alone.ipv6), ("fd00:88:0:a::/64".parse().expect("a subnet"), None));
    assert_eq!(alone.to_string(), "0.0.0.0-0&fd00:88:0:a::-64");
    assert_eq!(alone.blocks().collect::<Vec<_>>(), [alone.subnet]);
}

#[test]
fn keys_that_are_none_say_why() {
    let form = "does not have the form 10.5.52.0-24";
    let block = "is no block of addresses";
    let rows = [
        ("nothing", "", form),
        ("a word", "config", form),
        ("a slash for the dash", "10.5.52.0/24", form),
        ("three numbers", "10.5.52-24", form),
        ("a sign", "10.5.52.0-+24", form),
        ("a path", "x/10.5.52.0-24", form),
        ("a half", "10.5.52.0-24&", form),
        ("half a half", "10.5.52.0-24&fd00::", form),
        ("host bits", "10.5.52.7-24", block),
        ("too long", "10.5.52.0-33", block),
        ("one address", "10.5.52.0-32", block),
        ("everything", "0.0.0.0-0", block),
        ("IPv6 too long", "10.5.52.0-24&fd00::-129", block),
        ("host bits of the other half", "10.5.52.0-24&fd00::7-64", block),
        ("half of IPv6 alone", "0.0.0.0-0&", form),
        ("host bits of IPv6", "0.0.0.0-0&fd00::7-64", block),
        ("all of IPv6", "0.0.0.0-0&::-0", block),
        ("one address of IPv6", "0.0.0.0-0&fd00::1-128", block),
        ("everything, and IPv6", "0.0.0.1-0&fd00::-64", block),
    ];
    for (name, text, words) in rows {
        let error = key(text).expect_err(name).to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
}

fn beside(public_ip: &str, end: Option<TunnelEnd>) -> Beside {
    Beside { public_ip: public_ip.parse().expect(public_ip), end }
}

fn end(port: Option<u16>) -> wireguard::End {
    let key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=".parse().expect("a key");
    wireguard::End { key, port }
}

fn vtep() -> Vtep {
    Vtep { vni: Some(Vni::ONE), mac: "b2:26:ef:59:bd:26".parse().expect("a mac") }
}

/// Byte for byte what a real flanneld wrote, and what we write.
#[test]
fn values_are_written_as_flannel_writes_them() {
    let ours = LeaseValue { node: NODE.parse().ok(), ..value(vxlan(Some(1))) };
    let nameless = LeaseValue { node: NODE.parse().ok(), ..value(LeaseBackend::Unnamed) };
    let rows = [
        value(vxlan(Some(1))),
        value(LeaseBackend::Unnamed),
        value(LeaseBackend::HostGw),
        LeaseValue { ipv6: Some(beside("fd00::3", None)), ..value(LeaseBackend::Unnamed) },
        LeaseValue {
            ipv6: Some(beside("fd00::3", Some(TunnelEnd::Vxlan(vtep())))),
            ..value(vxlan(Some(1)))
        },
        value(LeaseBackend::Wireguard(end(Some(51820)))),
        LeaseValue {
            ipv6: Some(beside("fd00::3", Some(TunnelEnd::Wireguard(end(Some(51821)))))),
            ..value(LeaseBackend::Wireguard(end(Some(51820))))
        },
        ours,
        nameless,
        ipv6(vxlan(Some(1))),
        ipv6(LeaseBackend::Wireguard(end(Some(51821)))),
        LeaseValue { node: NODE.parse().ok(), ..ipv6(LeaseBackend::HostGw) },
    ];
    let text: String = rows.iter().map(|value| value.to_json() + "\n").collect();
    golden::check("lease-values.json", &text);
    for row in rows {
        assert_eq!(LeaseValue::parse(row.to_json().as_bytes()), Ok(row));
    }
}

#[test]
fn values_are_read_with_flannels_tolerance() {
    let rows = [
        (
            "names in any case, unknown members",
            r#"{"publicip":"192.168.64.3","BACKENDTYPE":"vxlan","x":[],
                "backenddata":{"vni":1,"vtepmac":"C6-D2-32-6F-8F-44","y":null}}"#,
            value(vxlan(Some(1))),
        ),
        (
            "an old flannel: no VNI, no PublicIPv6",
            r#"{"PublicIP":"192.168.64.3","BackendType":"vxlan","BackendData":{"VtepMAC":"c6d2.326f.8f44"}}"#,
            value(vxlan(None)),
        ),
        (
            "VNI zero is no VNI",
            r#"{"PublicIP":"192.168.64.3","BackendType":"vxlan","BackendData":{"VNI":0,"VtepMAC":"c6:d2:32:6f:8f:44"}}"#,
            value(vxlan(None)),
        ),
        (
            "a reservation by hand",
            r#"{ "PublicIP" : "192.168.64.3" }"#,
            value(LeaseBackend::Unnamed),
        ),
        (
            "no address at all",
            "{}",
            LeaseValue { public_ip: Underlay([0, 0, 0, 0].into()), ..value(LeaseBackend::Unnamed) },
        ),
        (
            "another backend with data of its own",
            r#"{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"extension","BackendData":"{\"k\":1}"}"#,
            value(LeaseBackend::Extension { data: Some("{\"k\":1}".to_owned()) }),
        ),
        (
            "ours",
            r#"{"PublicIP":"192.168.64.3","PublicIPv6":null,"TwillNodeID":"000102030405060708090a0b0c0d0e0f"}"#,
            LeaseValue { node: NODE.parse().ok(), ..value(LeaseBackend::Unnamed) },
        ),
    ];
    for (name, text, wanted) in rows {
        assert_eq!(LeaseValue::parse(text.as_bytes()), Ok(wanted), "{name}");
    }
}

#[test]
fn who_has_both_families_is_known_by_each() {
    let rows = [
        (
            "both families",
            r#"{"PublicIP":"192.168.64.3","PublicIPv6":"fd00:140::22","BackendType":"vxlan",
                "BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},
                "BackendV6Data":{"VNI":1,"VtepMAC":"b2:26:ef:59:bd:26"}}"#,
            LeaseValue {
                ipv6: Some(beside("fd00:140::22", Some(TunnelEnd::Vxlan(vtep())))),
                ..value(vxlan(Some(1)))
            },
        ),
        (
            "half of it spoilt",
            r#"{"PublicIP":"192.168.64.3","PublicIPv6":"fd00:140::22","BackendType":"vxlan",
                "BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},"BackendV6Data":{"VNI":"x"}}"#,
            LeaseValue { ipv6: Some(beside("fd00:140::22", None)), ..value(vxlan(Some(1))) },
        ),
    ];
    for (name, text, wanted) in rows {
        assert_eq!(LeaseValue::parse(text.as_bytes()), Ok(wanted), "{name}");
    }
    let key = key("10.88.4.0-24&fd00:88:0:4::-64").expect("both");
    let value = LeaseValue {
        ipv6: Some(beside("fd00:140::22", Some(TunnelEnd::Vxlan(vtep())))),
        ..value(vxlan(None))
    };
    let lease = Lease { key, value, revision: Revision(1), lease_id: None };
    let half = |family| lease.half(family).map(|half| (half.key.to_string(), half.value.to_json()));
    let (key, value) = half(Family::V6).expect("IPv6");
    assert_eq!(key, "0.0.0.0-0&fd00:88:0:4::-64");
    assert_eq!(
        value,
        r#"{"PublicIP":"0.0.0.0","PublicIPv6":"fd00:140::22","BackendType":"vxlan","BackendV6Data":{"VNI":1,"VtepMAC":"b2:26:ef:59:bd:26"}}"#
    );
    let (key, value) = half(Family::V4).expect("IPv4");
    assert_eq!(key, "10.88.4.0-24");
    assert!(
        value.contains(r#""PublicIPv6":null"#) && value.contains("c6:d2:32:6f:8f:44"),
        "{value}"
    );
}

#[test]
fn a_real_flanneld_of_ipv6_alone_is_read() {
    let text = r#"{"PublicIP":"0.0.0.0","PublicIPv6":"fd00:140::23","BackendType":"vxlan","BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}"#;
    assert_eq!(LeaseValue::parse(text.as_bytes()), Ok(ipv6(vxlan(Some(1)))));
    assert_eq!(ipv6(vxlan(Some(1))).to_json(), text);
}

#[test]
fn values_that_say_nothing_say_why() {
    let rows = [
        ("not JSON", "10.5.52.0-24", "the value is not a JSON object"),
        (
            "the key as value, by flannel's own documentation",
            "/coreos.com/network/subnets/x",
            "not a JSON object",
        ),
        ("a list", "[]", "not a JSON object"),
        (
            "an empty address",
            r#"{"PublicIP":""}"#,
            r#"PublicIP is "", which is not an IPv4 address"#,
        ),
        ("null for an address", r#"{"PublicIP":null}"#, "PublicIP is null"),
        ("a number for an address", r#"{"PublicIP":3}"#, "PublicIP is 3"),
        ("IPv6 that is none", r#"{"PublicIPv6":"x"}"#, "PublicIPv6 is \"x\""),
        ("a backend that is no name", r#"{"BackendType":1}"#, "BackendType is 1"),
        ("vxlan without data", r#"{"BackendType":"vxlan"}"#, "BackendData is null"),
        (
            "vxlan without mac",
            r#"{"BackendType":"vxlan","BackendData":{"VNI":1}}"#,
            "VtepMAC is null",
        ),
        (
            "vxlan with a wrong mac",
            r#"{"BackendType":"vxlan","BackendData":{"VtepMAC":"c6:d2:32:6f:8f"}}"#,
            "VtepMAC is \"c6:d2:32:6f:8f\"",
        ),
        (
            "vxlan with a wrong VNI",
            r#"{"BackendType":"vxlan","BackendData":{"VNI":16777216,"VtepMAC":"c6:d2:32:6f:8f:44"}}"#,
            "VNI is 16777216",
        ),
        (
            "vxlan of IPv6 alone with data for IPv4",
            r#"{"PublicIP":"0.0.0.0","PublicIPv6":"fd00::3","BackendType":"vxlan","BackendData":{"VtepMAC":"c6:d2:32:6f:8f:44"}}"#,
            "BackendV6Data is null",
        ),
        ("a node id that is none", r#"{"TwillNodeID":"abc"}"#, "TwillNodeID is \"abc\""),
    ];
    for (name, text, words) in rows {
        let error = LeaseValue::parse(text.as_bytes()).expect_err(name).to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_value_panic(bytes: Vec<u8>) {
        drop(LeaseValue::parse(&bytes));
    }

    #[test]
    fn no_members_make_the_value_panic(ip in "\\PC{0,9}", name in "vxlan|\\PC{0,5}", mac in "\\PC{0,17}", vni: i64) {
        let text = serde_json::json!({
            "PublicIP": ip, "PublicIPv6": ip, "BackendType": name, "TwillNodeID": mac,
            "BackendData": {"VNI": vni, "VtepMAC": mac},
        });
        drop(LeaseValue::parse(text.to_string().as_bytes()));
    }

    #[test]
    fn no_text_makes_the_key_panic(text in "\\PC*|[0-9.&:a-f-]{0,40}") {
        if let Ok(key) = text.parse::<Key>() {
            proptest::prop_assert_eq!(key.to_string().parse::<Key>(), Ok(key));
        }
    }

    #[test]
    fn every_key_reads_back(base: u32, len in 1_u8..32, v6: Option<(u128, u8)>) {
        let subnet = Subnet::containing(Ipv4Addr::from(base).into(), len).expect("short enough");
        let ipv6 = v6.map(|(base, len)| {
            Subnet::containing(Ipv6Addr::from(base).into(), 1 + len % 127).expect("short enough")
        });
        let key = Key { subnet, ipv6 };
        proptest::prop_assert_eq!(key.to_string().parse::<Key>(), Ok(key));
    }

    #[test]
    fn every_value_reads_back(ip: u32, mac: [u8; 6], vni in proptest::option::of(1_u32..1 << 24), node: Option<[u8; 16]>) {
        let value = LeaseValue {
            public_ip: Underlay(Ipv4Addr::from(ip).into()),
            ipv6: None,
            backend: LeaseBackend::Vxlan(Vtep { vni: vni.and_then(Vni::new), mac: Mac(mac) }),
            node: node.map(NodeId::from_random),
        };
        proptest::prop_assert_eq!(LeaseValue::parse(value.to_json().as_bytes()), Ok(value));
    }
}
