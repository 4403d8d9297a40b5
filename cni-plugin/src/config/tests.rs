use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn defaults() {
    let config = parse(&json!({ "cniVersion": "1.0.0", "name": "pods", "type": "twill-cni" }));
    let config = config.unwrap();
    assert_eq!(config.version, Version::V1_0_0);
    assert_eq!(config.host, Host::default());
    let wish = Wish {
        bridge: None,
        mtu: None,
        hairpin: true,
        default_route: true,
        addresses: Vec::new(),
        mac: None,
        spoof_check: false,
    };
    assert_eq!(config.wish, wish);
}

#[test]
fn keys_of_any_case_and_values_that_say_nothing() {
    let config = parse(&json!({
        "CNIVersion": "0.4.0", "Name": "pods", "BRIDGE": "cni0", "Mtu": 1400, "hairpinmode": false,
        "SpoofChk": true, "isDefaultGateway": null, "subnetFile": "",
        "stateDir": "/tmp/pool", "ipMasq": true,
        "RuntimeConfig": { "IPs": ["10.5.2.7/24"], "MAC": null }, "ipam": {}, "dns": null,
    }));
    let config = config.unwrap();
    assert_eq!(config.host.subnet_env, Host::default().subnet_env);
    assert_eq!(config.host.state, std::path::PathBuf::from("/tmp/pool"));
    let wish = Wish {
        bridge: Some("cni0".parse().unwrap()),
        mtu: Mtu::new(1400),
        hairpin: false,
        default_route: true,
        addresses: vec![[10, 5, 2, 7].into()],
        mac: None,
        spoof_check: true,
    };
    assert_eq!(config.wish, wish);
}

#[test]
fn settings_of_flannels_plugin() {
    let delegate = json!({ "hairpinMode": false, "isDefaultGateway": false, "bridge": "cni0" });
    let config = parse(&network(&json!({ "delegate": delegate }))).unwrap();
    assert_eq!(config.wish.bridge, Some("cni0".parse().unwrap()));
    assert!(!config.wish.hairpin && !config.wish.default_route && !config.wish.spoof_check);
}

#[test]
fn wishes_for_addresses_come_in_three_ways() {
    let args = Args { ip: Some("10.5.2.7".to_owned()), mac: Some("02:00:00:00:00:01".to_owned()) };
    let read = |extra: &Value| {
        let bytes = serde_json::to_vec(&network(extra)).unwrap();
        Config::parse(&bytes, &args).map(|config| (config.wish.addresses, config.wish.mac))
    };
    let address = vec![IpAddr::from([10, 5, 2, 7])];
    assert_eq!(read(&json!({})).unwrap(), (address.clone(), Some(Mac([2, 0, 0, 0, 0, 1]))));
    let labels = json!({ "cni": { "ips": ["10.5.2.7"], "mac": "02:00:00:00:00:02" } });
    assert_eq!(
        read(&json!({ "args": labels })).unwrap(),
        (address.clone(), Some(Mac([2, 0, 0, 0, 0, 2])))
    );
    let runtime = json!({ "ips": ["10.5.2.7/24"], "mac": "02:00:00:00:00:03" });
    assert_eq!(
        read(&json!({ "args": labels, "runtimeConfig": runtime })).unwrap(),
        (address.clone(), Some(Mac([2, 0, 0, 0, 0, 3])))
    );
    let failure = read(&json!({ "runtimeConfig": { "ips": ["10.5.2.8"] } })).unwrap_err();
    assert_eq!(failure.message, "a container cannot have all of 10.5.2.7, 10.5.2.8");
    let (both, _mac) = read(&json!({ "runtimeConfig": { "ips": ["fd00::7/64"] } })).unwrap();
    assert_eq!(both, [address[0], "fd00::7".parse().unwrap()]);
    let failure = read(&json!({ "runtimeConfig": { "ips": ["fd00::7", "fd00::8"] } })).unwrap_err();
    assert_eq!(failure.message, "a container cannot have all of fd00::7, fd00::8");
}

#[test]
fn refusals() {
    let decode = |text: &str| Config::parse(text.as_bytes(), &Args::default()).unwrap_err();
    for text in ["", "{", "[]", "null", "1", "\u{0}"] {
        assert_eq!(decode(text).code, Code::Decode, "{text}");
    }
    for version in [json!(null), json!("0.2.0"), json!("1.2.0"), json!("x")] {
        let failure = parse(&json!({ "cniVersion": version, "name": "pods" })).unwrap_err();
        assert_eq!(failure.code, Code::IncompatibleVersion, "{version}");
        assert_eq!(failure.version, Version::NEWEST);
    }
}

#[test]
fn refused_settings() {
    check(
        &json!({ "name": "a b" }),
        "`name` of the network configuration is not the name of a network",
    );
    check(
        &json!({ "name": null }),
        "`name` of the network configuration is not the name of a network",
    );
    check(&json!({ "mtu": "1400" }), "`mtu` of the network configuration is not a whole number");
    check(
        &json!({ "mtu": 67 }),
        "`mtu` of the network configuration is not a number of bytes from 68 to 65535",
    );
    check(
        &json!({ "bridge": "a/b" }),
        "`bridge` of the network configuration is not the name of a network interface",
    );
    check(
        &json!({ "hairpinMode": "yes" }),
        "`hairpinMode` of the network configuration is not true or false",
    );
    check(
        &json!({ "ipam": { "type": "dhcp" } }),
        "addresses cannot come from the ipam plugin `dhcp`",
    );
    check(
        &json!({ "delegate": { "type": "macvlan" } }),
        "`delegate.type` of the network configuration is not `bridge`, the only kind that there is",
    );
    check(
        &json!({ "prevResult": [] }),
        "`prevResult` of the network configuration is not an object",
    );
}

#[test]
fn refused_wishes() {
    check(
        &json!({ "runtimeConfig": { "ips": ["10.5.2"] } }),
        "`10.5.2`, which was asked for, is not an address",
    );
    check(
        &json!({ "runtimeConfig": { "ips": [7] } }),
        "`runtimeConfig.ips` of the network configuration is not a list of texts",
    );
    check(
        &json!({ "runtimeConfig": { "mac": "02:00" } }),
        "`02:00`, which was asked for, is not a hardware address",
    );
    check(
        &json!({ "runtimeConfig": { "mac": "01:00:5e:00:00:01" } }),
        "01:00:5e:00:00:01 cannot be the hardware address of one interface",
    );
    check(
        &json!({ "cni.dev/valid-attachments": [{}] }),
        "`cni.dev/valid-attachments` of the network configuration is not a list of attachments",
    );
}

#[test]
fn attachments_in_both_spellings() {
    let list = json!([{ "containerID": "a", "ifname": "eth0" }]);
    let expected = Some(BTreeSet::from([("a".to_owned(), "eth0".to_owned())]));
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        assert_eq!(parse(&network(&json!({ key: list }))).unwrap().attachments, expected, "{key}");
    }
    assert_eq!(parse(&network(&json!({}))).unwrap().attachments, None);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in any::<Vec<u8>>(), ip in ".*", mac in ".*") {
        let args = Args { ip: Some(ip), mac: Some(mac) };
        let _answer = Config::parse(&bytes, &args);
    }

    /// Every value in every place that we read.
    #[test]
    fn any_value_under_a_known_key_is_answered(key in key(), inner in key(), value in value()) {
        let _answer = parse(&network(&json!({ key: { inner.clone(): value.clone() } })));
        let _answer = parse(&network(&json!({ inner: [value.clone()] })));
        let _answer = parse(&value);
    }
}

fn key() -> impl Strategy<Value = String> {
    const KEYS: &[&str] = &[
        "cniVersion",
        "name",
        "mtu",
        "bridge",
        "hairpinMode",
        "isDefaultGateway",
        "spoofchk",
        "ipam",
        "type",
        "delegate",
        "runtimeConfig",
        "args",
        "cni",
        "ips",
        "mac",
        "dns",
        "prevResult",
        "subnetFile",
        "stateDir",
        "cni.dev/attachments",
        "containerID",
        "ifname",
    ];
    proptest::sample::select(KEYS).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        "[0-9a-f.:/]{0,20}".prop_map(Value::from),
        proptest::collection::vec("[0-9a-f.:/]{0,20}", 0..4).prop_map(Value::from),
    ]
}

#[track_caller]
fn check(extra: &Value, message: &str) {
    let failure = parse(&network(extra)).unwrap_err();
    assert_eq!(failure.message, message);
    assert_eq!(failure.code, Code::InvalidConfiguration);
    assert_eq!(failure.version, Version::V0_3_1, "answered in the release that was asked in");
}

fn parse(value: &Value) -> Result<Config, Failure> {
    Config::parse(&serde_json::to_vec(value).unwrap(), &Args::default())
}

fn network(extra: &Value) -> Value {
    let mut network = json!({ "cniVersion": "0.3.1", "name": "pods" });
    for (key, value) in extra.as_object().into_iter().flatten() {
        network[key] = value.clone();
    }
    network
}
