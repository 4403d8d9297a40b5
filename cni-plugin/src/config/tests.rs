use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::json;
use twill_core::ids::{Mac, Mtu};
use twill_endpoint::{Limit, Limits, StaticRoute};

use super::*;
use crate::wish::Masquerade;

#[test]
fn defaults() {
    let config = parse(&json!({ "cniVersion": "1.0.0", "name": "pods", "type": "twill-cni" }));
    let config = config.unwrap();
    assert_eq!(config.version, Version::V1_0_0);
    assert_eq!(config.host, Host::default());
    assert_eq!(config.agent, PathBuf::from("/run/twill/agent.sock"));
    assert_eq!(config.wish(&Args::default()).unwrap(), usual());
}

#[test]
fn keys_of_any_case_and_values_that_say_nothing() {
    let config = parse(&json!({
        "CNIVersion": "0.4.0", "Name": "pods", "BRIDGE": "cni0", "Mtu": 1400, "hairpinmode": false,
        "SpoofChk": true, "isDefaultGateway": null, "subnetFile": "",
        "stateDir": "/tmp/pool", "ipMasq": true, "vlan": 0, "promiscMode": false, "vlanTrunk": [],
        "RuntimeConfig": { "IPs": ["10.5.2.7/24"], "MAC": null, "IPRanges": null, "Aliases": null },
        "ipam": { "Type": "" }, "dns": null, "delegate": null, "args": null,
    }));
    let config = config.unwrap();
    assert_eq!(config.host.subnet_env, Host::default().subnet_env);
    assert_eq!(config.host.state, PathBuf::from("/tmp/pool"));
    let wish = Wish {
        bridge: Some("cni0".parse().unwrap()),
        mtu: Mtu::new(1400),
        hairpin: false,
        masquerade: Masquerade::Wanted,
        addresses: vec![[10, 5, 2, 7].into()],
        spoof_check: true,
        ..usual()
    };
    assert_eq!(config.wish(&Args::default()).unwrap(), wish);
}

/// What `kube-flannel` writes, and what its documentation shows, with another `type`.
#[test]
fn configurations_of_flannels_plugin() {
    let delegate = json!({
        "hairpinMode": false, "isDefaultGateway": false, "bridge": "cni0", "isGateway": true,
        "forceAddress": true, "mtu": 1400, "type": "bridge", "ipMasq": false,
    });
    let ipam = json!({
        "type": "host-local", "dataDir": "/run/cni", "routes": [{ "dst": "192.168.0.0/16" }],
    });
    let config = parse(&network(&json!({
        "type": "twill-cni", "subnetFile": "/run/flannel/green.env", "dataDir": "/var/lib/cni/flannel",
        "delegate": delegate, "ipam": ipam,
    })));
    let config = config.unwrap();
    assert_eq!(config.host.subnet_env, PathBuf::from("/run/flannel/green.env"));
    let destination = "192.168.0.0/16".parse().unwrap();
    let wish = Wish {
        bridge: Some("cni0".parse().unwrap()),
        mtu: Mtu::new(1400),
        hairpin: false,
        default_route: false,
        routes: vec![StaticRoute { destination, gateway: None }],
        ..usual()
    };
    assert_eq!(config.wish(&Args::default()).unwrap(), wish);
}

/// As containerd sends it: in Go's words, with the largest burst and nothing for one direction.
#[test]
fn limits() {
    let read = |bandwidth: Value, declared: Value| {
        let config = parse(&network(&json!({
            "runtimeConfig": { "bandwidth": bandwidth }, "capabilities": declared,
        })));
        config.unwrap().wish(&Args::default()).unwrap().limits
    };
    let one = json!({ "IngressRate": 8_000_000, "IngressBurst": u32::MAX, "EgressRate": 0, "EgressBurst": 7 });
    let to_container = Some(Limit { bytes_per_second: 1_000_000, burst: u32::MAX / 8 });
    let wanted = Limits { to_container, from_container: None };
    assert_eq!(read(one.clone(), json!(null)), wanted);
    assert_eq!(read(one.clone(), json!({ "bandwidth": true })), wanted);
    assert_eq!(
        read(one, json!({ "portMappings": true })),
        Limits::default(),
        "the chained plugin's"
    );
    let other = json!({ "egressRate": 8000, "ingressRate": 1 });
    let from_container = Some(Limit { bytes_per_second: 1000, burst: 100 });
    let to_container = Some(Limit { bytes_per_second: 1, burst: 0 });
    assert_eq!(read(other, json!(null)), Limits { to_container, from_container });
    assert_eq!(read(json!(null), json!(null)), Limits::default());
}

#[test]
fn aliases() {
    let read = |aliases: Value, declared: Value| {
        let extra = json!({ "runtimeConfig": { "aliases": aliases }, "capabilities": declared });
        wish(&network(&extra)).map(|wish| wish.aliases)
    };
    let names = json!(["web", "4f1e7c", "WEB", "a.b_c"]);
    assert_eq!(read(names.clone(), json!(null)).unwrap(), ["web", "4f1e7c", "a.b_c"]);
    assert_eq!(read(names, json!({ "ips": true })).unwrap(), [] as [&str; 0]);
    let of_podman = json!({ "pods": ["web"], "others": ["db"] });
    assert_eq!(read(of_podman, json!(null)).unwrap(), ["web"]);
    for bad in ["", "a b", "-a", "a..b", &"a".repeat(64)] {
        assert_eq!(read(json!([bad]), json!(null)).unwrap_err().code, Code::InvalidConfiguration);
    }
}

#[test]
fn routes_and_name_servers() {
    let config = parse(&network(&json!({
        "ipam": { "Routes": [{ "DST": "192.168.7.9/16", "GW": "10.5.2.9" }, { "dst": "::/0", "gw": "" }] },
        "dns": { "nameservers": ["10.5.2.1"], "domain": "a.example", "search": ["a.example"], "options": null },
        "runtimeConfig": { "DNS": { "Servers": ["192.0.2.53"], "Searches": null, "Options": ["ndots:5"] } },
    })));
    let wish = config.unwrap().wish(&Args::default()).unwrap();
    let route = |destination: &str, gateway: &str| StaticRoute {
        destination: destination.parse().unwrap(),
        gateway: gateway.parse().ok(),
    };
    assert_eq!(wish.routes, [route("192.168.0.0/16", "10.5.2.9"), route("::/0", "")]);
    let dns = json!({
        "nameservers": ["192.0.2.53"], "search": ["a.example"], "options": ["ndots:5"], "domain": "a.example",
    });
    assert_eq!(Value::Object(wish.dns), dns);
}

#[test]
fn wishes_for_addresses_come_in_three_ways() {
    let args = Args { ip: Some("10.5.2.7".to_owned()), mac: Some("02:00:00:00:00:01".to_owned()) };
    let read = |extra: &Value| {
        let config = parse(&network(extra)).unwrap();
        config.wish(&args).map(|wish| (wish.addresses, wish.mac))
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
    let decode = |text: &str| Config::parse(text.as_bytes()).unwrap_err();
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
        &json!({ "ipam": { "routes": [{ "dst": "all" }] } }),
        "`ipam.routes[0].dst` of the network configuration is not a block of addresses",
    );
    check(
        &json!({ "prevResult": [] }),
        "`prevResult` of the network configuration is not an object",
    );
}

/// With their key and their value.
#[test]
fn settings_that_we_know_and_do_not_do() {
    for (extra, words) in [
        (json!({ "ipam": { "type": "dhcp" } }), "`ipam.type` is \"dhcp\""),
        (json!({ "ipam": { "ranges": [[{}]] } }), "`ipam.ranges` is [[{}]]"),
        (
            json!({ "ipam": { "type": "host-local", "subnet": "10.5.0.0/24" } }),
            "`ipam.subnet` is \"10.5.0.0/24\"",
        ),
        (
            json!({ "ipam": { "routes": [{ "dst": "::/0", "mtu": 1400 }] } }),
            "`ipam.routes[0].mtu` is 1400",
        ),
        (json!({ "delegate": { "type": "macvlan" } }), "`delegate.type` is \"macvlan\""),
        (json!({ "vlan": 100 }), "`vlan` is 100"),
        (json!({ "delegate": { "VLAN": 100 } }), "`delegate.vlan` is 100"),
        (json!({ "vlanTrunk": [{ "id": 7 }] }), "`vlanTrunk` is [{\"id\":7}]"),
        (json!({ "promiscMode": true }), "`promiscMode` is true"),
        (json!({ "portIsolation": true }), "`portIsolation` is true"),
        (json!({ "enabledad": true }), "`enabledad` is true"),
        (json!({ "disableContainerInterface": true }), "`disableContainerInterface` is true"),
        (json!({ "ipMasqBackend": "nftables" }), "`ipMasqBackend` is \"nftables\""),
        (json!({ "ipam": { "rangeStart": "10.5.2.9" } }), "`ipam.rangeStart` is \"10.5.2.9\""),
        (json!({ "ipam": { "rangeEnd": "10.5.2.9" } }), "`ipam.rangeEnd` is \"10.5.2.9\""),
        (json!({ "ipam": { "gateway": "10.5.2.9" } }), "`ipam.gateway` is \"10.5.2.9\""),
        (json!({ "ipam": { "addresses": [{}] } }), "`ipam.addresses` is [{}]"),
        (
            json!({ "runtimeConfig": { "infinibandGUID": "c2:11" } }),
            "`runtimeConfig.infinibandGUID` is \"c2:11\"",
        ),
        (
            json!({ "runtimeConfig": { "ipRanges": [[{ "subnet": "10.5.2.0/25" }]] } }),
            "`runtimeConfig.ipRanges` is [[{\"subnet\":\"10.5.2.0/25\"}]]",
        ),
        (
            json!({ "runtimeConfig": { "deviceID": "0000:00:1f.6" } }),
            "`runtimeConfig.deviceID` is \"0000:00:1f.6\"",
        ),
    ] {
        let failure = wish(&network(&extra)).unwrap_err();
        assert_eq!(failure.code, Code::UnsupportedField, "{extra}");
        assert_eq!(failure.message, format!("{words}, which is not supported"));
        assert!(failure.details.is_some(), "{extra}");
    }
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
}

#[test]
fn attachments_in_both_spellings() {
    let list = json!([{ "containerID": "a", "ifname": "eth0" }]);
    let expected = Some(BTreeSet::from([("a".to_owned(), "eth0".to_owned())]));
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        assert_eq!(attachments(&json!({ key: list })).unwrap(), expected, "{key}");
        // As the reference library writes a list without elements.
        assert_eq!(attachments(&json!({ key: null })).unwrap(), Some(BTreeSet::new()), "{key}");
    }
    assert_eq!(attachments(&json!({})).unwrap(), None);
    let failure = attachments(&json!({ "cni.dev/valid-attachments": [{}] })).unwrap_err();
    let words =
        "`cni.dev/valid-attachments` of the network configuration is not a list of attachments";
    assert_eq!(failure.message, words);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in any::<Vec<u8>>(), ip in ".*", mac in ".*") {
        let args = Args { ip: Some(ip), mac: Some(mac) };
        let _config = Config::parse(&bytes).map(|config| config.wish(&args));
        let text = serde_json::to_vec(&network(&json!({}))).unwrap();
        let _wish = Config::parse(&text).unwrap().wish(&args);
    }

    /// Every value in every place that we read.
    #[test]
    fn any_value_under_a_known_key_is_answered(key in key(), inner in key(), value in value()) {
        answered(&network(&json!({ key: { inner.clone(): value.clone() } })));
        answered(&network(&json!({ inner: [value.clone()] })));
        answered(&value);
    }
}

fn answered(value: &Value) {
    let Ok(config) = parse(value) else { return };
    let _wish = config.wish(&Args::default());
    let _previous = config.previous();
    let _attachments = config.attachments();
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
        "agentSocket",
        "routes",
        "dst",
        "gw",
        "vlan",
        "ipMasq",
        "nameservers",
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
    let failure = wish(&network(extra)).unwrap_err();
    assert_eq!(failure.message, message);
    assert_eq!(failure.code, Code::InvalidConfiguration);
    assert!(failure.details.is_some(), "the way out");
}

fn wish(value: &Value) -> Result<Wish, Failure> {
    let config = parse(value)?;
    config.previous()?;
    config.wish(&Args::default())
}

fn attachments(extra: &Value) -> Result<Option<BTreeSet<(String, String)>>, Failure> {
    parse(&network(extra)).unwrap().attachments()
}

fn usual() -> Wish {
    Wish {
        bridge: None,
        mtu: None,
        hairpin: true,
        default_route: true,
        masquerade: Masquerade::AsTheAgentDoes,
        addresses: Vec::new(),
        mac: None,
        spoof_check: false,
        routes: Vec::new(),
        ports: Vec::new(),
        limits: Limits::default(),
        aliases: Vec::new(),
        dns: Map::new(),
    }
}

fn parse(value: &Value) -> Result<Config, Failure> {
    Config::parse(&serde_json::to_vec(value).unwrap())
}

fn network(extra: &Value) -> Value {
    let mut network = json!({ "cniVersion": "0.3.1", "name": "pods" });
    for (key, value) in extra.as_object().into_iter().flatten() {
        network[key] = value.clone();
    }
    network
}
